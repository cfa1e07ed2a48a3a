"""Products that JAX computes by simpler primitives on a CPU: ragged groups of rows, scaled blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("transform", [lambda f: f, lambda f: jax.grad(lambda *xs: jnp.sin(f(*xs)).sum(), argnums=(0, 1))])
def test_ragged_products(transform):
    fun = transform(lax.ragged_dot)
    f = sod2.jit(fun, shapes=("n, 4", None, None))
    for n, groups in ((6, [2, 2, 2]), (5, [2, 0, 3]), (7, [0, 3, 1])):
        arguments = normal(n, n, 4), normal(0, 3, 4, 5), np.array(groups, np.int32)
        for found, expected in zip(*map(jax.tree.leaves, (f(*arguments), fun(*arguments))), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert f.cache_info().compiles == 1
    assert not f.cache_info().versions[0].islands


def test_scaled_products():
    def fun(x, y, s, t):
        return jax.lax.scaled_dot(x, y, lhs_scale=s, rhs_scale=t, preferred_element_type=jnp.float32)

    x, y = (normal(k, *shape).astype(jnp.float8_e4m3fn) for k, shape in enumerate([(6, 64), (64, 5)]))
    s, t = (np.exp2(np.round(normal(k, *shape))).astype(jnp.float8_e8m0fnu) for k, shape in enumerate([(6, 2), (2, 5)]))
    f = sod2.jit(fun)
    np.testing.assert_allclose(f(x, y, s, t), jax.jit(fun)(x, y, s, t), rtol=2e-2, atol=1e-1)
    assert not f.cache_info().versions[0].islands
