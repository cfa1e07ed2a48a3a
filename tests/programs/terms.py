"""Random programs as source text, a line per value, and what is needed to draw one.

* A `Term` has a shape in the symbols a and b, a dtype, and a bound on its magnitude. It is exact if all of its elements are small
  integers, whatever the order of operations: only such values reach comparisons, rounding, orders and positions, where the last
  bit of a float would decide. uint32 wraps around: it is exact whatever its values.
* A `Builder` adds lines. Its choices are integers below n from a source: a seeded generator, or hypothesis, which shrinks them.
  Option 0 is the simplest.
* A line takes one to three earlier values at random, late ones more often, so that subterms are shared and chains get long.
* With `x64` there are also float64 and int64, and the program runs in `jax.enable_x64(True)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sod2jax.ir.expr import Expr, as_expr, const, sym

A, B, C = sym("a"), sym("b"), sym("c")
ZERO_SIZES, LARGE_SIZES = dict.fromkeys("abc", 0), dict.fromkeys("abc", 130)
LARGEST = 64 * 130 * 130  # elements of a value at those
EXACT = {
    **{"float64": 1 << 40, "float32": 1 << 22, "bfloat16": 1 << 7, "float16": 1 << 10, "complex64": 1 << 20},
    **{"int64": 1 << 40, "int32": 1 << 28, "int16": 1 << 14, "int8": 127, "uint8": 255, "uint32": 1 << 32, "bool": 2},
}
SIGNED = ("int32", "int16", "int8", "int64")
INTEGERS = (*SIGNED, "uint8")  # with small values; uint32 holds anything
NARROW = ("bfloat16", "float16")
SINGLE = ("float32", "float64")
REAL = (*SINGLE, *NARROW)


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
    """Several terms where a loop or branch gives several; `before` are statements, the bodies of those."""

    terms: tuple[Term, ...]
    text: str
    uses: frozenset[str]
    before: str = ""
    target: str = ""

    def __str__(self):
        return f"{self.before}{self.target or ', '.join(t.name for t in self.terms)} = {self.text}"


def size(shape) -> Expr:
    result = const(1)
    for d in shape:
        result = result * d
    return result


def text(shape) -> str:
    return "(" + "".join(f"{d}, " for d in shape) + ")"


class Builder:
    """Adds lines at random. In subclasses each method named `op_...` adds one, or gives None where what it drew does not fit."""

    def __init__(self, below: Callable[[int], int], x64: bool = False):
        self.below = below
        self.x64 = x64
        self.index = "int64" if x64 else "int32"  # of what counts without being told a dtype
        self.inputs: list[Term] = []
        self.lines: list[Line] = []
        self.terms: list[Term] = []
        self.prefix = "v"

    # -- choices

    def chance(self, p: float) -> bool:
        return self.below(20) >= round(20 * (1 - p))

    def enough(self, n: int) -> bool:
        """Whether to stop, asked before each of about n: what fails is shrunk by taking out one with its question."""
        return self.below(n) == 0

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
        return self.pick(lambda t: t.dtype in SINGLE and want(t))

    def whole(self, want=lambda t: True) -> Term | None:
        """Exact numbers with an order."""
        return self.pick(lambda t: t.exact and t.dtype in (*INTEGERS, *SINGLE) and want(t))

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

    def make(self, name, uses, shape, dtype, bound, exact=True) -> Term | None:
        """A term, unless its value would be too large, or an integer that is not exact."""
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
        return Term(name, shape, dtype, float(bound), exact)

    def add(self, text_, uses, shape, dtype, bound, exact=True) -> Term | None:
        term = self.make(f"{self.prefix}{len(self.lines)}", uses, shape, dtype, bound, exact)
        if term is not None:
            self.put(Line((term,), text_, frozenset(u.name for u in uses)))
        return term

    def put(self, line: Line) -> None:
        self.lines.append(line)
        self.terms.extend(line.terms)
