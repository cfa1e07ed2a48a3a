"""Functions of complex numbers against JAX: random numbers, special values, branch cuts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2

SPECIAL = [
    0.0,
    -0.0,
    1,
    -1,
    0.5,
    -0.5,
    2,
    1e-5,
    3.3,
    -3.3,
    20,
    -90,
    np.inf,
    -np.inf,
    np.nan,
    1e-30,
    1e30,
    -1e30,
    1e15,
    0.999,
    1.001,
]
FEW = [0.0, -0.0, 1, -1, 0.5, 2, -3.3, np.inf, -np.inf, np.nan, 1e-3]
UNARY = """abs sign exp exp2 log log1p expm1 sqrt rsqrt tanh sin cos tan cosh asin acos atan asinh acosh atanh logistic square neg
conj real imag""".split()  # noqa: SIM905
BINARY = "add sub div pow max min eq ne".split()  # noqa: SIM905
SIZES = [{"n": n} for n in (5, 0, 1, 16, 37)]


def grid(numbers, dtype):
    """All combinations of parts."""
    out = np.empty(len(numbers) ** 2, dtype)
    out.real, out.imag = (x.reshape(-1) for x in np.meshgrid(*[np.array(numbers, out.real.dtype)] * 2))
    return out


def normal(dtype):
    return lambda rng, shape: (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


def close(ours, theirs, ulp):
    """Each part, or the whole: a part may be the small difference of large ones."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype
    if ours.dtype.kind == "b":
        np.testing.assert_array_equal(ours, theirs)
        return
    eps = ulp * np.finfo(ours.dtype).eps

    def same(a, b):
        return (np.isnan(a) & np.isnan(b)) | (a == b) | (abs(a - b) <= eps * abs(b))

    with np.errstate(all="ignore"):
        good = same(ours.real, theirs.real) & same(ours.imag, theirs.imag) | (abs(ours - theirs) <= eps * abs(theirs))
    assert good.all(), f"{ours[~good][:3]}, should be {theirs[~good][:3]}"


@pytest.fixture(params=[np.complex64, np.complex128], ids=["c64", "c128"])
def dtype(request):
    with jax.enable_x64(request.param is np.complex128):
        yield request.param


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name, dtype):
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.uniform(-3, 1.5, 2000)
    x = np.concatenate([grid(SPECIAL, dtype), (scale * normal(np.complex128)(rng, 2000)).astype(dtype)])
    f = getattr(lax, name)
    # XLA's log1p of f64 is off by 100 units below -0.4.
    close(sod2.jit(f)(x), jax.jit(f)(x), 300 if name in ("log", "log1p", "atanh", "atan") else 30)


def test_sinh(dtype):
    """Small results are differences of exponentials, in XLA as here."""
    x = np.concatenate([grid(SPECIAL, dtype), normal(dtype)(np.random.default_rng(0), 1000)])
    ours, theirs = sod2.jit(jnp.sinh)(x), jax.jit(jnp.sinh)(x)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(ours.real, theirs.real, rtol=20 * eps, atol=2 * eps)
    np.testing.assert_allclose(ours.imag, theirs.imag, rtol=20 * eps, atol=2 * eps)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_numbers(name, dtype):
    few = grid(FEW, dtype)
    x, y = (a.reshape(-1) for a in np.meshgrid(few, few))
    rng = np.random.default_rng(1)
    x, y = (np.concatenate([a, normal(dtype)(rng, 1000)]) for a in (x, y))
    f = getattr(lax, name)
    close(sod2.jit(f)(x, y), jax.jit(f)(x, y), 60)
