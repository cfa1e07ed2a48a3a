"""Complex arithmetic and functions against JAX: random numbers, special values, branch cuts; sums, products, loads and stores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.lowering import complex as pairs

SPECIAL = [0.0, -0.0, 1, -1, 0.5, -0.5, 2, 1e-5, 3.3, -3.3, 20, -90, np.inf, -np.inf, np.nan, 1e-30, 1e30, -1e30, 1e15, 0.999, 1.001]
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


def test_products_may_be_fused_with_their_sum(agrees):
    for dtype in (np.complex64,):
        agrees(lax.mul, ["n", "n"], SIZES, normal(dtype))


@pytest.mark.parametrize("y", [-3, -1, 0, 1, 2, 7])
def test_integer_powers(agrees, y):
    agrees(lambda x: lax.integer_pow(x, y), ["n"], SIZES, normal(np.complex64), rtol=1e-4)


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_conversions(agrees):
    agrees(lambda x: x.astype(np.complex64) * 1j, ["n"], SIZES)
    agrees(lambda x: lax.convert_element_type(x, np.float32), ["n"], SIZES, normal(np.complex64))
    agrees(lambda x: lax.convert_element_type(x, np.int32), ["n"], SIZES, normal(np.complex64))
    agrees(lambda x: lax.complex(x, x + 1), ["n"], SIZES)
    agrees(lambda x: lax.bitcast_convert_type(x, np.complex64), ["n"], SIZES, normal(np.complex64))


def test_moves_and_selections(agrees):
    z = normal(np.complex64)
    agrees(lambda x: jnp.concatenate([lax.rev(x.T, (1,)), x.T * 2]), ["a, b"], [{"a": 3, "b": 5}, {"a": 1, "b": 1}, {"a": 0, "b": 2}], z)
    agrees(lambda x: lax.pad(x, np.complex64(3 - 1j), [(1, 2, 1)]), ["n"], SIZES, z)
    agrees(lambda x, y: jnp.where(x.real > 0, x, y), ["n", "n"], SIZES, z)
    agrees(lambda x, i: x[jnp.clip(i, 0, x.shape[0] - 1)], ["n", "n"], SIZES[2:], [z, lambda r, s: r.integers(0, 9, s, dtype=np.int32)])


def test_sums_and_means(agrees):
    z, sizes = normal(np.complex64), [{"a": 3, "b": 70}, {"a": 1, "b": 1}, {"a": 0, "b": 2}, {"a": 2, "b": 0}]
    agrees(lambda x: x.sum(1), ["a, b"], sizes, z, rtol=1e-4)
    agrees(lambda x: x.sum(0), ["a, b"], sizes, z, rtol=1e-4)
    agrees(lambda x: (x - x.mean(1, keepdims=True)) * jnp.conj(x), ["a, b"], sizes[:2], z, rtol=1e-4)


def test_products_and_extremes(agrees):
    z, sizes = normal(np.complex64), [{"a": 3, "b": 7}, {"a": 1, "b": 1}, {"a": 4, "b": 2}]
    agrees(lambda x: x.prod(1), ["a, b"], sizes, z, rtol=1e-4)
    agrees(lambda x: lax.reduce_max(x, (0,)), ["a, b"], sizes, z)
    agrees(lambda x: lax.reduce_window(x, np.complex64(1), lax.mul, (2, 1), (1, 1), "SAME"), ["a, b"], sizes, z, rtol=1e-4)


def test_contractions(agrees):
    z, sizes = normal(np.complex64), [{"a": 3, "b": 7, "c": 5}, {"a": 1, "b": 1, "c": 1}, {"a": 4, "b": 2, "c": 0}]
    agrees(jnp.dot, ["a, b", "b, c"], sizes, z, rtol=1e-4)
    agrees(lambda x, w: x.real @ w * 1j, ["a, b", "b, c"], sizes, [z, lambda r, s: r.standard_normal(s).astype(np.float32)])


def test_unknown_folds_and_functions_are_named():
    with pytest.raises(sod2.errors.UnsupportedError, match="folding complex64 with mul"):
        pairs.check_fold("mul", np.complex64)
    with pytest.raises(sod2.errors.UnsupportedError, match="erf of complex"):
        pairs.apply(None, "erf", (), np.dtype(np.complex64))
