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


def test_what_only_says_where_or_when_arrays_are(agrees):
    def fun(x):
        x, y = jax.lax.optimization_barrier((x, x * 2))
        return jax.device_put(x), jax.device_put({"a": y, "b": x}), jax.device_put(x * 1) + 1

    agrees(fun, ["n"], [{"n": 5}, {"n": 64}, {"n": 0}])
    agrees(jax.grad(lambda x: jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))(x).sum()), ["n"], [{"n": 5}, {"n": 64}])
