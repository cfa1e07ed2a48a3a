"""Calls that only structure a jaxpr disappear."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import sod2jax as sod2


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


def test_calls_with_a_rule_for_something_else(agrees):
    batched = jax.custom_batching.custom_vmap(lambda x: x * 2)
    batched.def_vmap(lambda size, axes, x: (x * 2, axes[0]))
    halved = jax.custom_derivatives.linear_call

    def fun(x):
        x = lax.composite(lambda x: x + 1, "tests.increment")(batched(x))
        return halved(lambda r, x: x * r, lambda r, y: y * r, 0.5, x), jax.vmap(batched)(x)

    agrees(fun, ["n"], [{"n": 5}, {"n": 64}])


def test_the_branch_for_cpus_is_taken():
    def fun(x):
        x = lax.platform_dependent(x, cuda=lambda x: x + 1, default=lambda x: x + 2)
        return lax.platform_dependent(x, tpu=lambda x: x * 3, cpu=lambda x: x * 4)

    f = sod2.jit(fun)
    assert f(np.ones(3, np.float32)).tolist() == [12, 12, 12]
    assert "branch" not in f.lower(np.ones(3, np.float32)).as_text("plan")


def test_mutable_arrays_become_values(agrees):
    def sums(x):
        total, rows = jax.new_ref(jnp.zeros(x.shape[1:])), jax.new_ref(x)

        @jax.jit
        def step(i):
            total[...] += rows[i]
            rows[i] = total[...] * 2

        lax.fori_loop(0, x.shape[0], lambda i, _: step(i), None)
        return jax.freeze(total), rows[...]

    agrees(sums, ["n, 3"], [{"n": 4}, {"n": 1}, {"n": 7}])
