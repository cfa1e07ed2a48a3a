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
BOOL, INT = np.dtype(bool), np.dtype(np.int64)


def clamped(b, value, last):
    """An index value as an Expr within 0..last."""
    value = b.op("max", b.convert(value, INT), b.const(0, INT), dtype=INT)
    return b.index(b.op("min", value, b.position(last, INT), dtype=INT))


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
                wide = b.convert(start, INT)
                ok = b.op(
                    "and",
                    b.op("ge", wide, b.const(0, INT), dtype=BOOL),
                    b.op("le", wide, b.position(last, INT), dtype=BOOL),
                    dtype=BOOL,
                )
                inside = ok if inside is None else b.op("and", inside, ok, dtype=BOOL)
            at = clamped(b, start, last)
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
        clamped(b, start[()], b.simplify(size - extent)) + i
        for start, i, size, extent in zip(starts, index, x.shape, out.shape, strict=True)
    ]
    return x[source]


def dynamic_update_slice(b, out, index, x, update, *starts, **_):
    """The update where the index lies in its window, else x."""
    inside, source = None, []
    for start, i, size, extent in zip(starts, index, x.shape, update.shape, strict=True):
        if b.known_eq(size, extent):
            source.append(i)
            continue
        at = i - clamped(b, start[()], b.simplify(size - extent))
        source.append(at)
        here = b.op(
            "and",
            b.op("ge", b.position(at, INT), b.const(0, INT), dtype=BOOL),
            b.op("lt", b.position(at, INT), b.position(extent, INT), dtype=BOOL),
            dtype=BOOL,
        )
        inside = here if inside is None else b.op("and", inside, here, dtype=BOOL)
    if inside is None:
        return update[source]
    return b.op("select", inside, b.where(inside, lambda: update[source], b.const(0, out.dtype)), x[index], dtype=out.dtype)


defop(OpDef(p.gather_p, Dyn.ISDOS, Mapping.ONE_TO_MANY, pull=gather, cost=4, values=values.SHAPE.get("gather")))
defop(
    OpDef(p.dynamic_slice_p, Dyn.ISDOS, Mapping.ONE_TO_ONE, pull=dynamic_slice, cost=1, values=values.SHAPE.get("dynamic_slice"))
)
defop(
    OpDef(
        p.dynamic_update_slice_p, Dyn.ISDOS, Mapping.ONE_TO_ONE, pull=dynamic_update_slice, cost=2,
        values=values.SHAPE["dynamic_update_slice"], solve=values.SOLVE["dynamic_update_slice"],
    )
)  # fmt: skip
