"""Outputs that are inputs, constants, literals, or the same array twice."""

import jax
import jax.numpy as jnp
import numpy as np

from sod2jax.ops.outputs import separate


def test_odd_outputs(agrees):
    table = np.arange(6, dtype=np.float32)
    agrees(lambda x: (x, x + 1, x, 2.5, jnp.asarray(table)), ["n"], [{"n": 3}, {"n": 0}])
    agrees(lambda x: [y := x * 2, y, y + 1, None], ["n"], [{"n": 3}, {"n": 17}])


def test_nothing_to_separate():
    closed = jax.make_jaxpr(lambda x: x + 1)(1.0)
    assert separate(closed) is closed
