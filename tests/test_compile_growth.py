"""The work of compiling grows with the length of a program, not faster: counted in calls of functions, not in seconds.

* Each kind of line in `programs.growth` is compiled n/4 times over and n times over, down to LLVM's text; `--growth N` sets n.
* 4 times the lines may take at most 6 times the calls: what is quadratic would take 16 times as many, and what doubles from line
  to line would never end.
"""

from __future__ import annotations

import cProfile
import pstats

import pytest
from programs.growth import KINDS, Growing

import sod2jax as sod2
from sod2jax.ir.loops import Kernel

MOST = 6.0
# `jnp.pad` in mode "wrap" asks for numbers, which is said; how compilation grows is another matter.
pytestmark = pytest.mark.filterwarnings("ignore::sod2jax.errors.StaticSizeWarning")


def lowered(program: Growing):
    found = sod2.jit(program.function, shapes=program.shapes).trace(*program.arguments).lower()
    found.as_text("llvm")
    return found


def calls(program: Growing) -> int:
    """Python functions called while a program is traced, planned and written down for LLVM."""
    profile = cProfile.Profile()
    profile.runcall(lowered, program)
    return pstats.Stats(profile).total_calls


def statements(x) -> int:
    return 1 + sum(map(statements, getattr(x, "body", ())))


@pytest.mark.parametrize("kind", KINDS)
def test_work_grows_with_length(kind, pytestconfig):
    n = pytestconfig.getoption("--growth")
    lowered(KINDS[kind](4))  # what is made once per process
    short, long = calls(KINDS[kind](n // 4)), calls(KINDS[kind](n))
    assert long <= MOST * short, f"{long} calls for {n} lines, {short} for {n // 4}"


@pytest.mark.parametrize("kind", ["concatenate", "pad reflect", "2-D pad wrap", "roll", "conv", "gather"])
def test_code_grows_with_length(kind):
    """Each line of these takes less than 200 statements of loops, whatever there is before and after it."""
    for n in (3, 12):
        kernels = lowered(KINDS[kind](n))._executable.program.kernels
        assert sum(statements(k) for k in kernels if isinstance(k, Kernel)) <= 200 * n


def test_a_quadratic_program_would_be_seen():
    def quadratic(n):
        def function(x):
            for k in range(n):
                for _ in range(k):
                    x = x + 1
            return x

        return Growing(function, ("a",), KINDS["add"](1).arguments)

    lowered(quadratic(4))
    assert calls(quadratic(40)) > MOST * calls(quadratic(10))
