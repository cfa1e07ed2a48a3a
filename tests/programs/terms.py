"""Random programs as source text, a line per value, and what is needed to draw one.

* A `Term` has a shape in the symbols a and b, a dtype, and a bound on its magnitude. It is exact if all of its elements are small
  integers, whatever the order of operations: only such values reach comparisons, rounding, orders and positions, where the last
  bit of a float would decide. uint32 wraps around: it is exact whatever its values.
* A `Builder` adds lines. Its choices are integers below n from a source: a seeded generator, or hypothesis, which shrinks them.
  Option 0 is the simplest.
* A line takes one to three earlier values at random, late ones more often, so that subterms are shared and chains get long.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sod2jax.ir.expr import Expr, as_expr, const, sym

A, B = sym("a"), sym("b")
ZERO_SIZES, LARGE_SIZES = {"a": 0, "b": 0}, {"a": 130, "b": 130}
LARGEST = 64 * 130 * 130  # elements of a value at those
EXACT = {
    **{"float32": 1 << 22, "bfloat16": 1 << 7, "float16": 1 << 10, "complex64": 1 << 20},
    **{"int32": 1 << 28, "int16": 1 << 14, "int8": 127, "uint8": 255, "uint32": 1 << 32, "bool": 2},
}
SIGNED = ("int32", "int16", "int8")
INTEGERS = (*SIGNED, "uint8")  # with small values; uint32 holds anything
NARROW = ("bfloat16", "float16")
REAL = ("float32", *NARROW)


@dataclass(frozen=True)
class Term:
    """One value of a program."""

    name: str
    shape: tuple[Expr, ...]
    dtype: str
    bound: float
    exact: bool


@dataclass(frozen=True)
class Line:
    term: Term
    text: str
    uses: frozenset[str]
    before: str = ""  # statements: the body of a loop or branch

    def __str__(self):
        return f"{self.before}{self.term.name} = {self.text}"


@dataclass(frozen=True)
class Program:
    """The first input has the shape (a, b)."""

    inputs: tuple[Term, ...]
    lines: tuple[Line, ...]
    outputs: tuple[str, ...]

    def source(self) -> str:
        body = ["a, b = x0.shape", *map(str, self.lines), f"return {', '.join(self.outputs)},"]
        return f"def f({', '.join(x.name for x in self.inputs)}):\n" + textwrap.indent("\n".join(body), "    ") + "\n"

    def specs(self) -> tuple[str, ...]:
        return tuple(", ".join(map(str, x.shape)) for x in self.inputs)

    def function(self):
        scope = {"jnp": jnp, "lax": lax, "jax": jax, "np": np}
        exec(self.source(), scope)
        return scope["f"]

    def arguments(self, env, seed=0) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [_sample(rng, x, tuple(d.eval(env) for d in x.shape)) for x in self.inputs]

    def cut(self) -> Program:
        """Without the lines that no output needs."""
        needed, lines = set(self.outputs), []
        for line in reversed(self.lines):
            if line.term.name in needed:
                lines.append(line)
                needed |= line.uses
        inputs = [x for x in self.inputs if x.name in needed or x.name == "x0"]
        return Program(tuple(inputs), tuple(reversed(lines)), self.outputs)

    def __str__(self):
        return f"# shapes={self.specs()}\n# dtypes={[x.dtype for x in self.inputs]}\n{self.source()}"

    __repr__ = __str__


def _sample(rng, x: Term, shape):
    if x.dtype == "bool":
        return rng.random(shape) < 0.5
    if x.dtype == "uint32":
        return rng.integers(0, 1 << 32, shape, np.uint32)
    if x.exact:
        return rng.integers(0 if x.dtype == "uint8" else -3, 4, shape).astype(jnp.dtype(x.dtype))
    values = rng.standard_normal(shape)
    if x.dtype == "complex64":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(jnp.dtype(x.dtype))


def size(shape) -> Expr:
    result = const(1)
    for d in shape:
        result = result * d
    return result


def text(shape) -> str:
    return "(" + "".join(f"{d}, " for d in shape) + ")"


class Builder:
    """Adds lines at random. In subclasses each method named `op_...` adds one, or gives None where what it drew does not fit."""

    def __init__(self, below: Callable[[int], int]):
        self.below = below
        self.inputs: list[Term] = []
        self.lines: list[Line] = []
        self.terms: list[Term] = []
        self.prefix = "v"

    # -- choices

    def chance(self, p: float) -> bool:
        return self.below(20) >= round(20 * (1 - p))

    def one(self, options):
        return options[self.below(len(options))]

    def shuffled(self, items: Sequence) -> list:
        rest, out = list(items), []
        while rest:
            out.append(rest.pop(self.below(len(rest))))
        return out

    def pick(self, want=lambda t: True) -> Term | None:
        """A term for which `want` holds, late ones more often."""
        found = [t for t in self.terms if want(t)]
        if not found:
            return None
        late = min(self.below(len(found)), self.below(len(found)))
        return found[len(found) - 1 - late]

    def real(self, want=lambda t: True) -> Term | None:
        return self.pick(lambda t: t.dtype in REAL and want(t))

    def single(self, want=lambda t: True) -> Term | None:
        return self.pick(lambda t: t.dtype == "float32" and want(t))

    def whole(self, want=lambda t: True) -> Term | None:
        """Exact numbers with an order."""
        return self.pick(lambda t: t.exact and t.dtype in (*INTEGERS, "float32") and want(t))

    def position(self) -> Term | None:
        """A scalar of int32: something to start, count or choose with."""
        found = self.pick(lambda t: t.dtype == "int32" and not t.shape)
        if found is not None and self.chance(0.7):
            return found
        x = self.pick(lambda t: t.dtype in ("int32", "bool") and t.shape)
        return None if x is None else self.add(f"jnp.sum({x.name}, dtype=jnp.int32) % 5", [x], (), "int32", 4)

    def flag(self) -> Term | None:
        """A scalar of bool."""
        at = self.position()
        return None if at is None else self.add(f"{at.name} > {self.one([0, 1, 2])}", [at], (), "bool", 1)

    def like(self, x: Term) -> Term:
        """A term of x's dtype that broadcasts to its shape."""

        def fits(t):
            pairs = zip(reversed(t.shape), reversed(x.shape), strict=False)
            return t.dtype == x.dtype and len(t.shape) <= len(x.shape) and all(p == q or p.value == 1 for p, q in pairs)

        return self.pick(lambda t: t is not x and fits(t)) or x

    # -- making terms

    def input(self, shape, dtype="float32", exact=False) -> Term:
        exact = exact or dtype in (*INTEGERS, "bool", "uint32")
        bound = {"bool": 1, "uint32": 1 << 32}.get(dtype, 3)
        x = Term(f"x{len(self.inputs)}", tuple(map(as_expr, shape)), dtype, bound, exact)
        self.inputs.append(x)
        self.terms.append(x)
        return x

    def add(self, text_, uses, shape, dtype, bound, exact=True, before="") -> Term | None:
        """A line, unless its value would be too large, or an integer that is not exact."""
        shape = tuple(map(as_expr, shape))
        if len(shape) > 5 or size(shape).eval(LARGE_SIZES) > LARGEST:
            return None
        if dtype == "uint32":
            bound, exact = 1 << 32, all(u.exact for u in uses)
        elif bound > (1e3 if dtype == "float16" else 1e7):
            return None
        exact = exact and all(u.exact for u in uses) and bound <= EXACT[dtype]
        if dtype in (*INTEGERS, "bool", "uint32") and not exact:
            return None
        term = Term(f"{self.prefix}{len(self.lines)}", shape, dtype, float(bound), exact)
        self.lines.append(Line(term, text_, frozenset(u.name for u in uses), before))
        self.terms.append(term)
        return term
