"""Random numbers, to the bit as `jax.jit` makes them.

* The hashes (threefry, philox) are elementwise, so that all of `jax.random.normal` is one kernel.
* What happens to keys (seed, split, fold_in, bits, gamma) is JAX's own code for their words; `ops.keys` says how keys are moved.
"""

from __future__ import annotations

import math

import numpy as np
from jax import lax
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.errors import not_yet
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import const
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop
from sod2jax.ops.composite import composite, inlined
from sod2jax.ops.create import creates
from sod2jax.ops.elementwise import ZERO, elementwise, select
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


def number_of(b, shape, index):
    """The number of an element in row-major order, in 64 bits."""
    number = ZERO
    for i, size in zip(index, shape, strict=True):
        number = number * size + i
    return b.position(number, U64)


def half(b, value, high):
    """One of the two words of a 64-bit value."""
    return b.convert(b.op("shift_right_logical", value, b.const(32, U64), dtype=U64) if high else value, U32)


def iota_2x32_shape(b, out, index, *, shape):
    """The words, high and low, of the number of each element."""
    return half(b, number_of(b, out.shape, index), out.number == 0)


# -- XLA's generator: a state of a key and a counter, and bits from hashing the counter


def philox_bits(key, state, number, *, dtype):
    """Bits number `number`: the numbered block is the hash of the 128-bit (key, state) + block, four words long."""
    per_block = 2 if dtype.itemsize == 8 else 4
    low = state + number // per_block
    high = key + (low < state).astype(U64)
    word = lambda x, k: lax.shift_right_logical(x, U64.type(32 * k)).astype(U32)
    counter = (word(x, k) for x in (low, high) for k in (0, 1))
    hashed = compat.hash_function("philox4x32")(word(key, 0), word(key, 1), *counter)
    if per_block == 2:
        hashed = [x.astype(U64) | lax.shift_left(y.astype(U64), U64.type(32)) for x, y in (hashed[:2], hashed[2:])]
    return lax.select_n((number % per_block).astype(np.int32), *hashed).astype(dtype)


def rng_bit_generator(b, out, index, key, *, shape, dtype, algorithm, **_):
    """Every element hashes its block: the generator is one kernel with what follows."""
    if algorithm not in (lax.RandomAlgorithm.RNG_DEFAULT, lax.RandomAlgorithm.RNG_PHILOX):
        raise not_yet(f"rng_bit_generator by {algorithm}", remedy="Use RNG_PHILOX, or jax.random with threefry keys.")
    narrow, dtype = key.dtype == U32, np.dtype(dtype)

    def state(i):
        if not narrow:
            return key[(const(i),)]
        low, high = (b.convert(key[(const(2 * i + k),)], U64) for k in (0, 1))
        return b.op("or", low, b.op("shift_left", high, b.const(32, U64), dtype=U64), dtype=U64)

    if out.number == 1:
        return _philox_bits(b, state(0), state(1), number_of(b, out.shape, index), dtype=dtype)[0]
    size = math.prod(map(expr_of, shape), start=const(1))
    blocks = b.position((size + 1) // 2 if dtype.itemsize == 8 else (size + 3) // 4, U64)
    words = [state(0), b.op("add", state(1), blocks, dtype=U64)]
    if narrow:
        words = [half(b, x, high) for x in words for high in (False, True)]
    place = b.position(index[0], np.dtype(np.int32))
    return select(b, out, (), *map(Scalar, (place, *words)))


_philox_bits = inlined(philox_bits)

creates(compat.random_primitive("iota_2x32_shape"), iota_2x32_shape)
elementwise(compat.primitive("mulhi"), composite(mulhi), 2)
for _name, _cost in (("threefry2x32", 110), ("threefry4x32", 220), ("philox2x32", 70), ("philox4x32", 140)):
    elementwise(compat.random_primitive(_name), composite(compat.hash_function(_name)), _cost)
defop(OpDef(p.rng_bit_generator_p, Dyn.ISDOS, Mapping.ONE_TO_MANY, pull=rng_bit_generator, cost=200))
for _prim in (p.random_seed_p, p.random_split_p, p.random_fold_in_p, p.random_bits_p, p.random_gamma_p):
    defop(OpDef(_prim, Dyn.ISDOS, Mapping.MANY_TO_MANY, decompose=compat.random_function(_prim.name)))
