"""Bitcasts between all widths and reduce_precision against JAX."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

from sod2jax.ops.bits import unsigned, width

SIZES = [{"n": n} for n in (5, 0, 1, 16, 37)]
DTYPES = [np.int8, np.uint8, jnp.float8_e5m2, np.int16, jnp.bfloat16, np.float16, np.int32, np.float32, np.uint64, np.float64]


def bits(dtype):
    """Any bits that are no NaN, whose payload need not survive."""

    def make(rng, shape):
        x = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), dtype=np.uint8).view(dtype)[..., 0]
        if "float" not in x.dtype.name:
            return x
        with np.errstate(invalid="ignore"):
            return np.where(np.isnan(x.astype(np.float64)), np.ones((), x.dtype), x)

    return make


@pytest.mark.parametrize("old", DTYPES, ids=lambda d: np.dtype(d).name)
def test_bitcasts_between_all_widths(agrees, old):
    """Of bits that are no NaN in either dtype."""
    old = np.dtype(old)
    for new in map(np.dtype, DTYPES):
        if "float" in old.name and new.itemsize > old.itemsize:
            continue

        def make(rng, shape, new=new):
            if old.itemsize < new.itemsize:
                return bits(new)(rng, shape[:1]).reshape(-1, 1).view(old)
            return bits(new if old.itemsize == new.itemsize and "float" not in old.name else old)(rng, shape).view(old)

        to = unsigned(width(new)) if old.itemsize > new.itemsize and "float" in new.name else new
        many = new.itemsize // old.itemsize
        with jax.enable_x64(True):
            agrees(
                lambda x, to=to: lax.bitcast_convert_type(x, to),
                [f"n, {many}" if many > 1 else "n"], SIZES, make, rtol=0, atol=0,
            )  # fmt: skip


def test_the_lowest_bits_come_first(agrees):
    agrees(lambda x: lax.bitcast_convert_type(x, np.uint8), ["n"], SIZES, bits(np.float32))
    agrees(lambda x: lax.bitcast_convert_type(x, np.uint16) + np.uint16(1), ["n, 3"], SIZES, bits(np.int32))
    agrees(lambda x: lax.bitcast_convert_type(x, np.int32), ["n, 4"], SIZES, bits(np.uint8))
    agrees(lambda x: lax.bitcast_convert_type(x, jnp.int4).astype(np.int8), ["n"], SIZES, bits(np.uint8))
    agrees(lambda x: lax.bitcast_convert_type(x.astype(jnp.uint4), np.uint8), ["n, 2"], SIZES, bits(np.uint8))
    agrees(lambda x: lax.bitcast_convert_type(x, bool), ["n"], SIZES, lambda r, s: r.random(s) < 0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, jnp.bfloat16], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("to", [(5, 10), (8, 7), (8, 23), (4, 3), (5, 0), (1, 2), (11, 20)], ids=str)
def test_reduce_precision(agrees, dtype, to):
    with jax.enable_x64(True):
        agrees(lambda x: lax.reduce_precision(x, *to), ["n"], [{"n": 5000}, {"n": 0}, {"n": 1}], bits(dtype), rtol=0, atol=0)
        agrees(
            lambda x: lax.reduce_precision(x, *to), ["n"], [{"n": 500}], lambda r, s: r.standard_normal(s).astype(dtype),
            rtol=0, atol=0,
        )  # fmt: skip


def test_reduce_precision_keeps_nan(agrees):
    nan = lambda rng, shape: rng.choice(np.array([np.nan, np.inf, -np.inf, -0.0], np.float32), shape)
    for to in ((5, 10), (8, 0), (2, 1)):
        agrees(lambda x, to=to: lax.reduce_precision(x, *to), ["n"], SIZES, nan)


def test_widths():
    assert [width(d) for d in (ml_dtypes.int4, np.int8, np.float16, np.complex64, bool)] == [4, 8, 16, 64, 8]
    assert unsigned(4) == ml_dtypes.uint4
    assert unsigned(32) == np.uint32
