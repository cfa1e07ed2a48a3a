"""Calls that only structure a jaxpr disappear."""

import jax
import jax.numpy as jnp


def test_calls_inline(agrees):
    inner = jax.jit(lambda x: jnp.where(x > 0, x, 0.1 * x))

    @jax.custom_jvp
    def custom(x):
        return jnp.sin(x)

    custom.defjvp(lambda x, t: (custom(x[0]), t[0]))
    agrees(lambda x: jax.checkpoint(inner)(custom(x)) + jax.nn.relu(x) + jax.nn.silu(x), ["n"], [{"n": 5}, {"n": 64}])


def test_gradients(agrees):
    agrees(jax.grad(lambda x: (jnp.tanh(x) * x).sum()), ["n"], [{"n": 5}, {"n": 64}])


def test_functions_that_are_primitives_of_newer_jax(agrees):
    agrees(lambda x: jnp.log2(jnp.abs(x) + 1), ["n"], [{"n": 5}, {"n": 64}])
    agrees(jax.grad(lambda x: (jnp.arctanh(jnp.sin(x) / 2) * x).sum()), ["n"], [{"n": 5}, {"n": 64}])
