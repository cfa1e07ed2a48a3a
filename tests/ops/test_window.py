"""Pooling windows against JAX: strides, padding, dilations, odd images."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

SIZES = [{"h": 9, "w": 11}, {"h": 8, "w": 8}, {"h": 3, "w": 5}, {"h": 17, "w": 4}]
FOLDS = {"max": (-jnp.inf, lax.max), "min": (jnp.inf, lax.min), "sum": (0.0, lax.add)}


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((0, 0), (1, 2), (0, 1), (0, 0))], ids=str)
@pytest.mark.parametrize("strides", [(1, 1, 1, 1), (1, 2, 2, 1), (1, 1, 3, 1)], ids=str)
def test_pools(agrees, fold, padding, strides):
    init, op = FOLDS[fold]
    agrees(lambda x: lax.reduce_window(x, init, op, (1, 3, 3, 1), strides, padding), ["1, h, w, 5"], SIZES, special=fold != "sum")


def test_dilations(agrees):
    agrees(
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID", window_dilation=(1, 2, 1, 1)),
        ["1, h, w, 16"], SIZES,
    )  # fmt: skip
    agrees(
        lambda x: lax.reduce_window(
            x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 2, 1), ((0, 0), (1, 1), (0, 0), (0, 0)), base_dilation=(1, 2, 1, 1)
        ),
        ["1, h, w, 16"], SIZES,
    )  # fmt: skip


def test_average_pool_with_epilogue(agrees):
    agrees(
        lambda x: np.float32(0.25) * lax.reduce_window(x * 2, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") + 1,
        ["2, h, w, 3"],
        SIZES,
    )
