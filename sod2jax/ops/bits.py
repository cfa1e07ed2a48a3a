"""Primitives that look at the bits of elements: reinterpreting them, and rounding to fewer of them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from jax import lax
from jax.extend.core import primitives as p

from sod2jax.ops import values
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop
from sod2jax.ops.elementwise import elementwise, read

BOOL, F32 = np.dtype(bool), np.dtype(np.float32)


def width(dtype) -> int:
    """Bits of an element."""
    dtype = np.dtype(dtype)
    if dtype.kind in "bc":
        return dtype.itemsize * 8
    return (ml_dtypes.iinfo if "int" in dtype.name else ml_dtypes.finfo)(dtype).bits


def unsigned(bits: int) -> np.dtype:
    """The integers in which so many bits are counted; uint4 and uint2 are ml_dtypes'."""
    return np.dtype(getattr(ml_dtypes, f"uint{bits}", f"uint{bits}"))


def bitcast(b, out, index, x, *, new_dtype, **_):
    """out[i] = the bits of x[i], of the same width."""
    value = read(x, index)
    return value if x.dtype == out.dtype else b.op("bitcast", value, dtype=out.dtype)


def bitcast_of_other_width(x, *, new_dtype, **_):
    """A wide element becomes a last axis of narrow ones, the lowest bits first, and the other way round."""
    old, new = width(x.dtype), width(new_dtype)
    if old == new:
        return NotImplemented
    if old > new:
        bits = lax.bitcast_convert_type(x, unsigned(old))
        places = lax.iota(unsigned(old), old // new) * np.array(new, unsigned(old))
        return lax.bitcast_convert_type(lax.convert_element_type(bits[..., None] >> places, unsigned(new)), new_dtype)
    parts = lax.convert_element_type(lax.bitcast_convert_type(x, unsigned(old)), unsigned(new))
    bits = parts[..., 0]
    for k in range(1, new // old):
        bits = bits | (parts[..., k] << np.array(k * old, unsigned(new)))
    return lax.bitcast_convert_type(bits, new_dtype)


def reduce_precision(b, out, index, x, *, exponent_bits, mantissa_bits, **_):
    """Rounds to nearest even in `mantissa_bits`, then what no exponent of `exponent_bits` reaches is infinite, or zero, denormals
    included. NaN stays."""
    value = read(x, index)
    if x.dtype.itemsize == 1:
        value = b.convert(value, F32)
    dtype = value.dtype
    info, total = ml_dtypes.finfo(dtype), width(dtype)
    mantissa, exponent = info.nmant, info.nexp
    word = unsigned(total)

    def op(name, x, y):
        return b.op(name, x, b.const(y, word) if isinstance(y, int) else y, dtype=word)

    def choose(cond, x, y):
        return b.op("select", cond, b.const(x, word) if isinstance(x, int) else x, y, dtype=word)

    bits = b.op("bitcast", value, dtype=word)
    sign, infinity = 1 << total - 1, (1 << exponent) - 1 << mantissa
    is_nan = b.op("ne", value, value, dtype=BOOL)
    result = bits
    if mantissa_bits < mantissa:
        cut = mantissa - mantissa_bits
        last = op("and", op("shift_right_logical", bits, cut), 1)
        rounded = op("add", op("add", bits, last), (1 << cut - 1) - 1)
        result = op("and", rounded, (1 << total) - (1 << cut))
    if exponent_bits < exponent:
        bias, reduced = (1 << exponent - 1) - 1, (1 << exponent_bits - 1) - 1
        here = op("and", result, infinity)
        zero = op("and", result, sign)
        over = b.op("gt", here, b.const(bias + reduced << mantissa, word), dtype=BOOL)
        under = b.op("le", here, b.const(bias - reduced << mantissa, word), dtype=BOOL)
        result = choose(over, op("or", zero, infinity), result)
        result = choose(under, zero, result)
    result = choose(is_nan, bits, result)
    return b.convert(b.op("bitcast", result, dtype=dtype), out.dtype)


elementwise(p.reduce_precision_p, reduce_precision, 4)
defop(
    OpDef(
        p.bitcast_convert_type_p, Dyn.ISDOS, Mapping.ONE_TO_ONE, pull=bitcast, decompose=bitcast_of_other_width,
        values=values.ELEMENTWISE.get(p.bitcast_convert_type_p),
    )
)  # fmt: skip
