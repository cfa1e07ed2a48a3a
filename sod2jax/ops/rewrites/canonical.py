"""One form per meaning, the one that lowering has its best code for.

* A convolution reads NHWC, HWIO and writes NHWC (any number of spatial axes), without padding, lhs dilation or batch groups:
  transposes, an explicit `pad` (holes are interior padding) and feature groups say the rest.
* `split` and `unstack` become slices: one output per eqn, and unread pieces die.
"""

from __future__ import annotations

import numpy as np
from jax import lax
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import const, exact_quotient, floordiv
from sod2jax.ops.rewrites.simplify import padded, padded_size, reshape_to, sliced, transposed


def conv_general_dilated(cx, eqn):
    (x, y), params, out = eqn.invars, eqn.params, eqn.outvars[0].aval
    d, spatial = params["dimension_numbers"], len(params["window_strides"])
    rank = spatial + 2
    inner = range(1, rank - 1)
    canonical = lax.ConvDimensionNumbers((0, rank - 1, *inner), (rank - 1, rank - 2, *range(spatial)), (0, rank - 1, *inner))
    padding = [tuple(map(expr_of, pair)) for pair in params["padding"]]
    holes = [expr_of(step) - 1 for step in params["lhs_dilation"]]
    pads = any(size.value != 0 for size in (*holes, *(size for pair in padding for size in pair)))
    groups = expr_of(params["batch_group_count"])
    if d == canonical and not pads and groups.value == 1:
        return None
    x = transposed(cx, x, (d.lhs_spec[0], *d.lhs_spec[2:], d.lhs_spec[1]))
    y = transposed(cx, y, (*d.rhs_spec[2:], d.rhs_spec[1], d.rhs_spec[0]))
    if groups.value != 1:
        x = batch_groups_to_features(cx, x, groups)
    if pads:
        config = [(0, 0, 0), *((low, high, hole) for (low, high), hole in zip(padding, holes, strict=True)), (0, 0, 0)]
        shape = [cx.dim(padded_size(size, *axis)) for size, axis in zip(x.aval.shape, config, strict=True)]
        x = padded(cx, x, cx.constant(np.zeros((), x.aval.dtype)), config, compat.ShapedArray(tuple(shape), x.aval.dtype))
    order = (d.out_spec[0], *d.out_spec[2:], d.out_spec[1])
    shape = [out.shape[axis] for axis in order]
    changed = {
        "dimension_numbers": canonical,
        "padding": ((0, 0),) * spatial,
        "lhs_dilation": (1,) * spatial,
        "feature_group_count": cx.dim(expr_of(params["feature_group_count"]) * groups),
        "batch_group_count": 1,
    }
    result = cx.emit(p.conv_general_dilated_p, [x, y], shape, out.dtype, **{**params, **changed})
    return transposed(cx, result, [order.index(axis) for axis in range(rank)])


def batch_groups_to_features(cx, x, groups):
    """[g*n, ..., c] -> [n, ..., g*c]: the groups of rows that batch_group_count pairs with groups of features."""
    rows, *middle, channels = x.aval.shape
    per_group = exact_quotient(expr_of(rows), groups)
    per_group = cx.dim(floordiv(expr_of(rows), groups) if per_group is None else per_group)
    x = reshape_to(cx, x, [cx.dim(groups), per_group, *middle, channels])
    axes = range(2, 2 + len(middle))
    x = transposed(cx, x, [1, *axes, 0, 2 + len(middle)])
    return reshape_to(cx, x, [per_group, *middle, cx.dim(expr_of(channels) * groups)])


def split(cx, eqn):
    (x,), axis = eqn.invars, eqn.params["axis"]
    pieces, begin = [], const(0)
    for size, v in zip(eqn.params["sizes"], eqn.outvars, strict=True):
        end = begin + expr_of(size)
        pieces.append(_along(cx, x, axis, begin, end, v.aval.shape))
        begin = end
    return pieces


def unstack(cx, eqn):
    (x,), axis = eqn.invars, eqn.params["axis"]
    pieces = []
    for k, v in enumerate(eqn.outvars):
        shape = [*v.aval.shape[:axis], 1, *v.aval.shape[axis:]]
        pieces.append(reshape_to(cx, _along(cx, x, axis, const(k), const(k + 1), shape), v.aval.shape))
    return pieces


def _along(cx, x, axis, begin, end, shape):
    """`x[begin:end]` along `axis`."""
    sizes = [expr_of(size) for size in x.aval.shape]
    starts = [begin if a == axis else const(0) for a in range(len(sizes))]
    limits = [end if a == axis else size for a, size in enumerate(sizes)]
    return sliced(cx, x, starts, limits, [1] * len(sizes), shape)


RULES = {
    p.conv_general_dilated_p: (conv_general_dilated,),
    compat.primitive("split"): (split,),
    compat.primitive("unstack"): (unstack,),
}
