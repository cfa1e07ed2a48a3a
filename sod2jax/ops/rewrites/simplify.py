"""Simpler eqns for the same values: movement that composes or cancels, arithmetic with neutral operands.

* Arithmetic only where IEEE makes it exact: x*1, x/1, x - 0, x + -0.0, x/2^k as a product, max(x, -inf). Not x + 0.0, for x may
  be -0.0.
* Movement that keeps the order of elements becomes one reshape: squeeze, expand_dims, transposition of axes of size 1. So chains
  of them compose, and a reshape to the shape it came from goes away.
* NaNs keep being NaNs; which NaN is not promised by XLA either.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jax.extend.core import primitives as p

from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import as_expr, maximum
from sod2jax.ops._base import OPS


def size_one(size) -> bool:
    return expr_of(size).value == 1


def splat(cx, atom):
    """The one value of all elements of `atom`, a NumPy scalar, or None."""
    while (eqn := cx.maker(atom, p.broadcast_in_dim_p, p.reshape_p)) is not None:
        atom = eqn.invars[0]
    if not isinstance(atom, Literal) or atom.aval.shape:
        return None
    return cx.known(atom)[()]


def spread(cx, atom, aval):
    """`atom` in the shape of `aval`, where it broadcasts to that as an elementwise operand; None for another dtype."""
    if atom.aval.dtype != aval.dtype:
        return None
    shape = atom.aval.shape
    return atom if cx.same_shape(shape, aval.shape) else broadcast_to(cx, atom, aval, range(len(shape)))


def broadcast_to(cx, x, aval, dimensions):
    """`x` in the shape of `aval`, its axes being `dimensions` there."""
    shape, dimensions = tuple(aval.shape), tuple(dimensions)
    return cx.emit(p.broadcast_in_dim_p, [x], shape, x.aval.dtype, shape=shape, broadcast_dimensions=dimensions, sharding=None)


def reshape_to(cx, x, shape):
    return cx.emit(p.reshape_p, [x], shape, x.aval.dtype, new_sizes=tuple(shape), dimensions=None, sharding=None)


# -- identities


def same(cx, eqn):
    return eqn.invars[0]


def convert(cx, eqn):
    """To the same dtype: nothing. After an exact widening: straight from the source."""
    (x,), out = eqn.invars, eqn.outvars[0].aval
    if x.aval.dtype == out.dtype:
        return x
    inner = cx.maker(x, p.convert_element_type_p)
    if inner is not None and holds(x.aval.dtype, inner.invars[0].aval.dtype):
        return cx.emit(p.convert_element_type_p, inner.invars, out.shape, out.dtype, **eqn.params)


def holds(wide, narrow) -> bool:
    """Whether every value of `narrow` is one of `wide`."""
    try:
        wide, narrow = np.dtype(wide), np.dtype(narrow)
    except TypeError:  # PRNG keys and their like
        return False
    if narrow.kind == "V" or wide.kind == "V":  # bfloat16 and smaller, unknown to NumPy's casting table
        return narrow.name == "bfloat16" and wide in (np.float32, np.float64)
    return np.can_cast(narrow, wide, "safe") and (narrow.kind == "b" or (narrow.kind == "f") == (wide.kind == "f"))


def twice(cx, eqn):
    """f(f(x)) = x."""
    inner = cx.maker(eqn.invars[0], eqn.primitive)
    return inner.invars[0] if inner is not None else None


def over_no_axes(cx, eqn):
    return eqn.invars[0] if not eqn.params["axes"] else None


# -- arithmetic


def neutral(*, left=None, right=None):
    """A rule that drops an operand with which the operation does nothing; both tests are on the operand's one value."""

    def rule(cx, eqn):
        x, y = eqn.invars
        for operand, other, is_neutral in ((y, x, right), (x, y, left)):
            if is_neutral is None or not _may_be_one_value(cx, operand):
                continue
            value = splat(cx, operand)
            # Complex products mix both parts: inf * (1 + 0j) has a NaN.
            if value is not None and value.dtype.kind != "c" and is_neutral(value):
                return spread(cx, other, eqn.outvars[0].aval)

    return rule


def _may_be_one_value(cx, atom) -> bool:
    return isinstance(atom, Literal) or cx.maker(atom, p.broadcast_in_dim_p) is not None


def is_one(v):
    return v == 1


def is_positive_zero(v):
    return v == 0 and (v.dtype.kind in "iu" or not np.signbit(v))


def is_negative_zero(v):
    return v == 0 and (v.dtype.kind in "iu" or bool(np.signbit(v)))


def is_floating(v):
    return v.dtype.kind == "f" or v.dtype.name == "bfloat16"


def is_least(v):
    return v == -np.inf if is_floating(v) else v.dtype.kind in "iu" and v == np.iinfo(v.dtype).min


def is_greatest(v):
    return v == np.inf if is_floating(v) else v.dtype.kind in "iu" and v == np.iinfo(v.dtype).max


def is_all_ones(v):
    return bool(v) if v.dtype.kind == "b" else v.dtype.kind in "iu" and ~v == 0


def is_all_zeros(v):
    return v.dtype.kind in "biu" and not v


def divide_by_power_of_two(cx, eqn):
    x, y = eqn.invars
    if not isinstance(y, Literal):
        return None
    value = cx.known(y)[()]
    if not is_floating(value) or not np.isfinite(value) or abs(math.frexp(float(value))[0]) != 0.5:
        return None
    reciprocal = np.asarray(1 / float(value), value.dtype)
    # A denormal would be flushed to zero, on its own and as an operand.
    if not np.isfinite(reciprocal) or abs(float(reciprocal)) < jnp.finfo(value.dtype).tiny:
        return None
    aval = eqn.outvars[0].aval
    return cx.emit(p.mul_p, [x, cx.constant(reciprocal, y.aval)], aval.shape, aval.dtype, out_dtype=None)


def power(cx, eqn):
    return eqn.invars[0] if eqn.params["y"] == 1 else None


def select(cx, eqn):
    """A known choice; the same thing in all cases."""
    which, *cases = eqn.invars
    if all(c is cases[0] for c in cases[1:]):
        return cases[0]
    value = splat(cx, which)
    return None if value is None else cases[min(max(int(value), 0), len(cases) - 1)]


# -- movement


def reshape(cx, eqn):
    (x,), out = eqn.invars, eqn.outvars[0].aval
    if eqn.params["dimensions"] is not None:
        return None
    if cx.same_shape(x.aval.shape, out.shape):
        return x
    inner = cx.maker(x, p.reshape_p)
    if inner is not None and inner.params["dimensions"] is None:
        return reshape_to(cx, inner.invars[0], out.shape)


def squeeze(cx, eqn):
    return reshape_to(cx, eqn.invars[0], eqn.outvars[0].aval.shape)


def transpose(cx, eqn):
    (x,), permutation = eqn.invars, eqn.params["permutation"]
    moved = [axis for axis in permutation if not size_one(x.aval.shape[axis])]
    if list(permutation) == sorted(permutation):
        return x
    if moved == sorted(moved):
        return reshape_to(cx, x, eqn.outvars[0].aval.shape)
    inner = cx.maker(x, p.transpose_p)
    if inner is not None:
        composed = tuple(inner.params["permutation"][axis] for axis in permutation)
        return transposed(cx, inner.invars[0], composed)


def transposed(cx, x, permutation):
    shape = [x.aval.shape[axis] for axis in permutation]
    return cx.emit(p.transpose_p, [x], shape, x.aval.dtype, permutation=tuple(permutation))


def broadcast_in_dim(cx, eqn):
    """Only new axes of size 1: a reshape. After another one: one."""
    (x, *sizes), out, dimensions = eqn.invars, eqn.outvars[0].aval, eqn.params["broadcast_dimensions"]
    if sizes:
        return None
    new = [size for axis, size in enumerate(out.shape) if axis not in dimensions]
    keeps = cx.same_shape(x.aval.shape, [out.shape[axis] for axis in dimensions])
    if keeps and not new:
        return x
    if keeps and all(map(size_one, new)) and not isinstance(x, Literal):
        return reshape_to(cx, x, out.shape)
    inner = cx.maker(x, p.broadcast_in_dim_p)
    if inner is not None and len(inner.invars) == 1:
        composed = tuple(dimensions[axis] for axis in inner.params["broadcast_dimensions"])
        return broadcast_to(cx, inner.invars[0], out, composed)


def rev(cx, eqn):
    (x,), dimensions = eqn.invars, eqn.params["dimensions"]
    real = tuple(axis for axis in dimensions if not size_one(x.aval.shape[axis]))
    if not real:
        return x
    inner = cx.maker(x, p.rev_p)
    if inner is not None:
        axes = tuple(sorted(set(real) ^ set(inner.params["dimensions"])))
        source = inner.invars[0]
        return cx.emit(p.rev_p, [source], x.aval.shape, x.aval.dtype, dimensions=axes) if axes else source
    if len(real) < len(dimensions):
        return cx.emit(p.rev_p, [x], x.aval.shape, x.aval.dtype, dimensions=real)


def slice_(cx, eqn):
    """All of it: nothing. Of a slice: one slice."""
    (x,), out, params = eqn.invars, eqn.outvars[0].aval, eqn.params
    rank = len(out.shape)
    if cx.same_shape(x.aval.shape, out.shape) and all(expr_of(start).value == 0 for start in params["start_indices"]):
        return x
    whole = cx.maker(x, p.concatenate_p)
    if whole is not None:
        return slice_of_piece(cx, eqn, whole)
    inner = cx.maker(x, p.slice_p)
    if inner is None:
        return None
    steps = [int(a) * int(b) for a, b in zip(_steps(inner, rank), _steps(eqn, rank), strict=True)]
    starts = [
        expr_of(a) + expr_of(step) * expr_of(b)
        for a, step, b in zip(inner.params["start_indices"], _steps(inner, rank), params["start_indices"], strict=True)
    ]
    limits = [
        expr_of(a) + expr_of(step) * (expr_of(b) - 1) + 1 if int(step) != 1 else expr_of(a) + expr_of(b)
        for a, step, b in zip(inner.params["start_indices"], _steps(inner, rank), params["limit_indices"], strict=True)
    ]
    # An empty slice of a strided one has no last element.
    if not all(cx.box.known_le(start, limit) for start, limit in zip(starts, limits, strict=True)):
        return None
    return sliced(cx, inner.invars[0], starts, limits, steps, out.shape)


def slice_of_piece(cx, eqn, whole):
    """A slice of a concatenation that lies in one operand, of that operand."""
    axis, params, begin = whole.params["dimension"], eqn.params, expr_of(0)
    start, limit = expr_of(params["start_indices"][axis]), expr_of(params["limit_indices"][axis])
    for x in whole.invars:
        end = begin + expr_of(x.aval.shape[axis])
        if cx.box.known_le(begin, start) and cx.box.known_le(limit, end):
            starts, limits = list(params["start_indices"]), list(params["limit_indices"])
            starts[axis], limits[axis] = start - begin, limit - begin
            shape = eqn.outvars[0].aval.shape
            return sliced(cx, x, starts, limits, _steps(eqn, len(starts)), shape)
        begin = end
    return None


def _steps(eqn, rank):
    return eqn.params["strides"] or (1,) * rank


def sliced(cx, x, starts, limits, steps, shape):
    """`x[starts:limits:steps]`, of shape `shape`."""
    return cx.emit(
        p.slice_p, [x], shape, x.aval.dtype, start_indices=tuple(map(cx.dim, starts)), limit_indices=tuple(map(cx.dim, limits)),
        strides=None if all(step == 1 for step in steps) else tuple(steps),
    )  # fmt: skip


def pad(cx, eqn):
    """By nothing: nothing. Of a pad with the same value: one pad, where neither has holes or crops."""
    (x, value), out, config = eqn.invars, eqn.outvars[0].aval, eqn.params["padding_config"]
    exprs = [tuple(map(expr_of, axis)) for axis in config]
    if all(size.value == 0 for axis in exprs for size in axis):
        return x
    inner = cx.maker(x, p.pad_p)
    if inner is None or not _same_value(cx, value, inner.invars[1]):
        return None
    below = [tuple(map(expr_of, axis)) for axis in inner.params["padding_config"]]
    if not all(hole.value == 0 and cx.box.known_le(0, low) and cx.box.known_le(0, high) for low, high, hole in exprs + below):
        return None
    both = [tuple(map(sum, zip(a, b, strict=True))) for a, b in zip(exprs, below, strict=True)]
    return padded(cx, inner.invars[0], value, both, out)


def padded(cx, x, value, config, out):
    """`x` padded with `value` as `config` says, of the aval `out`."""
    config = tuple(tuple(map(cx.dim, axis)) for axis in config)
    return cx.emit(p.pad_p, [x, value], out.shape, out.dtype, padding_config=config)


def padded_size(size, low, high, interior):
    """The size that `pad` makes of `size`."""
    size, low, high, interior = map(expr_of, (size, low, high, interior))
    holes = maximum(size - 1, as_expr(0)) * interior if interior.value != 0 else 0
    return size + holes + low + high


def _same_value(cx, a, b) -> bool:
    if a is b:
        return True
    x, y = splat(cx, a), splat(cx, b)
    return x is not None and y is not None and x.dtype == y.dtype and x.tobytes() == y.tobytes()


def concatenate(cx, eqn):
    """Nested ones join; empty operands go."""
    axis, out = eqn.params["dimension"], eqn.outvars[0].aval
    operands = []
    for x in eqn.invars:
        inner = cx.maker(x, p.concatenate_p)
        operands += inner.invars if inner is not None and inner.params["dimension"] == axis else [x]
    operands = [x for x in operands if expr_of(x.aval.shape[axis]).value != 0] or operands[:1]
    if len(operands) == 1:
        return operands[0]
    if operands != list(eqn.invars):
        return cx.emit(p.concatenate_p, operands, out.shape, out.dtype, dimension=axis)


RULES = {
    p.convert_element_type_p: (convert,),
    p.neg_p: (twice,),
    p.not_p: (twice,),
    p.mul_p: (neutral(left=is_one, right=is_one),),
    p.div_p: (neutral(right=is_one), divide_by_power_of_two),
    p.add_p: (neutral(left=is_negative_zero, right=is_negative_zero),),
    p.sub_p: (neutral(right=is_positive_zero),),
    p.max_p: (neutral(left=is_least, right=is_least),),
    p.min_p: (neutral(left=is_greatest, right=is_greatest),),
    p.and_p: (neutral(left=is_all_ones, right=is_all_ones),),
    p.or_p: (neutral(left=is_all_zeros, right=is_all_zeros),),
    p.xor_p: (neutral(left=is_all_zeros, right=is_all_zeros),),
    p.integer_pow_p: (power,),
    p.select_n_p: (select,),
    p.reshape_p: (reshape,),
    p.squeeze_p: (squeeze,),
    p.transpose_p: (transpose,),
    p.broadcast_in_dim_p: (broadcast_in_dim,),
    p.rev_p: (rev,),
    p.slice_p: (slice_,),
    p.pad_p: (pad,),
    p.concatenate_p: (concatenate,),
}
for _prim in (p.reduce_sum_p, p.reduce_max_p, p.reduce_min_p, p.reduce_prod_p, p.reduce_and_p, p.reduce_or_p):
    RULES[_prim] = (over_no_axes,)
for _prim, _record in OPS.items():
    if _record.is_identity:
        RULES[_prim] = (same,)
