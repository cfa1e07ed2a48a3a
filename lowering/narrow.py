"""Floats of 8 bits and fewer. In registers they are f32 (every one of them is exact there); this is how they lie in memory.

* A `Format` says what the bits mean. Formats without infinities differ in where NaN is: "ones" (all bits but the sign), "zero"
  (negative zero), or nowhere ("none": what is too large becomes the largest number).
* Rounding is to nearest, ties to even, denormals included; what is too large becomes infinite, or else NaN.
* float8_e8m0fnu has neither sign nor zero nor mantissa: an exponent, or NaN.
* f32 denormals may count as zero, so none appears on the way.
* What has less than 8 bits, int4 and int2 included, takes a byte here. JAX packs several into one in the arrays that users hold,
  so arguments and results cannot have such a dtype (`image.dtype_code`); everything between them can.
"""

from __future__ import annotations

from dataclasses import dataclass

from sod2jax.lowering.emit import Lanes, Type

SIGN, INFINITY = -(1 << 31), 0x7F800000


@dataclass(frozen=True, slots=True)
class Format:
    exponent: int
    mantissa: int
    bias: int
    nan: str  # "ieee" | "ones" | "zero" | "none"

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def shift(self) -> int:
        """From the place of the mantissa to where f32 has it."""
        return 23 - self.mantissa

    @property
    def magnitude(self) -> int:
        """All bits but the sign."""
        return (1 << self.exponent + self.mantissa) - 1

    @property
    def infinity(self) -> int:
        return self.magnitude & ~((1 << self.mantissa) - 1)


FORMATS = {
    "float8_e3m4": Format(3, 4, 3, "ieee"),
    "float8_e4m3": Format(4, 3, 7, "ieee"),
    "float8_e5m2": Format(5, 2, 15, "ieee"),
    "float8_e4m3fn": Format(4, 3, 7, "ones"),
    "float8_e4m3fnuz": Format(4, 3, 8, "zero"),
    "float8_e5m2fnuz": Format(5, 2, 16, "zero"),
    "float8_e4m3b11fnuz": Format(4, 3, 11, "zero"),
    "float4_e2m1fn": Format(2, 1, 1, "none"),
}


class _Words:
    """Arithmetic on i32 lanes."""

    def __init__(self, m: Lanes):
        self.m = m

    def __getattr__(self, op: str):
        return lambda a, b: self.m.bin(op.rstrip("_"), "i32", self.operand(a), self.operand(b))

    def operand(self, x) -> str:
        return self.m.lit(x, "i32") if isinstance(x, int) else x

    def test(self, pred: str, a, b) -> str:
        return self.m.cmp(pred, "i32", self.operand(a), self.operand(b))

    def select(self, cond: str, a, b) -> str:
        return self.m.select(cond, "i32", self.operand(a), self.operand(b))


def decode(m: Lanes, t: Type, x: str) -> str:
    """The f32 of a byte."""
    w, bits = _Words(m), m.cast("zext", "i8", x, "i32")
    if t.name == "float8_e8m0fnu":
        number = w.select(w.test("eq", bits, 0), 1 << 22, w.shl(bits, 23))
        return m.from_bits("float", w.select(w.test("eq", bits, 255), INFINITY | 1 << 22, number))
    f = FORMATS[t.name]
    size = w.and_(bits, f.magnitude)
    tiny = m.bin("fmul", "float", m.cast("uitofp", "i32", size, "float"), m.flt(2.0 ** (1 - f.bias - f.mantissa), "float"))
    number = w.add(w.shl(size, f.shift), 127 - f.bias << 23)
    number = w.select(w.test("ult", size, 1 << f.mantissa), m.bits("float", tiny), number)
    nan = INFINITY | 1 << 22
    if f.nan == "ieee":
        number = w.select(w.test("uge", size, f.infinity), w.or_(w.shl(size, f.shift), INFINITY), number)
    elif f.nan == "ones":
        number = w.select(w.test("eq", size, f.magnitude), nan, number)
    number = w.or_(number, w.and_(w.shl(bits, 32 - f.bits), SIGN))
    if f.nan == "zero":
        number = w.select(w.test("eq", bits, f.magnitude + 1), nan, number)
    return m.from_bits("float", number)


def encode(m: Lanes, t: Type, x: str) -> str:
    """The byte of an f32, which is rounded."""
    w, bits = _Words(m), m.bits("float", x)
    if t.name == "float8_e8m0fnu":
        return m.cast("trunc", "i32", _exponent(m, w, bits), "i8")
    f = FORMATS[t.name]
    size = w.and_(bits, ~SIGN)
    odd = w.and_(w.lshr(size, f.shift), 1)
    normal = w.lshr(w.add(w.add(size, odd), (1 << f.shift - 1) - 1), f.shift)
    normal = w.sub(normal, 127 - f.bias << f.mantissa)
    # A denormal: adding a number whose last place is its unit rounds it.
    unit = m.flt(2.0 ** (1 - f.bias - f.mantissa + 23), "float")
    tiny = w.sub(m.bits("float", m.bin("fadd", "float", m.from_bits("float", size), unit)), m.bits("float", unit))
    code = w.select(w.test("ult", size, 128 - f.bias << 23), tiny, normal)
    is_nan = w.test("ugt", size, INFINITY)
    sign = w.and_(w.lshr(bits, 32 - f.bits), f.magnitude + 1)
    if f.nan == "ieee":
        code = w.select(w.test("ugt", code, f.infinity), f.infinity, code)
        code = w.select(is_nan, f.infinity | 1 << f.mantissa - 1, code)
    else:
        code = w.select(w.test("ugt", code, f.magnitude), f.magnitude, code)
    if f.nan == "zero":
        sign = w.select(w.test("eq", code, 0), 0, sign)
        over = w.test("ugt", w.select(w.test("ult", size, 128 - f.bias << 23), 0, normal), f.magnitude)
        code = w.select(over, f.magnitude + 1, w.or_(code, sign))
    else:
        code = w.or_(code, sign)
    return m.cast("trunc", "i32", code, "i8")


def _exponent(m: Lanes, w: _Words, bits: str) -> str:
    """Of e8m0: half way goes up, and what is no positive number is NaN."""
    none = m.bin("or", "i1", w.test("uge", bits, INFINITY), w.test("eq", bits, 0))
    least = w.test("ule", bits, 1 << 22)
    return w.select(none, 255, w.select(least, 0, w.lshr(w.add(bits, 1 << 22), 23)))
