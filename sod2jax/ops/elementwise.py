"""Elementwise primitives: out[i] = f(x[i], y[i], ...). A row each; operands of size 1 (or rank 0) broadcast, as lax allows.

`values` transfers exist where symbolic sizes flow through a primitive (`ops.values`).
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from jax.extend.core import primitives as p

from sod2jax.ir.expr import const
from sod2jax.ops import values
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop

ZERO = const(0)


def broadcast_index(x, index):
    """The index of operand `x` for output `index`: size-1 axes stand still, a scalar has no index."""
    if not x.shape:
        return ()
    return tuple(ZERO if size.value == 1 else i for size, i in zip(x.shape, index, strict=True))


def read(x, index):
    return x[broadcast_index(x, index)]


def scalar_function(name, b, out, index, *operands, **_):
    return b.op(name, *(read(x, index) for x in operands), dtype=out.dtype)


# primitive: (name in loops.SCALAR_OPS, cost)
UNARY = {
    p.neg_p: ("neg", 1), p.abs_p: ("abs", 1), p.sign_p: ("sign", 2), p.floor_p: ("floor", 1), p.ceil_p: ("ceil", 1),
    p.is_finite_p: ("is_finite", 1), p.not_p: ("not", 1), p.square_p: ("square", 1),
    p.sqrt_p: ("sqrt", 4), p.rsqrt_p: ("rsqrt", 6), p.cbrt_p: ("cbrt", 20),
    p.exp_p: ("exp", 12), p.exp2_p: ("exp2", 12), p.expm1_p: ("expm1", 16), p.log_p: ("log", 14), p.log1p_p: ("log1p", 18),
    p.tanh_p: ("tanh", 16), p.logistic_p: ("logistic", 16), p.erf_p: ("erf", 20), p.erfc_p: ("erfc", 30),
    p.sin_p: ("sin", 20), p.cos_p: ("cos", 20), p.tan_p: ("tan", 30), p.asin_p: ("asin", 20), p.acos_p: ("acos", 20),
    p.atan_p: ("atan", 20), p.sinh_p: ("sinh", 20), p.cosh_p: ("cosh", 20), p.asinh_p: ("asinh", 30),
    p.acosh_p: ("acosh", 30), p.atanh_p: ("atanh", 30),
    p.real_p: ("real", 0), p.imag_p: ("imag", 0), p.conj_p: ("conj", 1),
    p.population_count_p: ("popcount", 1), p.clz_p: ("clz", 1),
}  # fmt: skip
BINARY = {
    p.add_p: ("add", 1), p.sub_p: ("sub", 1), p.mul_p: ("mul", 1), p.div_p: ("div", 4), p.rem_p: ("rem", 8),
    p.max_p: ("max", 1), p.min_p: ("min", 1), p.atan2_p: ("atan2", 30), p.nextafter_p: ("nextafter", 6),
    p.and_p: ("and", 1), p.or_p: ("or", 1), p.xor_p: ("xor", 1), p.shift_left_p: ("shift_left", 1),
    p.shift_right_logical_p: ("shift_right_logical", 1), p.shift_right_arithmetic_p: ("shift_right_arithmetic", 1),
    p.eq_p: ("eq", 1), p.ne_p: ("ne", 1), p.lt_p: ("lt", 1), p.le_p: ("le", 1), p.gt_p: ("gt", 1), p.ge_p: ("ge", 1),
    p.add_jaxvals_p: ("add", 1), p.complex_p: ("complex", 0),
}  # fmt: skip


def identity(b, out, index, x, **_):
    return b.convert(read(x, index), out.dtype)


# Primitives that say something to JAX and nothing to a CPU: out[i] = x[i].
IDENTITY = (p.copy_p, p.stop_gradient_p, p.name_p, p.sharding_constraint_p)


def convert(b, out, index, x, **_):
    return b.convert(read(x, index), out.dtype)


def select(b, out, index, which, *cases, **_):
    """cases[which]; `which` is bool for two cases, else int32 clamped into range, as XLA does."""
    chosen, values_ = read(which, index), [read(c, index) for c in cases]
    if len(values_) == 1:
        return values_[0]
    if which.dtype == np.bool_:
        return b.op("select", chosen, values_[1], values_[0], dtype=out.dtype)
    result = values_[-1]
    for k in range(len(values_) - 2, -1, -1):
        at_most = b.op("le", chosen, b.const(k, which.dtype), dtype=np.dtype(bool))
        result = b.op("select", at_most, values_[k], result, dtype=out.dtype)
    return result


def clamp(b, out, index, low, x, high, **_):
    value = b.op("max", read(x, index), read(low, index), dtype=out.dtype)
    return b.op("min", value, read(high, index), dtype=out.dtype)


def power(b, out, index, x, y, **_):
    """x**y; an integer y is converted first."""
    return b.op("pow", read(x, index), b.convert(read(y, index), out.dtype), dtype=out.dtype)


def integer_pow(b, out, index, x, *, y, **_):
    """x**y by repeated squaring, in the order XLA uses, so that f32 results agree to the bit for small y."""
    base, n, result = read(x, index), abs(y), None
    if n == 0:
        return b.const(1, out.dtype)
    while n:
        if n & 1:
            result = base if result is None else b.op("mul", result, base, dtype=out.dtype)
        n >>= 1
        if n:
            base = b.op("mul", base, base, dtype=out.dtype)
    return b.op("div", b.const(1, out.dtype), result, dtype=out.dtype) if y < 0 else result


def one_minus_square(b, out, index, x, **_):
    """(1 + x)(1 - x), which keeps its digits where |x| is close to 1."""
    value, one = read(x, index), b.const(1, out.dtype)
    return b.op("mul", b.op("add", one, value, dtype=out.dtype), b.op("sub", one, value, dtype=out.dtype), dtype=out.dtype)


def log2(b, out, index, x, **_):
    return b.op("div", b.op("log", read(x, index), dtype=out.dtype), b.const(math.log(2), out.dtype), dtype=out.dtype)


def round_(b, out, index, x, *, rounding_method, **_):
    name = "round_even" if int(rounding_method) == 1 else "round_away"
    return b.op(name, read(x, index), dtype=out.dtype)


def total_order(name, b, out, index, x, y, **_):
    """Compares floats in the order of IEEE 754's totalOrder: -NaN, -inf, ..., -0, 0, ..., inf, NaN; that of their bits, where the
    negative ones run backwards."""
    return b.op(name, *(_ordered(b, read(operand, index), operand.dtype) for operand in (x, y)), dtype=np.dtype(bool))


def _ordered(b, value, dtype):
    if dtype.kind in "biu":
        return value
    dtype = np.dtype(f"i{dtype.itemsize}")
    bits = b.op("bitcast", value, dtype=dtype)
    sign = b.op("shift_right_arithmetic", bits, b.const(8 * dtype.itemsize - 1, dtype), dtype=dtype)
    return b.op("xor", bits, b.op("shift_right_logical", sign, b.const(1, dtype), dtype=dtype), dtype=dtype)


def elementwise(prim, pull, cost=1.0, **more):
    more.setdefault("values", values.ELEMENTWISE.get(prim))
    return defop(OpDef(prim, Dyn.ISDOS, Mapping.ONE_TO_ONE, pull=pull, cost=cost, solve=values.same_shape, **more))


for _prim, (_name, _cost) in (UNARY | BINARY).items():
    elementwise(_prim, partial(scalar_function, _name), _cost)
for _prim in IDENTITY:
    elementwise(_prim, identity, 0.0, is_identity=True)
for _prim, _name in ((p.eq_to_p, "eq"), (p.le_to_p, "le"), (p.lt_to_p, "lt")):
    elementwise(_prim, partial(total_order, _name), 6)
elementwise(p.convert_element_type_p, convert)
elementwise(p.select_n_p, select)
elementwise(p.clamp_p, clamp, 2)
elementwise(p.pow_p, power, 40)
elementwise(p.integer_pow_p, integer_pow, 2)
elementwise(p.round_p, round_)
# Primitives since JAX 0.11.
if hasattr(p, "one_minus_square_p"):
    elementwise(p.one_minus_square_p, one_minus_square, 3)
if hasattr(p, "log2_p"):
    elementwise(p.log2_p, log2, 18)
