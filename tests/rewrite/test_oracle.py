"""The judge itself: it must see every difference, and none where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sod2jax.rewrite import oracle


def jaxpr(fun):
    return jax.make_jaxpr(fun)(jax.ShapeDtypeStruct((200,), np.float32))


def test_the_same_is_the_same():
    assert oracle.difference(jaxpr(jnp.sin), jaxpr(lambda x: jnp.sin(x)), {}) is None


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x + 0.0,  # -0.0 becomes 0.0
        lambda x: x * (1 + 2**-20),
        lambda x: jnp.where(jnp.isnan(x), 0.0, x),
        lambda x: x[:-1],
        lambda x: x.astype(jnp.bfloat16),
    ],
)
def test_differences_are_seen(other):
    assert oracle.difference(jaxpr(lambda x: x), jaxpr(other), {}) is not None


def test_weak_types_are_seen():
    weak = jax.make_jaxpr(lambda x: x * 2)(1.0)
    strong = jax.make_jaxpr(lambda x: x * 2)(np.float32(1.0))
    assert " is ~float" in oracle.difference(weak, strong, {})
