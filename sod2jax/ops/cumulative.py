"""Running sums and their like along one axis: each element combines the one before it with the operand.

A running value lies in the output: rows of it in vectors where the axis is not the last one. Floats of half precision run in f32.
"""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives as p

from sod2jax.ir.expr import const, maximum
from sod2jax.ops import scalar, values
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop
from sod2jax.ops.computation import rows

BOOL, INT = np.dtype(bool), np.dtype(np.int64)

# primitive: (function of the value before and the operand, whether it rounds, cost)
COMBINE = {
    p.cumsum_p: (lax.add, True, 1), p.cumprod_p: (lax.mul, True, 1), p.cumlogsumexp_p: (jnp.logaddexp, True, 40),
    p.cummax_p: (lax.max, False, 1), p.cummin_p: (lax.min, False, 1),
}  # fmt: skip


@cache
def computation(combine, dtype, x64: bool):
    with jax.enable_x64(x64 or dtype.itemsize >= 8):
        scalar = jax.ShapeDtypeStruct((), dtype)
        return jax.make_jaxpr(combine)(scalar, scalar)


def running(combine, b, outs, x, *, axis, reverse, **_):
    (out,), n = outs, x.shape[axis]
    closed = computation(combine, out.dtype, jax.config.jax_enable_x64)
    last = len(x.shape) - 1
    others = [size for a, size in enumerate(x.shape) if a != axis]
    with rows(b, others if axis != last else [*others, const(1)]) as columns:

        def index(rest, k):
            rest = rest[:last]
            return (*rest[:axis], n - 1 - k if reverse else k, *rest[axis:])

        with b.when(b.op("gt", b.position(n, INT), b.const(0, INT), dtype=BOOL)), columns() as rest:
            first = x[index(rest, const(0))]
            if combine is lax.mul and out.dtype.kind == "c":  # XLA begins with 1, and 1 * inf has a part that is NaN
                (first,) = scalar.apply(b, closed.jaxpr, closed.consts, b.const(1, out.dtype), first)
            out.store(index(rest, const(0)), first)
        with b.loop(maximum(n - 1, const(0))) as k, columns() as rest:
            here = index(rest, k + 1)
            out.store(here, *scalar.apply(b, closed.jaxpr, closed.consts, out.load(index(rest, k)), x[here]))


def in_full_precision(prim, x, **params):
    if not jnp.issubdtype(x.dtype, jnp.floating) or x.dtype.itemsize >= 4:
        return NotImplemented
    return lax.convert_element_type(prim.bind(lax.convert_element_type(x, np.float32), **params), x.dtype)


for _prim, (_combine, _rounds, _cost) in COMBINE.items():
    defop(
        OpDef(
            _prim, Dyn.ISDOS, Mapping.MANY_TO_MANY, nest=partial(running, _combine), cost=_cost, solve=values.same_shape,
            decompose=partial(in_full_precision, _prim) if _rounds else None, values=values.SHAPE.get(str(_prim)),
        )
    )  # fmt: skip
