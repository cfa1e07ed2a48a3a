"""Functions of JAX for symbolic sizes, where JAX's own take only numbers: each is called in its place when a size is one.

* JAX hands a size through `operator.index`, `int` and `len` in many places, although what follows works for any size: there it is
  let through (`compat.let_sizes_through`).
* Where a number decides how a computation is written, it is written here in another way, with JAX's result: an `associative_scan`
  goes from element to element (JAX's recursion combines in the order of a tree), a binary search runs as many steps as the size
  has bits, a shuffle has as many rounds as the range of sizes asks for.
"""

from __future__ import annotations

import functools
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sod2jax import compat
from sod2jax.errors import ShapeError
from sod2jax.ir import call_sites
from sod2jax.ir.dims import Dim, UndecidedDimension
from sod2jax.ir.fixed import SizeNeeded
from sod2jax.ir.ratio import SizeFloat, SizeFloat64


def arange(start, stop, step, dtype):
    """`jnp.arange` of floats and sizes: as many elements as Python's float arithmetic says."""
    like = {Dim: 0, SizeFloat: 0.0, SizeFloat64: np.float64(0)}
    kinds = [like.get(type(x), x) for x in (start, stop, step) if x is not None]
    dtype = jnp.result_type(*kinds) if dtype is None else dtype
    if stop is None:
        start, stop = 0, start
    count = math.ceil(stop - start if step is None else (stop - start) / step)
    size = count.max(0) if isinstance(count, Dim) else max(count, 0)
    narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    work = np.dtype(np.float32) if narrow and step is not None else dtype
    result = lax.iota(work, size)
    if step is not None:
        result = lax.mul(jnp.asarray(step, work), result)
    if step is not None or not (isinstance(start, (int, float)) and start == 0):
        result = lax.add(jnp.asarray(start, work), result)
    return lax.convert_element_type(result, dtype)


def search(table, query, *, side: str, dtype):
    """Where each element of `query` belongs in a sorted 1-D `table`: JAX's binary search, as many steps as the size has bits."""
    (n,) = table.shape
    if n == 0:
        return lax.full(query.shape, 0, dtype)
    table, query = lax.stop_gradient(table), lax.stop_gradient(query)
    goes_left = compat.sort_order("le" if side == "left" else "lt")

    def step(_, state):
        low, high = state
        middle = low + (high - low) // 2
        left = goes_left(query, jnp.take(table, middle, mode="clip"))
        return lax.select(left, low, middle), lax.select(left, middle, high)

    size = jnp.asarray(n, np.int32)
    bits = 32 - lax.clz(size)
    return lax.fori_loop(0, bits, step, (jnp.zeros(query.shape, np.int32), jnp.full(query.shape, size)))[1].astype(dtype)


def shuffle(key, x, axis: int):
    """JAX's shuffle: sorts by random bits, again and again; the more elements, the more rounds."""
    size = x.size.max(1)
    for _ in range(math.ceil(3 * np.log(size) / np.log(np.iinfo(np.uint32).max))):
        key, subkey = compat.split_key(key)
        _, x = lax.sort_key_val(compat.random_bits(subkey, x.shape), x, axis)
    return x


def associative_scan(fn, elems, reverse: bool, axis: int):
    """`lax.associative_scan`, one element after the other. `fn` sees arrays whose `axis` has size 1."""
    leaves, tree = jax.tree.flatten(elems)
    axis = axis if axis >= 0 else axis + leaves[0].ndim
    n = leaves[0].shape[axis]
    if not all(x.shape[axis] == n for x in leaves[1:]):
        raise ValueError(
            f"Array inputs to associative_scan must have the same first dimension. (saw: {[x.shape for x in leaves]})"
        )
    if n == 0:
        return elems
    first = [lax.slice_in_dim(x, n - 1 if reverse else 0, n if reverse else 1, axis=axis) for x in leaves]
    rest = [lax.slice_in_dim(x, 0 if reverse else 1, n - 1 if reverse else n, axis=axis) for x in leaves]

    def step(before, row):
        row = [lax.expand_dims(r, (axis,)) for r in row]
        new = jax.tree.leaves(fn(jax.tree.unflatten(tree, before), jax.tree.unflatten(tree, row)))
        return new, [lax.squeeze(x, (axis,)) for x in new]

    _, rows = lax.scan(step, first, [jnp.moveaxis(x, axis, 0) for x in rest], reverse=reverse)
    rows = [jnp.moveaxis(x, 0, axis) for x in rows]
    parts = ([r, f] if reverse else [f, r] for f, r in zip(first, rows, strict=True))
    return jax.tree.unflatten(tree, [lax.concatenate(pair, axis) for pair in parts])


def contract_path(default, *operands, **kwargs):
    """JAX's plan of an einsum, which puts numbers in the place of sizes, and so takes any two for different ones."""
    try:
        return default(*operands, **kwargs)
    except ValueError as error:
        size = next(d for x in operands if not isinstance(x, str) for d in np.shape(x) if isinstance(d, Dim))
        size.scope.refused.append(SizeNeeded(size.expr, "a size beside another", size.scope.place()))
        raise size.scope.refused[-1] from error


def divide_shapes(default, whole, parts):
    """What -1 stands for in a reshape. ShapeError, a TypeError like JAX's for numbers, where the sizes at hand leave a rest."""
    try:
        return default(whole, parts)
    except jax.errors.InconclusiveDimensionOperation as error:
        if isinstance(error, UndecidedDimension):
            raise
        now = ", ".join(f"{d} = {d.scope.hint(d.expr)}" for d in {*whole, *parts} if isinstance(d, Dim))
        raise ShapeError(f"cannot reshape an array of shape {whole} into {parts} where {now}: its size is no multiple") from None


def new_shape(default, x, shape):
    """The shape that `jnp.reshape` makes. Where a program may catch the error, the sizes are compared at once: else it is a guard
    that is made after the trace."""
    made = default(x, shape)
    if call_sites.may_be_caught(sys._getframe(1)) and math.prod(x.shape) != math.prod(made):
        raise ShapeError(f"cannot reshape an array of shape {x.shape} into {made}: it has another size")
    return made


def jit_arguments(default, function, debug_info, args):
    """The types of arguments of a jitted function, which JAX's own functions are, too."""
    for x in args:
        if isinstance(x, Dim):
            x.scope.require_int(x)
    return default(function, debug_info, args)


def squeeze_axes(shape) -> tuple[int, ...]:
    """The axes that `jnp.squeeze` removes, which is a question about each size."""
    return tuple(i for i, size in enumerate(shape) if size == 1)


def scan_length(length, lengths):
    """The length of a scan that is given as a size, and is that of every operand."""
    if not all(length == n for n in lengths):
        raise ValueError(f"scan got `length` argument of {length} which disagrees with leading axis sizes {list(lengths)}.")
    return length


@functools.cache
def install() -> None:
    """Puts all of this in its places. JAX's functions are as they were for everything that is no symbolic size."""
    compat.let_sizes_through(
        Dim,
        SizeFloat,
        arange=arange,
        search=search,
        shuffle=shuffle,
        associative_scan=associative_scan,
        squeeze_axes=squeeze_axes,
        contract_path=contract_path,
        divide_shapes=divide_shapes,
        new_shape=new_shape,
        jit_arguments=jit_arguments,
        scan_length=scan_length,
    )
