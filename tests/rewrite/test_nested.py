"""Bodies of loops and branches are rewritten in place."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sod2jax.ir.box import Box
from sod2jax.rewrite import oracle, run
from sod2jax.rewrite.nested import nested

X = jax.ShapeDtypeStruct((4, 6), np.float32)


def loop(x):
    return lax.scan(lambda carry, row: (jax.nn.relu(carry + row), jnp.flip(jnp.flip(row))), jnp.zeros(6), x)


def branch(x):
    return lax.cond(x[0, 0] > 0, lambda y: jax.nn.relu(y) * 1, lambda y: jnp.negative(-y), x)


def test_bodies_lose_their_calls():
    for fun in (loop, branch):
        before = jax.make_jaxpr(fun)(X)
        after = run(before, Box())
        assert "jit" not in str(after)
        assert "neg" not in str(after)
        assert oracle.difference(before, after, {}) is None


def test_nothing_changed_is_the_same_object():
    before = jax.make_jaxpr(loop)(X)
    assert nested(before, lambda body: body) is before
