"""Random programs against JAX: each is compiled once with symbolic sizes and run at several (see tests/programs/).

* `programs` is a hypothesis strategy over the kinds of lines in tests/programs: 1 to 30 lines, shared subterms, loops and
  branches within each other, sizes a, b and c, comparisons of sizes in Python, all dtypes, donation, with and without `shapes=`.
* `--programs N` runs N of them, in blocks that pytest-xdist can spread. Each run has a fresh seed; `--seed S` repeats one.
* A failure prints the smallest program found that shows it, as a script, and the command that repeats it.
* SOD2_CHECK=2 compares with the program without memory planning, bit for bit, too.
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from programs.compare import SIZES, Verdict, judge, sizes_of
from programs.generator import WEIGHTS, Generator, drawn, seeded
from programs.xla_differs import PROGRAMS

import sod2jax as sod2

BLOCK = 8


@st.composite
def programs(draw):
    """A program, and the sizes to run it at."""

    def below(n: int) -> int:
        return draw(st.integers(0, n - 1)) if n > 1 else 0

    program = drawn(below)
    return program, sizes_of(below, program.symbolic)


def pytest_generate_tests(metafunc):
    if "block" in metafunc.fixturenames:
        metafunc.parametrize("block", range(-(-metafunc.config.getoption("--programs") // BLOCK)))


def explore(number: int, judge, doubtful=lambda text: None):
    """Draws a block of programs from the seed `number`; fails with the smallest that `judge` finds wrong."""
    repeat = f"python -m pytest tests/test_random_programs.py -k test_random_programs --programs {BLOCK} --seed {number}"

    @seed(number)
    @settings(max_examples=BLOCK, database=None, derandomize=False, deadline=None, suppress_health_check=list(HealthCheck),
              phases=[Phase.generate, Phase.shrink])  # fmt: skip
    @given(programs())
    def agree(case):
        program, sizes = case
        verdict = judge(program, sizes)
        if verdict.doubt:
            doubtful(f"{verdict.doubt}\n{program.script(sizes)}")
        if verdict.wrong:
            pytest.fail(f"{verdict.wrong}\nThe seed is {number}; this repeats it:\n    {repeat}\n\n{program.script(sizes)}")

    agree()


def test_random_programs(block, pytestconfig, record_property):
    explore(pytestconfig.getoption("--seed") + block, judge, lambda text: record_property("doubtful", text))


def test_a_failure_is_small_and_tells_how_to_repeat_it():
    """Where every program that has a tanh is wrong, one of few lines is shown, as a script, with its seed."""
    told = []

    def strict(program, sizes):
        wrong = "tanh is wrong" if "jnp.tanh" in program.source() else ""
        told.append(program)
        return Verdict(wrong)

    with pytest.raises(pytest.fail.Exception) as failure:
        explore(5, strict)
    message = str(failure.value)
    assert "--seed 5" in message
    script = message[message.index("import math") :]
    assert script.count("\n    v") <= 2 < max(len(p.lines) for p in told)
    compile(script, "script.py", "exec")


def test_the_same_seed_draws_the_same_programs():
    assert str(drawn(seeded(7))) == str(drawn(seeded(7))) != str(drawn(seeded(8)))


def test_every_kind_of_line_is_drawn():
    found = set()

    class Recording(Generator):
        def step(self):
            before = len(self.lines)
            kind = self.names[self.below(len(self.names))]
            if getattr(self, f"op_{kind}")() is not None and len(self.lines) > before:
                found.add(kind)

    for number in range(120):
        Recording(seeded(number)).program()
    assert found == set(WEIGHTS)


def test_programs_are_as_long_as_they_should_be():
    lengths = [len(drawn(seeded(number)).lines) for number in range(100)]
    assert max(lengths) > 20
    assert sum(lengths) / len(lengths) > 7


def test_programs_are_what_they_claim():
    """JAX takes nearly all of them, and gives the shapes and dtypes that the generator has in its books."""
    refused = 0
    for number in range(24):
        below = seeded(number)
        program = drawn(below)
        terms = {t.name: t for t in (*program.inputs, *(t for line in program.lines for t in line.terms))}
        env = dict(zip("abc", SIZES[below(len(SIZES))], strict=True))
        with program.context():
            try:
                found = jax.eval_shape(program.function(), *program.arguments(env))
            except (ArithmeticError, IndexError, TypeError, ValueError):
                refused += 1
                continue
        claimed = [(tuple(d.eval(env) for d in terms[name].shape), terms[name].dtype) for name in program.outputs]
        assert [(x.shape, str(x.dtype)) for x in found] == claimed, str(program)
    assert refused <= 1


def test_programs_count_as_a_users():
    """Their lines stand in files that are neither JAX's nor sod2jax's: a question about sizes names the line."""
    program = drawn(seeded(3))
    path = Path(program.function().__code__.co_filename)
    assert "random-programs" in str(path)
    assert path.read_text().endswith(program.source())


def test_a_script_runs_by_itself(capsys):
    program = next(p for p in (drawn(seeded(number)) for number in range(100)) if p.source().count("\n") <= 6 and not p.x64)
    exec(compile(program.script([{"a": 2, "b": 3, "c": 2}]), "script.py", "exec"), {"__name__": "__main__"})
    assert "differs from jax.jit by" in capsys.readouterr().out


@pytest.mark.parametrize("name", PROGRAMS)
def test_xla_differs(name):
    """Programs on which `jax.jit` is wrong: we agree with JAX op by op. If `jax.jit` does, too, the entry can go."""
    fun, args = PROGRAMS[name]
    with jax.disable_jit():
        right = jax.tree.leaves(fun(*args))
    ours = jax.tree.leaves(sod2.jit(fun)(*args))
    theirs = jax.tree.leaves(jax.jit(fun)(*args))
    for x, y in zip(ours, right, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
    assert not all(np.allclose(x, y, rtol=1e-4, atol=1e-4) for x, y in zip(theirs, right, strict=True))
