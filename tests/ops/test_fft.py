"""Fourier transforms against JAX: all kinds, precisions and numbers of axes, sizes that JAX knows and that are symbols."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2


def normal(rng, shape, dtype=np.complex64):
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", list(lax.FftType))
def test_kinds(kind, axes, x64):
    with jax.enable_x64(x64):
        dtype = {("RFFT", False): "f4", ("RFFT", True): "f8"}.get((kind.name, x64), "c16" if x64 else "c8")
        for shape in ((2, 4, 6, 5), (1, 1, 1, 1), (0, 3, 4, 4)):
            x = normal(np.random.default_rng(0), shape, dtype)
            lengths = (*shape[4 - axes : -1], 2 * (shape[-1] - 1) or 1) if kind.name == "IRFFT" else shape[4 - axes :]

            def transform(x, lengths=lengths):
                return lax.fft(x, kind, lengths)

            found, expected = sod2.jit(transform)(x), jax.jit(transform)(x)
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            np.testing.assert_allclose(found, expected, rtol=1e-4 if not x64 else 1e-12, atol=1e-4 if not x64 else 1e-12)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: jnp.fft.fft(x).real,
        lambda x: jnp.abs(jnp.fft.rfft(x)),
        lambda x: jnp.fft.irfft(jnp.fft.rfft(x) * 2),
        lambda x: jnp.fft.ifft2(jnp.fft.fft2(x) * 2).real,
    ],
)
def test_symbolic_lengths(agrees, fun):
    agrees(fun, ("b, n",), [{"b": 2, "n": 8}, {"b": 3, "n": 9}, {"b": 1, "n": 2}], rtol=1e-4, atol=1e-4)


def test_symbolic_batch(agrees):
    agrees(lambda x: jnp.fft.rfft(x).imag, ("b, 6",), [{"b": 2}, {"b": 0}, {"b": 5}], rtol=1e-4, atol=1e-4)


def test_a_gradient_knows_odd_lengths_from_even_ones():
    gradient = jax.grad(lambda x: jnp.abs(jnp.fft.rfft(x)).sum())
    f = sod2.jit(gradient, shapes=("b, n",))
    for n in (8, 9, 2, 3):
        x = np.random.default_rng(n).standard_normal((2, n)).astype(np.float32)
        np.testing.assert_allclose(f(x), gradient(x), rtol=1e-4, atol=1e-4)
    guards = [set(v.guards) for v in f.cache_info().versions]  # an FFT takes at least one element; iota counts in int32
    assert guards == [{"n % 2 == 0", "1 <= n", "n <= 2147483647"}, {"n % 2 != 0", "1 <= n", "n <= 2147483647"}]


@pytest.mark.parametrize("fun", [jnp.fft.rfft, jnp.fft.ihfft, jnp.fft.rfft2])
def test_a_real_transform_of_no_elements_is_refused(fun):
    f = sod2.jit(fun, shapes=("b, n",))
    np.testing.assert_allclose(f(np.ones((2, 5), np.float32)), fun(np.ones((2, 5), np.float32)), rtol=1e-4, atol=1e-4)
    with pytest.raises((TypeError, ValueError, ZeroDivisionError)):
        f(np.ones((2, 0), np.float32))
    assert f(np.ones((0, 5), np.float32)).shape == (0, 3)


def test_what_jax_never_compiles_is_not_refused():
    """A real transform of no elements is an error of JAX's compiler, which does not see what no result needs."""
    f = sod2.jit(lambda x: (jnp.fft.rfft(x), x * 2)[1], shapes=("n",))
    for n in (4, 0):
        np.testing.assert_array_equal(f(np.ones(n, np.float32)), np.full(n, 2.0))
    assert f.cache_info().compiles == 1
