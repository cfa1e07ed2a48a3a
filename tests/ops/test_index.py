"""Reads at places given by values: in bounds, out of bounds, negative; nothing outside of a buffer is ever read."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

SIZES = [{"n": 5, "k": 3}, {"n": 1, "k": 1}, {"n": 64, "k": 33}, {"n": 7, "k": 0}]


def wild(rng, shape):
    return rng.integers(-70, 70, shape, dtype=np.int32)


def normal(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("mode", ["fill", "clip", None])
@pytest.mark.parametrize("axis", [0, 1])
def test_take(agrees, mode, axis):
    agrees(lambda x, i: jnp.take(x, i, axis=axis, mode=mode), ["n, 9", "k"], SIZES, [normal, wild])


def test_embedding(agrees):
    agrees(lambda t, i: t[i] * 2, ["11, 48", "n, k"], SIZES, [normal, wild])


def test_integer_fill_values(agrees):
    agrees(lambda x, i: jnp.take(x, i, mode="fill"), ["n", "k"], SIZES, [wild, wild])


def test_batched(agrees):
    agrees(lambda x, i: jnp.take_along_axis(x, i, 1), ["n, 9", "n, k"], SIZES, [normal, wild])


def test_dynamic_slices_clamp(agrees):
    def at(rng, shape):
        return rng.integers(-9, 70, shape, dtype=np.int32)

    agrees(lambda x, i: lax.dynamic_slice(x, (i, 0), (1, 4)), ["n, 9", ""], SIZES[:3], [normal, at])
    agrees(lambda x, u, i: lax.dynamic_update_slice(x, u, (i, i)), ["n, 9", "1, 4", ""], SIZES[:3], [normal, normal, at])
