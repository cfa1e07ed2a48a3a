"""Random numbers, to the bit as `jax.jit` makes them.

* The hashes (threefry, philox) are elementwise, so that all of `jax.random.normal` is one kernel.
* What happens to keys (seed, split, fold_in, bits, gamma) is JAX's own code for their words; `ops.keys` says how keys are moved.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from jax import lax
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import const, maximum
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop
from sod2jax.ops.composite import composite, inlined
from sod2jax.ops.create import creates
from sod2jax.ops.elementwise import ZERO, elementwise, select
from sod2jax.ops.index import BOOL, INT
from sod2jax.ops.scalar import Scalar

U32, U64 = np.dtype(np.uint32), np.dtype(np.uint64)


def mulhi(x, y):
    """The high half of a product of integers."""
    bits = x.dtype.itemsize * 8
    if bits < 64:
        wide = np.dtype(f"{x.dtype.kind}{x.dtype.itemsize * 2}")
        return lax.shift_right_logical(x.astype(wide) * y.astype(wide), wide.type(bits)).astype(x.dtype)
    # Of 64 bits: by halves, the lower ones unsigned; a shift of a signed number keeps its sign.
    split = lambda z: (z & 0xFFFFFFFF, z >> 32)
    (x0, x1), (y0, y1) = split(x), split(y)
    carry = lax.shift_right_logical(x0 * y0, x.dtype.type(32))
    middle = x1 * y0 + carry
    low, high = split(middle)
    return x1 * y1 + high + ((low + x0 * y1) >> 32)


def row_major(shape, index):
    """The number of an element."""
    number = ZERO
    for i, size in zip(index, shape, strict=True):
        number = number * size + i
    return number


def half(b, value, high):
    """One of the two words of a 64-bit value."""
    return b.convert(b.op("shift_right_logical", value, b.const(32, U64), dtype=U64) if high else value, U32)


def iota_2x32_shape(b, out, index, *, shape):
    """The words, high and low, of the number of each element."""
    return half(b, b.position(row_major(out.shape, index), U64), out.number == 0)


# -- XLA's generators: a key, a state that counts blocks, and bits from hashing the state under the key


def word(x, k):
    return lax.shift_right_logical(x, U64.type(32 * k)).astype(U32)


def joined(low, high):
    return low.astype(U64) | lax.shift_left(high.astype(U64), U64.type(32))


def philox_bits(key, state, number, *, dtype):
    """Blocks are hashes of the 128-bit (key, state) + block: four words."""
    words = 4 * 4 // max(dtype.itemsize, 4)
    low = state + number // words
    high = key + (low < state).astype(U64)
    counter = (word(x, k) for x in (low, high) for k in (0, 1))
    hashed = compat.hash_function("philox4x32")(word(key, 0), word(key, 1), *counter)
    if words == 2:
        hashed = joined(*hashed[:2]), joined(*hashed[2:])
    return lax.select_n((number % words).astype(np.int32), *hashed).astype(dtype)


def threefry_bits(key, state, number, *, dtype):
    """Blocks are hashes of state + block: two words."""
    words = 2 * 4 // max(dtype.itemsize, 4)
    count = state + number // words
    hashed = compat.hash_function("threefry2x32")(*(word(x, k) for x in (key, count) for k in (0, 1)))
    return joined(*hashed) if words == 1 else lax.select(number % 2 == 0, *hashed).astype(dtype)


def by_halved_axis(b, shape, number_along):
    """`number_along(axis, blocks)` for the axis along which the two words of threefry's blocks lie.

    It is the first of even size, else the first of the longest. Where sizes are symbolic, it is chosen when the kernel runs.
    """
    longest = functools.reduce(maximum, shape)
    chosen = b.const(0, U64)
    for is_zero in (lambda size: longest - size, lambda size: size % 2):
        for axis, size in reversed(list(enumerate(shape))):
            blocks = (*shape[:axis], (size + 1) // 2, *shape[axis + 1 :])
            number, rest = b.position(number_along(axis, blocks), U64), b.simplify(is_zero(size))
            if rest.value is None:
                is_it = b.op("eq", b.position(rest, INT), b.const(0, INT), dtype=BOOL)
                chosen = b.op("select", is_it, number, chosen, dtype=U64)
            elif rest.value == 0:
                chosen = number
    return chosen


def rng_bit_generator(b, out, index, key, *, shape, dtype, algorithm, **_):
    """Every element hashes its block, so that the generator is one kernel with what follows."""
    narrow, dtype, shape = key.dtype == U32, np.dtype(dtype), tuple(map(expr_of, shape))
    threefry = algorithm == lax.RandomAlgorithm.RNG_THREE_FRY
    words = 4 * (2 if threefry else 4) // max(dtype.itemsize, 4)
    pairs = threefry and words == 2 and bool(shape)

    def state(i):
        if not narrow:
            return key[(const(i),)]
        low, high = (b.convert(key[(const(2 * i + k),)], U64) for k in (0, 1))
        return b.op("or", low, b.op("shift_left", high, b.const(32, U64), dtype=U64), dtype=U64)

    if out.number == 1:

        def along(axis, blocks):
            return 2 * row_major(blocks, (*index[:axis], index[axis] // 2, *index[axis + 1 :])) + index[axis] % 2

        number = by_halved_axis(b, shape, along) if pairs else b.position(row_major(shape, index), U64)
        bits = _threefry_bits if threefry else _philox_bits
        return bits(b, state(0), state(1), number, dtype=dtype)[0]
    if pairs:
        count = by_halved_axis(b, shape, lambda _, blocks: math.prod(blocks, start=const(1)))
    else:
        count = math.prod(shape, start=const(1))
        count = b.position(count if threefry else (count + words - 1) // words, U64)
    after = [state(0), b.op("add", state(1), count, dtype=U64)]
    if narrow:
        after = [half(b, x, high) for x in after for high in (False, True)]
    return select(b, out, (), *map(Scalar, (b.position(index[0], np.dtype(np.int32)), *after)))


_philox_bits, _threefry_bits = inlined(philox_bits), inlined(threefry_bits)


# -- keys: JAX's own code for their words


def random_seed(seeds, *, impl):
    return compat.wrap_keys(compat.on_words("random_seed")(seeds, impl=impl), impl)


def random_split(keys, *, shape):
    impl, words = compat.unwrap_keys(keys)
    return compat.wrap_keys(compat.on_words("random_split")(impl, words, keys.ndim, shape=shape), impl)


def random_fold_in(keys, data):
    impl, words = compat.unwrap_keys(keys)
    return compat.wrap_keys(compat.on_words("random_fold_in")(impl, words, data, keys.shape), impl)


def random_bits(keys, **params):
    impl, words = compat.unwrap_keys(keys)
    return compat.on_words("random_bits")(impl, words, keys.ndim, **params)


creates(compat.random_primitive("iota_2x32_shape"), iota_2x32_shape)
elementwise(compat.primitive("mulhi"), composite(mulhi), 2)
for _name, _cost in (("threefry2x32", 110), ("threefry4x32", 220), ("philox2x32", 70), ("philox4x32", 140)):
    elementwise(compat.random_primitive(_name), composite(compat.hash_function(_name)), _cost)
defop(OpDef(p.rng_bit_generator_p, Dyn.ISDOS, Mapping.ONE_TO_MANY, pull=rng_bit_generator, cost=200))
DECOMPOSED = {
    p.random_seed_p: random_seed, p.random_split_p: random_split, p.random_fold_in_p: random_fold_in,
    p.random_bits_p: random_bits, p.random_gamma_p: compat.sample_gamma,
}  # fmt: skip
for _prim, _rule in DECOMPOSED.items():
    defop(OpDef(_prim, Dyn.ISDOS, Mapping.MANY_TO_MANY, decompose=_rule))
