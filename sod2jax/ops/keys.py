"""Typed keys as arrays of uint32: how each primitive that moves keys moves their words.

A key's words are further axes at the end. A row of `RULES` is `rule(words, *operands, **params)`, JAX code over the words for
what the eqn does to the keys; `words` is the shape of one key's. Primitives of `AS_THEY_ARE` need no change: their params speak
of other axes, or hold bodies that are rewritten on their own.
"""

from __future__ import annotations

from jax import lax
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ops.elementwise import elementwise, identity


def broadcast_in_dim(words, x, *, shape, broadcast_dimensions, **rest):
    trailing = range(len(shape), len(shape) + len(words))
    dimensions = (*broadcast_dimensions, *trailing)
    return p.broadcast_in_dim_p.bind(x, shape=(*shape, *words), broadcast_dimensions=dimensions, **rest)


def reshape(words, x, *, new_sizes, dimensions, **rest):
    dimensions = dimensions and (*dimensions, *range(len(dimensions), x.ndim))
    return p.reshape_p.bind(x, new_sizes=(*new_sizes, *words), dimensions=dimensions, **rest)


def transpose(words, x, *, permutation):
    return p.transpose_p.bind(x, permutation=(*permutation, *range(len(permutation), x.ndim)))


def tile(words, x, *, reps):
    return TILE.bind(x, reps=(*reps, *(1 for _ in words)))


def slice_(words, x, *, start_indices, limit_indices, strides):
    start, strides = (*start_indices, *(0 for _ in words)), strides and (*strides, *(1 for _ in words))
    return p.slice_p.bind(x, start_indices=start, limit_indices=(*limit_indices, *words), strides=strides)


def dynamic_slice(words, x, *starts, slice_sizes):
    return p.dynamic_slice_p.bind(x, *starts, *_zeros(words, starts), slice_sizes=(*slice_sizes, *words))


def dynamic_update_slice(words, x, update, *starts):
    return p.dynamic_update_slice_p.bind(x, update, *starts, *_zeros(words, starts))


def _zeros(words, starts):
    return [starts[0].dtype.type(0) for _ in words]


def gather(words, x, indices, *, dimension_numbers, slice_sizes, **rest):
    rank = indices.ndim - 1 + len(dimension_numbers.offset_dims)
    trailing = range(rank, rank + len(words))
    numbers = dimension_numbers._replace(offset_dims=(*dimension_numbers.offset_dims, *trailing))
    return p.gather_p.bind(x, indices, dimension_numbers=numbers, slice_sizes=(*slice_sizes, *words), **rest)


def scatter(words, x, indices, updates, *, dimension_numbers, **rest):
    trailing = range(updates.ndim - len(words), updates.ndim)
    numbers = dimension_numbers._replace(update_window_dims=(*dimension_numbers.update_window_dims, *trailing))
    return p.scatter_p.bind(x, indices, updates, dimension_numbers=numbers, **rest)


def select_n(words, which, *cases):
    shape, dimensions = cases[0].shape, tuple(range(which.ndim))
    which = p.broadcast_in_dim_p.bind(which, shape=shape, broadcast_dimensions=dimensions, sharding=None)
    return p.select_n_p.bind(which, *cases)


def equal(words, x, y, **_):
    """Keys are equal where all their words are."""
    same = lax.eq(x, y)
    return lax.reduce_and(same, range(same.ndim - len(words), same.ndim))


def unequal(words, x, y, **_):
    return lax.bitwise_not(equal(words, x, y))


def data(words, x, **_):
    return x


TILE = compat.primitive("tile")
SAME_WORDS = tuple(map(compat.random_primitive, ("random_wrap", "random_unwrap", "random_clone")))
RULES = {
    p.broadcast_in_dim_p: broadcast_in_dim, p.reshape_p: reshape, p.transpose_p: transpose, TILE: tile, p.slice_p: slice_,
    p.dynamic_slice_p: dynamic_slice, p.dynamic_update_slice_p: dynamic_update_slice, p.gather_p: gather, p.scatter_p: scatter,
    p.select_n_p: select_n, p.eq_p: equal, p.ne_p: unequal,
    **dict.fromkeys(SAME_WORDS, data),
}  # fmt: skip
AS_THEY_ARE = (
    p.concatenate_p, compat.primitive("stack"), compat.primitive("split"), p.rev_p, p.squeeze_p, p.copy_p, p.name_p,
    p.stop_gradient_p, compat.primitive("optimization_barrier"), p.while_p, p.scan_p, p.cond_p,
)  # fmt: skip

for _prim in SAME_WORDS:
    elementwise(_prim, identity, 0.0, is_identity=True)
