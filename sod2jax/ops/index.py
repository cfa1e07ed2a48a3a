"""Primitives that read or write at places given by values: gather and the dynamic slices.

Indices are clamped or masked before anything is read, also where JAX promises that they are in bounds: a broken promise gives
some value, never a read outside of a buffer.
"""

from __future__ import annotations

import numpy as np
from jax import lax
from jax.extend.core import primitives as p

from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import const
from sod2jax.ops import values
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop

ZERO = const(0)
BOOL, INT, UINT = np.dtype(bool), np.dtype(np.int64), np.dtype(np.uint64)


def integer(b, value, dtype):
    """An index value of any integer dtype as an int64; what is larger than all of these is the largest."""
    if dtype == UINT:
        value = b.op("min", value, b.const(np.iinfo(INT).max, UINT), dtype=UINT)
    return b.convert(value, INT)


def clamped(b, value, dtype, last):
    """An index value as an Expr within 0..last; 0 if there is nothing."""
    value = b.op("min", integer(b, value, dtype), b.position(last, INT), dtype=INT)
    return b.index(b.op("max", value, b.const(0, INT), dtype=INT))


def within(b, value, last):
    """Whether an int64 lies in 0..last."""
    low = b.op("ge", value, b.const(0, INT), dtype=BOOL)
    return b.op("and", low, b.op("le", value, b.position(last, INT), dtype=BOOL), dtype=BOOL)


def conjunction(b, conds, cond):
    """`conds` (None: nothing demanded yet) and `cond`."""
    return cond if conds is None else b.op("and", conds, cond, dtype=BOOL)


def fill(fill_value, dtype):
    """What FILL_OR_DROP reads out of bounds (jax.numpy.take's documentation)."""
    if fill_value is not None:
        return fill_value
    if dtype.kind == "b":
        return True
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min if dtype.kind == "i" else info.max)
    return float("nan")


def gather(b, out, index, x, indices, *, dimension_numbers, slice_sizes, mode, fill_value, **_):
    """out[batch, offset] = x[start(batch) + offset] (StableHLO's gather; operand dims mapped by `dimension_numbers`)."""
    d = dimension_numbers
    batch = [i for axis, i in enumerate(index) if axis not in d.offset_dims]
    offsets = iter([index[axis] for axis in d.offset_dims])
    fills = lax.GatherScatterMode.from_any(mode) == lax.GatherScatterMode.FILL_OR_DROP
    inside, source = None, []
    for axis, size in enumerate(x.shape):
        extent = expr_of(slice_sizes[axis])
        last = b.simplify(size - extent)
        if axis in d.start_index_map:
            start = indices[[*batch, const(d.start_index_map.index(axis))]]
            if fills:
                inside = conjunction(b, inside, within(b, integer(b, start, indices.dtype), last))
            at = clamped(b, start, indices.dtype, last)
        else:
            at = ZERO
        if axis in d.operand_batching_dims:
            at = at + batch[d.start_indices_batching_dims[d.operand_batching_dims.index(axis)]]
        elif axis not in d.collapsed_slice_dims:
            at = at + next(offsets)
        source.append(at)
    if inside is None:
        return x[source]
    return b.where(inside, lambda: x[source], b.const(fill(fill_value, out.dtype), out.dtype))


def dynamic_slice(b, out, index, x, *starts, slice_sizes, **_):
    source = [
        clamped(b, start[()], start.dtype, b.simplify(size - extent)) + i
        for start, i, size, extent in zip(starts, index, x.shape, out.shape, strict=True)
    ]
    return x[source]


def dynamic_update_slice(b, outs, x, update, *starts, **_):
    """Writes the window only."""
    (out,) = outs
    with b.elements(update.shape) as index:
        place = list(index)
        for axis, (start, size, extent) in enumerate(zip(starts, x.shape, update.shape, strict=True)):
            if not b.known_eq(size, extent):
                place[axis] += clamped(b, start[()], start.dtype, b.simplify(size - extent))
        out.store(place, update[index])


defop(OpDef(p.gather_p, Dyn.ISDOS, Mapping.ONE_TO_MANY, pull=gather, cost=4, values=values.SHAPE.get("gather")))
defop(
    OpDef(p.dynamic_slice_p, Dyn.ISDOS, Mapping.ONE_TO_ONE, pull=dynamic_slice, cost=1, values=values.SHAPE.get("dynamic_slice"))
)
defop(
    OpDef(
        p.dynamic_update_slice_p, Dyn.ISDOS, Mapping.ONE_TO_ONE, nest=dynamic_update_slice, overwrites={0: 0},
        values=values.SHAPE["dynamic_update_slice"], solve=values.SOLVE["dynamic_update_slice"],
    )
)  # fmt: skip
