"""Arrays made from sizes alone."""

import jax.numpy as jnp
import numpy as np
from jax import lax

SIZES = [{"n": n} for n in (5, 0, 1, 16, 37)]


def test_iota_and_sizes_as_values(agrees):
    agrees(lambda x: x + jnp.arange(x.shape[0]), ["n"], SIZES)
    agrees(lambda x: x * x.shape[0] + (x.shape[0] // 2), ["n"], SIZES)
    agrees(lambda x: lax.broadcasted_iota(np.int32, (x.shape[0], 3), 0), ["n"], SIZES)
    agrees(lambda x: jnp.tri(x.shape[0]) * x, ["n"], SIZES)
    agrees(lambda x: [jnp.zeros(x.shape[0]), jnp.full((2, x.shape[0]), 3), jnp.eye(x.shape[0])], ["n"], SIZES)
