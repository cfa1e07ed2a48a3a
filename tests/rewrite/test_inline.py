"""Calls go away; values, names and source lines stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sod2jax import compat
from sod2jax.rewrite import oracle
from sod2jax.rewrite.inline import body, inline

X = jax.ShapeDtypeStruct((4, 3), np.float32)
TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)


@jax.custom_vjp
def clipped(x):
    return jnp.clip(x, -1, 1)


clipped.defvjp(lambda x: (clipped(x), None), lambda _, g: (g,))


@pytest.mark.parametrize(
    "fun",
    [
        jax.nn.relu,  # custom_jvp_call of a jit
        jax.nn.silu,
        jnp.var,
        clipped,
        jax.checkpoint(jnp.sin),
        jax.jit(jax.jit(lambda x: x)),
        lambda x: jnp.where(x > 0, x, 0) + jnp.where(x > 1, x, 2),
        jax.jit(lambda x: x + TABLE),
        lambda x: jax.jit(lambda y: (y + TABLE, x))(x)[0] * TABLE,
        jax.grad(lambda x: jnp.sum(jax.nn.softplus(x))),
    ],
)
def test_no_call_is_left_and_values_stay(fun):
    before = jax.make_jaxpr(fun)(X)
    after = inline(before)
    assert not any(body(eqn) for eqn in after.jaxpr.eqns)
    assert oracle.difference(before, after, {}) is None


def test_one_body_called_twice_gets_variables_of_its_own():
    twice = jax.jit(jnp.sin)
    after = inline(jax.make_jaxpr(lambda x: twice(twice(x)))(X))
    bound = [v for eqn in after.jaxpr.eqns for v in eqn.outvars]
    assert len(bound) == len(set(bound)) == 2


def test_constants_are_shared():
    after = inline(jax.make_jaxpr(lambda x: jax.jit(lambda y: y + TABLE)(x) + TABLE)(X))
    assert len(after.consts) == 1


def test_nothing_to_inline_is_the_same_object():
    before = jax.make_jaxpr(jnp.sin)(X)
    assert inline(before) is before


def test_names_are_joined_and_library_bodies_have_the_line_of_their_caller():
    @jax.jit
    def inner(x):
        return jnp.var(x)

    def outer(x):
        with jax.named_scope("outer_scope"):
            return inner(x)

    jnp.var(jnp.ones((4, 3)))  # JAX now has a trace of jnp.var with the line of this call
    after = inline(jax.make_jaxpr(outer)(X))
    assert all("outer_scope" in str(eqn.source_info.name_stack) for eqn in after.jaxpr.eqns)
    assert all("(inner)" in compat.user_line(eqn) or "inner" in compat.user_line(eqn) for eqn in after.jaxpr.eqns)
