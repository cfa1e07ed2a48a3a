"""Random programs against `jax.jit`: each is compiled once with symbolic sizes and run at several.

* `programs` is a hypothesis strategy over the kinds of lines in tests/programs: 5 to 40 lines, shared subterms, sizes a and b.
* `--programs N` runs N of them, in blocks of ten that pytest-xdist can spread. A failure prints the smallest program found that
  shows it.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from programs.compare import sizes_of, wrong
from programs.generator import WEIGHTS, Generator, seeded

BLOCK = 10


@st.composite
def programs(draw):
    """A program, and the sizes to run it at."""

    def below(n: int) -> int:
        return draw(st.integers(0, n - 1)) if n > 1 else 0

    return Generator(below).program(), sizes_of(below)


def pytest_generate_tests(metafunc):
    if "block" in metafunc.fixturenames:
        metafunc.parametrize("block", range(-(-metafunc.config.getoption("--programs") // BLOCK)))


def test_random_programs(block):
    @seed(block)
    @settings(max_examples=BLOCK, database=None, derandomize=False, deadline=None, suppress_health_check=list(HealthCheck))
    @given(programs())
    def agree(drawn):
        program, sizes = drawn
        if message := wrong(program, sizes):
            pytest.fail(f"{message}\n{program}")

    agree()


def test_every_kind_of_line_is_drawn():
    drawn = set()

    class Recording(Generator):
        def step(self):
            before = len(self.lines)
            kind = self.names[self.below(len(self.names))]
            if getattr(self, f"op_{kind}")() is not None and len(self.lines) > before:
                drawn.add(kind)

    for number in range(60):
        Recording(seeded(number)).program()
    assert drawn == set(WEIGHTS)


def test_programs_are_as_long_as_they_should_be():
    lengths = [len(Generator(seeded(number)).program().lines) for number in range(100)]
    assert max(lengths) > 25
    assert sum(lengths) / len(lengths) > 8
