"""The generator of random programs: every kind of line, and how often it is drawn."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable
from itertools import accumulate

import numpy as np
from programs.elementwise import Elementwise
from programs.folds import Folds
from programs.library import Library
from programs.movement import Movement
from programs.numbers import Numbers
from programs.products import Products
from programs.program import Program
from programs.questions import Questions
from programs.terms import A, B, C
from programs.updates import Updates

from sod2jax.ir.expr import const

MOST = 30  # lines

# How often each kind of line is drawn, relative to the others.
WEIGHTS = {
    "unary": 8, "exact_unary": 6, "binary": 10, "divide": 2, "compare": 4, "logical": 2, "select": 4, "convert": 5, "size": 2,
    "iota": 2, "integer": 4, "bits": 2, "complex": 1, "complex_unary": 2, "complex_dot": 1, "random": 1,
    "fft": 1, "linalg": 1,
    "broadcast": 4, "reshape": 6, "transpose": 6, "slice": 4, "pad": 4, "concatenate": 4, "tile": 1, "take": 3,
    "gather": 2, "take_along": 2, "scatter": 3, "write": 2, "dynamic_slice": 2, "dynamic_update": 2, "segments": 1,
    "rewrite": 3, "exchange": 3, "shift_within": 2,
    "reduce": 6, "arg": 2, "normalise": 4, "running": 3, "sort": 2, "sort_by_key": 1, "top": 1, "count": 1,
    "dot": 6, "dense": 5, "conv": 3, "pool": 2,
    "vector": 5, "matrix": 4, "picked": 1,
    "cond": 3, "switch": 2, "fori": 6, "while": 4, "scan": 6, "map": 2, "grad": 3, "keys": 1,
    "question": 3, "divisible": 3, "number": 5, "made": 4, "cut": 5, "unrolled": 2, "symbol": 2,
}  # fmt: skip
INPUTS = ["float32"] * 6 + ["int32"] * 3 + ["bool", "bfloat16", "float16", "int8", "int16", "uint8", "uint32", "complex64"]


class Generator(Elementwise, Movement, Folds, Products, Updates, Numbers, Library, Questions):
    """Draws programs: `Generator(below).program()`."""

    names = tuple(WEIGHTS)
    places = tuple(accumulate(WEIGHTS.values()))

    def step(self):
        """One more line, or None where the one drawn does not fit."""
        kind = self.names[bisect(self.places, self.below(self.places[-1]))]
        return getattr(self, f"op_{kind}")()

    def program(self) -> Program:
        dtypes = INPUTS
        if self.x64:
            dtypes = [*INPUTS, *["float64"] * 6, *["int64"] * 3]
        self.input((A, B), self.one(["float32", "float64"]) if self.x64 else "float32", exact=self.chance(0.5))
        shapes = [
            *[(A, B), (B,), (A,), (), (A, B, const(8)), (B, const(16)), (const(8), A), (A, const(4), const(4))],
            *[(const(5), const(6)), (A * 2,), (A + 1, B), (B, A)],
        ]
        if third := self.chance(0.25):
            self.input((C,), self.one(["float32", "int32"]), self.chance(0.5))
            shapes += [(C,), (C, B), (C, const(4))]
        for _ in range(self.below(4)):
            self.input(self.one(shapes), self.one(dtypes), self.chance(0.5))
        for _ in range(3 * MOST):
            if len(self.lines) >= MOST or (self.lines and self.enough(18)):
                break
            self.step()
        used = {name for line in self.lines for name in line.uses}
        terms = [t for line in self.lines for t in line.terms]
        outputs = [t.name for t in terms if t.name not in used][-4:]
        if self.chance(0.3) and self.lines:
            outputs.append(self.one(terms).name)
        if self.chance(0.1):
            outputs.append("x0")
        symbolic = not self.chance(0.35)
        donated = tuple(k for k in range(len(self.inputs)) if self.chance(0.6)) if self.chance(0.2) else ()
        program = Program(tuple(self.inputs), tuple(self.lines), tuple(outputs or ["x0"]), third, self.x64, symbolic)
        return program.cut(donated)


def drawn(below: Callable[[int], int]) -> Program:
    """A program; one in five is of 64 bits."""
    return Generator(below, x64=below(5) == 4).program()


def seeded(seed: int) -> Callable[[int], int]:
    """Choices of a seeded generator."""
    rng = np.random.default_rng(seed)
    return lambda n: int(rng.integers(n))
