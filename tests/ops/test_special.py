"""Special functions against JAX: where they are regular, at their poles and limits, in every float dtype, at symbolic sizes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ops import special

SIZES = [{"n": n} for n in (5, 0, 1, 37, 130)]
EDGES = [
    *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, -3.0, -2.5, 8.0, 7.99, 8.01, 0.999999, -0.999999, 12.0, 100.0, 1000.0),
    *(1e-30, -1e-30, 1e-5, 1e30, -1e30, np.inf, -np.inf, np.nan),
]
UNARY = (lax.erf_inv, lax.lgamma, lax.digamma, lax.bessel_i0e, lax.bessel_i1e)
BINARY = (lax.zeta, lax.polygamma)
ITERATED = (lax.igamma, lax.igammac, lax.igamma_grad_a, lax.random_gamma_grad, lax.betainc)


def between(low, high):
    return lambda rng, shape: rng.uniform(low, high, shape).astype(np.float32)


def close(found, expected, ulps, atol):
    dtype = expected.dtype
    found, expected = (np.asarray(x).astype(np.float64) for x in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=ulps * float(jnp.finfo(dtype).eps), atol=atol * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("fun", UNARY, ids=lambda f: f.__name__)
def test_one_argument(agrees, fun):
    agrees(fun, ["n"], SIZES, between(-1, 1) if fun is lax.erf_inv else between(-20, 20), rtol=2e-6, atol=5e-7, special=True)


@pytest.mark.parametrize("fun", BINARY, ids=lambda f: f.__name__)
def test_two_arguments(agrees, fun):
    orders = lambda rng, shape: rng.integers(0, 8, shape).astype(np.float32)
    agrees(fun, ["n", "n"], SIZES, [orders, between(0.1, 20)], rtol=5e-6)
    agrees(fun, ["n", "n"], SIZES, between(1, 20), rtol=5e-6, special=True)


@pytest.mark.parametrize("fun", ITERATED, ids=lambda f: f.__name__)
def test_loops_until_all_elements_have_converged(agrees, fun):
    last = [between(0, 1)] if fun is lax.betainc else [between(0, 30)]
    arguments = 3 if fun is lax.betainc else 2
    make = [between(0.01, 20)] * (arguments - 1) + last
    agrees(fun, ["a, b"] * arguments, [{"a": 2, "b": 5}, {"a": 1, "b": 1}, {"a": 0, "b": 3}], make, rtol=1e-5, atol=1e-6)
    agrees(fun, ["n"] * arguments, [{"n": 37}], make, rtol=1e-5, atol=1e-6, special=True)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("fun", UNARY + BINARY, ids=lambda f: f.__name__)
def test_poles_limits_and_tiny_and_huge_values(fun, dtype):
    with jax.enable_x64(True):
        points = [x for x in EDGES if fun is not lax.polygamma or x != 20]
        arguments = zip(*itertools.product(points, points), strict=True) if fun in BINARY else [EDGES]
        with np.errstate(over="ignore"):
            arguments = [np.asarray(x, np.float64).astype(dtype) for x in arguments]
        close(sod2.jit(fun)(*arguments), jax.jit(fun)(*arguments), ulps=32, atol=4)


def test_f64_is_computed_in_f64():
    x = np.linspace(-0.999, 0.999, 101)
    with jax.enable_x64(True):
        for fun in UNARY:
            close(sod2.jit(fun)(x), jax.jit(fun)(x), ulps=32, atol=16)


def test_they_fuse_into_one_kernel():
    lowered = sod2.jit(lambda x: lax.digamma(lax.exp(x)) * 2, shapes=("n",)).lower(np.ones(7, np.float32))
    assert len(lowered.compile().program.kernels) == 1


def test_a_series_is_a_table():
    assert special.polynomial(2.0, (3.0, 0.0, 1.0)) == 13.0
    assert special.chebyshev(2.0, (0.0, 0.0, 2.0)) == 1.0  # half of the last coefficient is the constant term
