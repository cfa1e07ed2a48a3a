"""Sorting: the order of a row by unsigned keys is a kernel of the runtime; everything is then read through that order.

* Keys have the order of the operands as unsigned integers. They are elementwise, and fuse with what makes the operands.
* `sort` takes zeros of both signs for equal and all NaNs for one value, the largest: JAX's comparator. `top_k` distinguishes all
  of them, as XLA's total order does: -NaN < -inf < ... < -0 < 0 < ... < inf < NaN.
* Equal keys stay in the order of their positions, whether that is asked for or not.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.extend.core import primitives as p

from sod2jax.compat import ShapedArray
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import const, minimum
from sod2jax.ops._base import Dyn, ExternCall, Mapping, OpDef, defop
from sod2jax.ops.index import clamped

INT32 = np.dtype(np.int32)
BLOCK, BLOCK_LENGTH = 16, 4096  # rows that are sorted together, and how long such ones are at most (`runtime/src/sort.cpp`)
COMPARISONS = 16  # scalar operations per element of a row, roughly
order_p = Primitive("sort_order")  # keys (the first one counts most) -> positions of the first `wanted` along `axis`
take_p = Primitive("take_in_order")  # x, positions -> x at them along `axis`


# -- keys


def key(x):
    """Unsigned integers in the total order of real `x`."""
    if x.dtype == np.bool_:
        return lax.convert_element_type(x, np.uint8)
    if jnp.issubdtype(x.dtype, jnp.integer):
        if not _whole_bytes(x.dtype):
            x = lax.convert_element_type(x, np.int8 if jnp.issubdtype(x.dtype, jnp.signedinteger) else np.uint8)
        if jnp.issubdtype(x.dtype, jnp.unsignedinteger):
            return x
        bits, sign = _bits(x)
        return bits ^ sign
    if x.dtype.itemsize == 1:
        x = lax.convert_element_type(x, np.float32)
    bits, sign = _bits(x)
    return lax.select(bits >= sign, ~bits, bits | sign)


def keys(x) -> list:
    """Keys in the order of `lax.sort`; complex numbers have two."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return [*keys(lax.real(x)), *keys(lax.imag(x))]
    if jnp.issubdtype(x.dtype, jnp.floating):
        x = lax.select(x == 0, lax.full_like(x, 0), x)
        x = lax.select(x != x, lax.full_like(x, np.nan), x)
    return [key(x)]


def _bits(x):
    dtype = np.dtype(f"u{x.dtype.itemsize}")
    return lax.bitcast_convert_type(x, dtype), dtype.type(1 << (8 * x.dtype.itemsize - 1))


def _whole_bytes(dtype) -> bool:
    return jnp.iinfo(dtype).bits % 8 == 0


# -- what JAX has, by the order and reads through it


def sort(*operands, dimension, num_keys, **_):
    by = [key for x in operands[:num_keys] for key in keys(x)]
    order = order_p.bind(*by, axis=dimension, wanted=operands[0].shape[dimension])
    return [take_p.bind(x, order, axis=dimension) for x in operands]


def top_k(x, *, k, axis):
    order = order_p.bind(~key(x), axis=axis, wanted=k)
    return [take_p.bind(x, order, axis=axis), order]


def approx_top_k(x, *, reduction_dimension, is_max_k, **params):
    """All is sorted, as XLA does where it knows nothing better; NaN comes last."""
    like = jax.eval_shape(
        lambda x: p.approx_top_k_p.bind(x, reduction_dimension=reduction_dimension, is_max_k=is_max_k, **params), x
    )
    axis = reduction_dimension % x.ndim
    order = order_p.bind(*keys(-x if is_max_k else x), axis=axis, wanted=like[0].shape[axis])
    return [take_p.bind(x, order, axis=axis), order]


# -- the order


@order_p.def_abstract_eval
def _(first, *_, axis, wanted):
    return ShapedArray((*first.shape[:axis], wanted, *first.shape[axis + 1 :]), INT32)


@order_p.def_impl
def _(first, *more, axis, wanted):
    keys = [jnp.asarray(k) for k in (first, *more)]
    positions = lax.broadcasted_iota(INT32, keys[0].shape, axis)
    *_, order = lax.sort((*keys, positions), dimension=axis, num_keys=len(keys))
    return lax.slice_in_dim(order, 0, wanted, axis=axis)


@take_p.def_abstract_eval
def _(x, order, *, axis):
    return ShapedArray(order.shape, x.dtype)


@take_p.def_impl
def _(x, order, *, axis):
    return jnp.take_along_axis(x, order, axis)


def sort_order(outs, ins, *, axis, wanted):
    """See `runtime/src/sort.cpp`: words, pairs, or gathered keys with their positions, and room to move them."""
    shape, widths = ins[0].shape, [x.dtype.itemsize for x in ins]
    n, stride, rows = shape[axis], const(1), const(1)
    for a, size in enumerate(shape):
        stride = stride * size if a > axis else stride
        rows = rows * size if a != axis else rows
    together = sum(widths)
    if together <= 8:
        elements = 2 * n if stride.value == 1 else 2 * n + (BLOCK - 1) * minimum(n, const(BLOCK_LENGTH))
        scratch = elements * (8 if together <= 4 else 16)
    else:
        scratch = n * (8 * (len(widths) + 1))
    sizes = (n, stride, expr_of(wanted), const(len(widths)), *map(const, widths))
    return ExternCall("sort_order", sizes, rows, rows * n * (COMPARISONS * len(widths)), scratch)


def same_rows(outs, ins, *, axis, **_):
    """All have one shape but for the length of rows."""
    for x in ins:
        yield from (pair for a, pair in enumerate(zip(outs[0], x, strict=True)) if a != axis)


def take_in_order(b, out, index, x, order, *, axis):
    at = clamped(b, order[index], order.dtype, x.shape[axis] - 1)
    return x[(*index[:axis], at, *index[axis + 1 :])]


for _prim, _rule in ((p.sort_p, sort), (p.top_k_p, top_k), (p.approx_top_k_p, approx_top_k)):
    defop(OpDef(_prim, Dyn.ISDOS, Mapping.MANY_TO_MANY, decompose=_rule))
defop(OpDef(order_p, Dyn.ISDOS, Mapping.MANY_TO_MANY, extern=sort_order, solve=same_rows))
defop(OpDef(take_p, Dyn.ISDOS, Mapping.ONE_TO_MANY, pull=take_in_order, cost=2, solve=same_rows))
