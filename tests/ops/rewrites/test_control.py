"""A branch whose index is known at compile time is that branch."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, make_jaxpr

from sod2jax import rewrite
from sod2jax.ir.box import Box


@pytest.mark.parametrize("index", [-1, 0, 1, 2, 5])
def test_a_known_index_takes_its_branch(index):
    def f(x):
        return lax.switch(jnp.int32(index), [jnp.sin, lambda x: x * 2, lambda x: x], x)

    closed = rewrite.run(make_jaxpr(f)(np.float32(1)), Box())
    assert "cond" not in str(closed)
    assert len(closed.jaxpr.eqns) == (0 if index >= 2 else 1)


def test_an_unknown_index_stays():
    closed = rewrite.run(make_jaxpr(lambda x: lax.cond(x > 0, jnp.sin, jnp.cos, x))(np.float32(1)), Box())
    assert "cond" in str(closed)
