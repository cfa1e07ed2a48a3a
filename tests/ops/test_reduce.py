"""Reductions over every set of axes, against JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

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


# -- all dtypes


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32"])
def test_integers(agrees, dtype):
    def fun(x):
        folds = lax.reduce_sum, lax.reduce_prod, lax.reduce_max, lax.reduce_min, lax.reduce_and, lax.reduce_or, lax.reduce_xor
        return [f(x, (1,)) for f in folds] + [jnp.argmax(x, 1), jnp.argmin(x, 2)]

    info = np.iinfo(dtype)
    make = lambda rng, shape: rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    agrees(fun, ["a, b, c"], SIZES, make)


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_booleans(agrees, axes):
    folds = lax.reduce_max, lax.reduce_min, lax.reduce_and, lax.reduce_or, lax.reduce_xor
    agrees(lambda x: [f(x > 0, axes) for f in folds], ["a, b, c"], SIZES + EMPTY)
    if len(axes) == 1:
        agrees(lambda x: [jnp.argmax(x > 0, axes[0]), jnp.argmin(x > 0, axes[0])], ["a, b, c"], SIZES)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(agrees, dtype):
    def fun(x):
        x = x.astype(dtype)
        return [x.sum(1).astype(np.float32), x.max(1).astype(np.float32), jnp.argmin(x, 2)]

    agrees(fun, ["a, b, c"], SIZES, rtol=1e-2, atol=1e-1)


def test_double_precision_and_long_integers(agrees):
    normal, long = lambda r, s: r.standard_normal(s), lambda r, s: r.integers(-(1 << 60), 1 << 60, s)
    with jax.enable_x64(True):
        agrees(lambda x: [x.sum(1), x.prod(0), x.max(2), jnp.argmax(x, 1)], ["a, b, c"], SIZES, normal, 1e-12)
        agrees(lambda x: [x.sum(1), x.max(2), jnp.argmin(x, 1)], ["a, b, c"], SIZES, long)


# -- any computation


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_computations(agrees, axes):
    agrees(lambda x: lax.reduce(x, -np.inf, jnp.logaddexp, axes), ["a, b, c"], SIZES + EMPTY, rtol=1e-4)
    # A start that is no literal; XLA adds it any number of times.
    agrees(
        lambda x, s: lax.reduce(jnp.sin(x), s[0] * 0, lax.add, axes) + 1, ["a, b, c", "1"], SIZES + EMPTY, rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_several_operands(agrees, axes):
    def larger(a, c):
        first = (a[0] > c[0]) | ((a[0] == c[0]) & (a[1] < c[1]))
        return jnp.where(first, a[0], c[0]), jnp.where(first, a[1], c[1])

    def fun(x):
        at = jnp.arange(x.size, dtype=np.int32).reshape(x.shape)
        return lax.reduce((jnp.round(x), at), (-np.inf, np.int32(1 << 30)), larger, axes)

    agrees(fun, ["a, b, c"], SIZES + EMPTY)


def test_gradients(agrees):
    agrees(jax.grad(lambda x: jnp.sum(x.max(1) ** 2) + jnp.sum(x.sum(2) ** 3)), ["a, b, c"], SIZES[:2], rtol=1e-4, atol=1e-4)
