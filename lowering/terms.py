"""Real and complex terms with Python's operators: the notation in which functions of complex numbers are written.

* A `Real` is a value of a kernel that is being built, a `Complex` two of them; Python's numbers are constants.
* Each operator is a scalar function of `ir.loops.SCALAR_OPS`. A product may be fused with the sum that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf as INF

import numpy as np

from sod2jax.ir.loops import Value

BOOL = np.dtype(bool)


class Real:
    """A real value, or a truth, with Python's operators; numbers are constants of its dtype."""

    __slots__ = ("b", "value")

    def __init__(self, b, value: Value):
        self.b, self.value = b, value

    def op(self, name: str, *others, dtype=None) -> Real:
        args = (x.value if isinstance(x, Real) else self.b.const(x, self.value.dtype) for x in others)
        return Real(self.b, self.b.op(name, self.value, *args, dtype=dtype))

    def const(self, number: float) -> Real:
        return Real(self.b, self.b.const(number, self.value.dtype))

    def __add__(self, other):
        return self.op("add", other)

    def __sub__(self, other):
        return self.op("sub", other)

    def __rsub__(self, other):
        return self.const(other) - self

    def __mul__(self, other):
        return self.op("mul", other)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other):
        return self.op("div", other)

    def __rtruediv__(self, other):
        return self.const(other) / self

    def __neg__(self):
        return self.op("neg")

    def __abs__(self):
        return self.op("abs")

    def __lt__(self, other):
        return self.op("lt", other, dtype=BOOL)

    def __le__(self, other):
        return self.op("le", other, dtype=BOOL)

    def __gt__(self, other):
        return self.op("gt", other, dtype=BOOL)

    def __ge__(self, other):
        return self.op("ge", other, dtype=BOOL)

    def equals(self, other) -> Real:
        return self.op("eq", other, dtype=BOOL)

    def differs(self, other) -> Real:
        return self.op("ne", other, dtype=BOOL)

    def __and__(self, other):
        return self.op("and", other)

    def __or__(self, other):
        return self.op("or", other)

    def __invert__(self):
        return self.op("not")

    def where(self, then, other):
        """`then` where this truth holds, else `other`; both real or both complex."""
        if isinstance(then, Complex):
            return Complex(self.where(then.re, other.re), self.where(then.im, other.im))
        like = then if isinstance(then, Real) else other
        then, other = (x if isinstance(x, Real) else like.const(x) for x in (then, other))
        return Real(self.b, self.b.op("select", self.value, then.value, other.value, dtype=like.value.dtype))

    def is_nan(self) -> Real:
        return self.differs(self)

    def is_infinite(self) -> Real:
        return abs(self).equals(INF)

    def is_finite(self) -> Real:
        return self.op("is_finite", dtype=BOOL)

    def with_sign_of(self, other: Real) -> Real:
        """For a positive number or zero, and an `other` that may be a zero."""
        bits = np.dtype(f"i{self.value.dtype.itemsize}")
        negative = other.op("bitcast", dtype=bits) < 0
        return negative.where(-self, self)

    @property
    def info(self) -> np.finfo:
        return np.finfo(self.value.dtype)


@dataclass(frozen=True, slots=True)
class Complex:
    """A complex term."""

    re: Real
    im: Real

    def __add__(self, other):
        return Complex(self.re + other.re, self.im + other.im)

    def __sub__(self, other):
        return Complex(self.re - other.re, self.im - other.im)

    def __mul__(self, other):
        return Complex(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    def __truediv__(self, other):
        return divide(self, other)

    def __neg__(self):
        return Complex(-self.re, -self.im)

    def __abs__(self):
        return hypot_of(self)

    def number(self, value: complex) -> Complex:
        return Complex(self.re.const(value.real), self.re.const(value.imag))


def hypot_of(z: Complex) -> Real:
    """|z|, which is infinite for an infinite part only if the other is no NaN."""
    x, y = abs(z.re), abs(z.im)
    large, small = x.op("max", y), x.op("min", y)
    t = small / large
    result = large * (t * t + 1.0).op("sqrt")
    return result.is_nan().where(small, result)  # both 0, both infinite, or NaN


def divide(a: Complex, b: Complex) -> Complex:
    """R. Smith (1962): the quotient of b's parts keeps its square from overflowing. Where that gives NaN, C99's annex G."""
    steep = abs(b.re) < abs(b.im)
    r, s = b.re / b.im, b.im / b.re
    down, up = b.im + r * b.re, b.re + s * b.im
    re = steep.where((r * a.re + a.im) / down, (s * a.im + a.re) / up)
    im = steep.where((r * a.im - a.re) / down, (a.im - s * a.re) / up)

    def units(z: Complex) -> Complex:
        return Complex(*(x.is_infinite().where(x.const(1.0), 0.0).with_sign_of(x) for x in (z.re, z.im)))

    def infinite(z: Complex) -> Real:
        return z.re.is_infinite() | z.im.is_infinite()

    def finite(z: Complex) -> Real:
        return z.re.is_finite() & z.im.is_finite()

    def scaled(factor: float, x: Complex, y: Complex) -> Complex:
        return Complex((x.re * y.re + x.im * y.im) * factor, (x.im * y.re - x.re * y.im) * factor)

    by_zero = b.re.equals(0.0) & b.im.equals(0.0) & ~(a.re.is_nan() & a.im.is_nan())
    pole = b.re.const(INF).with_sign_of(b.re)
    result = Complex(re, im)
    edges = (finite(a) & infinite(b)).where(scaled(0.0, a, units(b)), result)
    edges = (infinite(a) & finite(b)).where(scaled(INF, units(a), b), edges)
    edges = by_zero.where(Complex(pole * a.re, pole * a.im), edges)
    return (re.is_nan() & im.is_nan()).where(edges, result)
