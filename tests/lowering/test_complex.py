"""Complex numbers in kernels against JAX: loads and stores, moves, sums, products, contractions."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.lowering import complex as pairs

SIZES = [{"n": n} for n in (5, 0, 1, 16, 37)]


def normal(dtype):
    return lambda rng, shape: (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


def test_products_may_be_fused_with_their_sum(agrees):
    agrees(lax.mul, ["n", "n"], SIZES, normal(np.complex64))


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
    agrees(
        lambda x: jnp.concatenate([lax.rev(x.T, (1,)), x.T * 2]),
        ["a, b"],
        [{"a": 3, "b": 5}, {"a": 1, "b": 1}, {"a": 0, "b": 2}],
        z,
    )
    agrees(lambda x: lax.pad(x, np.complex64(3 - 1j), [(1, 2, 1)]), ["n"], SIZES, z)
    agrees(lambda x, y: jnp.where(x.real > 0, x, y), ["n", "n"], SIZES, z)
    agrees(
        lambda x, i: x[jnp.clip(i, 0, x.shape[0] - 1)],
        ["n", "n"],
        SIZES[2:],
        [z, lambda r, s: r.integers(0, 9, s, dtype=np.int32)],
    )


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
