"""Floating-point arithmetic on lanes as Python operators: the notation in which `mathfns` is written.

`Real` is a value of `float` or `double` lanes, `Bits` an integer one, `Mask` a truth per lane; Python numbers are constants.
Nothing here is contracted or reassociated: the functions rely on every rounding.
"""

from __future__ import annotations

from sod2jax.lowering.emit import Lanes
from sod2jax.lowering.polynomials import POLYNOMIALS


class Mask:
    __slots__ = ("m", "x")

    def __init__(self, m: Lanes, x: str):
        self.m, self.x = m, x

    def __and__(self, other):
        return Mask(self.m, self.m.bin("and", "i1", self.x, other.x))

    def __or__(self, other):
        return Mask(self.m, self.m.bin("or", "i1", self.x, other.x))

    def __invert__(self):
        return Mask(self.m, self.m.bin("xor", "i1", self.x, self.m.lit("true", "i1")))

    def where(self, a, b):
        """a where true, else b; one of them is a value, the other may be a number."""
        like = a if isinstance(a, (Real, Bits)) else b
        return like.like(self.m.select(self.x, like.s, like.operand(a), like.operand(b)))


class Bits:
    """Integer lanes of type `s` ("i32", "i64"), signed where it matters."""

    __slots__ = ("m", "s", "x")

    def __init__(self, m: Lanes, s: str, x: str):
        self.m, self.s, self.x = m, s, x

    def operand(self, other) -> str:
        return other.x if isinstance(other, Bits) else self.m.lit(_wrap(other, self.s), self.s)

    def like(self, x: str) -> Bits:
        return Bits(self.m, self.s, x)

    def _bin(self, op, other):
        return self.like(self.m.bin(op, self.s, self.x, self.operand(other)))

    def __add__(self, other):
        return self._bin("add", other)

    def __sub__(self, other):
        return self._bin("sub", other)

    def __and__(self, other):
        return self._bin("and", other)

    def __or__(self, other):
        return self._bin("or", other)

    def __xor__(self, other):
        return self._bin("xor", other)

    def __lshift__(self, count: int):
        return self._bin("shl", count)

    def __rshift__(self, count: int):
        return self._bin("ashr", count)

    def cmp(self, pred: str, other) -> Mask:
        return Mask(self.m, self.m.cmp(pred, self.s, self.x, self.operand(other)))

    def to_real(self, s: str) -> Real:
        return Real(self.m, s, self.m.cast("sitofp", self.s, self.x, s))

    def reinterpret(self) -> Real:
        s = "float" if self.s == "i32" else "double"
        return Real(self.m, s, self.m.from_bits(s, self.x))

    def resize(self, s: str) -> Bits:
        op = "sext" if int(s[1:]) > int(self.s[1:]) else "trunc"
        return Bits(self.m, s, self.m.cast(op, self.s, self.x, s))


def _wrap(n: int, s: str) -> int:
    half = 1 << (int(s[1:]) - 1)
    return (n + half) % (2 * half) - half


class Real:
    """Floating-point lanes of type `s` ("float", "double")."""

    __slots__ = ("m", "s", "x")

    def __init__(self, m: Lanes, s: str, x: str):
        self.m, self.s, self.x = m, s, x

    def operand(self, other) -> str:
        return other.x if isinstance(other, Real) else self.m.flt(other, self.s)

    def like(self, x: str) -> Real:
        return Real(self.m, self.s, x)

    def const(self, value: float) -> Real:
        return self.like(self.m.flt(value, self.s))

    def _bin(self, op, a, b):
        return self.like(self.m.bin(op, self.s, self.operand(a), self.operand(b)))

    def __add__(self, other):
        return self._bin("fadd", self, other)

    __radd__ = __add__

    def __sub__(self, other):
        return self._bin("fsub", self, other)

    def __rsub__(self, other):
        return self._bin("fsub", other, self)

    def __mul__(self, other):
        return self._bin("fmul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self._bin("fdiv", self, other)

    def __rtruediv__(self, other):
        return self._bin("fdiv", other, self)

    def __neg__(self):
        return self.like(self.m.fneg(self.s, self.x))

    def __abs__(self):
        return self.like(self.m.fabs(self.s, self.x))

    def fma(self, a, b) -> Real:
        """self * a + b, rounded once."""
        return self.like(self.m.fma(self.s, self.x, self.operand(a), self.operand(b)))

    def _cmp(self, pred, other) -> Mask:
        return Mask(self.m, self.m.cmp(pred, self.s, self.x, self.operand(other)))

    def __lt__(self, other):
        return self._cmp("olt", other)

    def __le__(self, other):
        return self._cmp("ole", other)

    def __gt__(self, other):
        return self._cmp("ogt", other)

    def __ge__(self, other):
        return self._cmp("oge", other)

    def equals(self, other) -> Mask:
        return self._cmp("oeq", other)

    def differs(self, other) -> Mask:
        """Not equal, or unordered."""
        return self._cmp("une", other)

    def is_nan(self) -> Mask:
        return self._cmp("uno", self)

    def at_least(self, low: float) -> Real:
        """max(self, low), which is one instruction; NaN stays."""
        low = self.const(low)
        return self._maximum("maximum", low) if self.m.target.is_aarch64 else (low > self).where(low, self)

    def at_most(self, high: float) -> Real:
        high = self.const(high)
        return self._maximum("minimum", high) if self.m.target.is_aarch64 else (high < self).where(high, self)

    def _maximum(self, name: str, bound: Real) -> Real:
        return self.like(self.m.call(name, self.s, self.x, bound.x))

    def sqrt(self) -> Real:
        return self.like(self.m.call("sqrt", self.s, self.x))

    def round(self) -> Real:
        """To the nearest integer, ties to even."""
        return self.like(self.m.call("roundeven", self.s, self.x))

    def trunc(self) -> Real:
        return self.like(self.m.call("trunc", self.s, self.x))

    def with_sign_of(self, other) -> Real:
        return self.like(self.m.copysign(self.s, self.x, self.operand(other)))

    def bits(self) -> Bits:
        return Bits(self.m, "i32" if self.s == "float" else "i64", self.m.bits(self.s, self.x))

    def to_int(self, s: str = "i32") -> Bits:
        """Truncated; the value must fit."""
        return Bits(self.m, s, self.m.cast("fptosi", self.s, self.x, s))

    def widen(self) -> Real:
        return Real(self.m, "double", self.m.cast("fpext", "float", self.x, "double"))

    def narrow(self) -> Real:
        return Real(self.m, "float", self.m.cast("fptrunc", "double", self.x, "float"))

    def poly(self, name: str, precision: str) -> Real:
        """The polynomial `name` of `polynomials`, by Horner's rule."""
        *rest, top = POLYNOMIALS[name, precision]
        out = self.const(top)
        for c in reversed(rest):
            out = out.fma(self, c)
        return out

    def times_power_of_2(self, k: Bits) -> Real:
        """self * 2**k for a k that may lead out of the normal range: in two factors, so that only the last product rounds."""
        half = k >> 1
        return self * power_of_2(half, self.s) * power_of_2(k - half, self.s)


def power_of_2(k: Bits, s: str) -> Real:
    """2**k for k in the range of normal numbers."""
    width, shift, bias = ("i32", 23, 127) if s == "float" else ("i64", 52, 1023)
    return ((k.resize(width) if k.s != width else k) + bias << shift).reinterpret()
