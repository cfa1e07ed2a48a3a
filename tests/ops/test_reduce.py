"""Reductions over every set of axes, against JAX."""

import jax.numpy as jnp
import numpy as np
import pytest

SIZES = [{"a": 3, "b": 5, "c": 7}, {"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 16, "c": 65}, {"a": 5, "b": 33, "c": 16}]
EMPTY = [{"a": 0, "b": 5, "c": 7}, {"a": 3, "b": 0, "c": 2}, {"a": 3, "b": 2, "c": 0}]
AXES = [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)]


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_sum_max_min_prod(agrees, axes):
    agrees(lambda x: x.sum(axes), ["a, b, c"], SIZES + EMPTY, rtol=1e-4, atol=1e-4)
    agrees(lambda x: [x.max(axes), x.min(axes)], ["a, b, c"], SIZES, special=True)
    agrees(lambda x: x.prod(axes), ["a, b, c"], [SIZES[0], *EMPTY], rtol=1e-4)


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_booleans_and_integers(agrees, axes):
    agrees(lambda x: [(x > 0).any(axes), (x > -2).all(axes)], ["a, b, c"], SIZES + EMPTY)
    agrees(lambda x: [x.sum(axes), x.max(axes)], ["a, b, c"], SIZES, lambda r, s: r.integers(-9, 9, s, dtype=np.int32))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_arg_extremes(agrees, axis):
    agrees(lambda x: [jnp.argmax(x, axis), jnp.argmin(x, axis)], ["a, b, c"], SIZES)
    agrees(lambda x: [jnp.argmax(x, axis), jnp.argmin(x, axis)], ["a, b, c"], SIZES, special=True)
    agrees(lambda x: jnp.argmax(x, axis), ["a, b, c"], SIZES, lambda r, s: r.integers(0, 3, s, dtype=np.int32))


def test_rows_fold_before_their_row(agrees):
    agrees(lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6), ["a, b, c"], SIZES, atol=1e-4)
    agrees(lambda x: jnp.exp(x - x.max(-1, keepdims=True)) / x.sum(1, keepdims=True), ["a, b, c"], SIZES, rtol=1e-3)


def test_a_fold_of_folds(agrees):
    agrees(lambda x: ((x - x.mean(-1, keepdims=True)) ** 2).mean(-1).max(0), ["a, b, c"], SIZES)
