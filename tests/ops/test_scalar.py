"""Functions of scalars within loop rules: the same values as JAX gives, whatever they call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda x: jnp.float32(3),
        lambda x: -x * 2 + 1,
        lambda x: jnp.where(x > 0, jnp.exp(x), jax.nn.relu(x + 1)),
        lambda x: x + np.float32(0.5),
        lambda x: jax.jit(lambda y: jax.jit(jnp.sqrt)(y) + y)(abs(x)),
        lambda x: (x.astype(jnp.int32) % 3).astype(jnp.float32),
    ],
)
def test_as_jax(function):
    x, i = np.random.default_rng(0).standard_normal(9).astype(np.float32), np.array([0, 3, 3, -1, 20])
    put = lambda x, i: x.at[i].apply(function)
    np.testing.assert_allclose(sod2.jit(put)(x, i), jax.jit(put)(x, i), rtol=1e-6)
