"""Floats of 8 bits: every byte, every rounding, against JAX and against the interpreter; integers of 4 bits within a kernel."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ir import interp
from sod2jax.lowering.narrow import FORMATS

FLOATS8 = [np.dtype(getattr(ml_dtypes, name)) for name in (*FORMATS, "float8_e8m0fnu") if name.startswith("float8")]
WIDE = [np.dtype(d) for d in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)]
E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)


def every(dtype):
    """All numbers of a dtype of 8 or 16 bits."""
    return np.arange(1 << 8 * dtype.itemsize, dtype=np.uint16).astype(f"u{dtype.itemsize}").view(dtype)


def many(rng, shape):
    """f32 of all sizes, halfway cases among them."""
    top = rng.integers(0, 1 << 16, shape, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
    return np.where(rng.random(shape) < 0.5, top, rng.standard_normal(shape) * 2.0 ** rng.integers(-20, 18, shape)).astype(
        np.float32
    )


def same(ours, theirs):
    """Equal; NaN is NaN, whatever its bits, and zeros have signs."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype
    if "float" in ours.dtype.name:
        with np.errstate(invalid="ignore"):
            a, b = ours.astype(np.float64), theirs.astype(np.float64)
        good = (np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b)))
    else:
        good = ours == theirs
    assert good.all(), f"{ours[~good][:5]}, should be {theirs[~good][:5]}"


def both(f, *args):
    same(sod2.jit(f)(*args), jax.jit(f)(*args))


@pytest.mark.parametrize("dtype", FLOATS8, ids=str)
def test_every_byte_to_every_dtype(dtype):
    x = every(dtype)
    if dtype == E8M0:
        x = x[1:]  # its least number is a denormal, which counts as zero in f32
    for other in (*WIDE[:1], *WIDE[2:], *FLOATS8, np.int8, np.uint8, np.int32, np.uint32, np.bool_):
        both(lambda x, other=other: x.astype(other), x)


@pytest.mark.parametrize("dtype", FLOATS8, ids=str)
def test_every_rounding(dtype):
    rng = np.random.default_rng(0)
    both(lambda x: x.astype(dtype), many(rng, 20000))
    for wide in WIDE[2:]:
        both(lambda x: x.astype(dtype), every(wide))
    for ints in (np.int32, np.uint8, np.bool_):
        both(lambda x: x.astype(dtype), rng.integers(-600, 600, 500).astype(ints))


@pytest.mark.parametrize("dtype", [d for d in FLOATS8 if d != E8M0], ids=str)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "max", "min", "lt", "eq", "nextafter"])
def test_arithmetic_of_every_pair(dtype, name):
    x, y = (a.reshape(-1) for a in np.meshgrid(every(dtype), every(dtype)))
    both(getattr(lax, name), x, y)


@pytest.mark.parametrize("dtype", FLOATS8, ids=str)
def test_interpreter(dtype, target, oracle):
    rng = np.random.default_rng(1)
    if dtype == E8M0:
        pytest.skip("ml_dtypes rounds ties to even, XLA up")
    for name in ("add", "mul", "neg", "abs", "floor"):
        kernel = oracle.map_kernel(name, (dtype,) * (2 if name in ("add", "mul") else 1), dtype)
        data = {f"x{k}": rng.choice(every(dtype), 67) for k in range(len(kernel.buffers) - 1)}
        ours, theirs = oracle.run_both(kernel, data | {"y": np.zeros(67, dtype)}, {"n": 67}, target)
        same(ours["y"], theirs["y"])


def test_nextafter_of_halves():
    rng = np.random.default_rng(2)
    for dtype in WIDE[2:]:
        x, y = rng.choice(every(dtype), 20000), rng.choice(every(dtype), 20000)
        both(lax.nextafter, x, y)


def test_extremes_of_nothing():
    """The identity of max is the least number where there is no infinity."""
    for dtype in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.bfloat16):
        both(lambda x: lax.reduce_max(x, (0,)), np.zeros(0, dtype))


@pytest.mark.parametrize("dtype", [ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.int2, ml_dtypes.uint2], ids=lambda d: d.__name__)
def test_small_integers_within_a_kernel(agrees, dtype):
    sizes = [{"n": n} for n in (5, 0, 1, 37)]
    agrees(lambda x: x.astype(dtype).astype(np.int32), ["n"], sizes, lambda r, s: r.integers(-100, 100, s, dtype=np.int32))
    agrees(lambda x: x.astype(dtype).astype(np.float32), ["n"], sizes, lambda r, s: (r.standard_normal(s) * 9).astype(np.float32))
    for f in (lax.mul, lax.max, lax.min, lax.bitwise_xor):
        agrees(
            lambda x, y, f=f: f(x.astype(dtype), y.astype(dtype)).astype(np.int8), ["n", "n"], sizes,
            lambda r, s: r.integers(0, 2, s, dtype=np.int8),
        )  # fmt: skip


def test_small_integers_wrap():
    """As JAX says integers do; XLA's CPU compiler computes int4 in 8 bits and forgets to."""
    x = np.arange(-8, 8, dtype=np.int8)
    found = sod2.jit(lambda x: (x.astype(jnp.int4) + x.astype(jnp.int4)).astype(jnp.int8))(x)
    np.testing.assert_array_equal(found, (2 * x + 8) % 16 - 8)


def test_dequantized_weights(agrees):
    """int4 constants are stored a byte each."""
    w = np.arange(-8, 8, dtype=np.int8).reshape(4, 4).astype(ml_dtypes.int4)
    agrees(lambda x: x @ (jnp.asarray(w).astype(jnp.float32) * 0.1), ["n, 4"], [{"n": 3}, {"n": 1}])


def test_interpreter_computes_narrow_floats_in_f32():
    x = every(np.dtype(ml_dtypes.float8_e5m2))
    with np.errstate(all="ignore"):
        same(interp.scalar("add", x.dtype, x, x), (x.astype(np.float32) * 2).astype(x.dtype))
