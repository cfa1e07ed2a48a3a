"""Index maps against JAX, alone and composed, at symbolic sizes."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ir.box import Box
from sod2jax.ir.expr import const, floordiv, mod, sym
from sod2jax.lowering.body import Builder
from sod2jax.ops import shape

SIZES = [{"a": 3, "b": 5}, {"a": 1, "b": 1}, {"a": 0, "b": 4}, {"a": 16, "b": 33}, {"a": 7, "b": 64}]
POSITIVE = [env for env in SIZES if env["a"]]  # JAX's own reshape(-1) and reversal ask whether an axis is empty


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: x.reshape(-1),
        lambda x: x.reshape(x.shape[0], 1, x.shape[1]) + 1,
        lambda x: x.T,
        lambda x: jnp.transpose(x)[:, :, None] * 2,
        lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], 4, x.shape[1])),
        lambda x: jnp.pad(x, ((1, 2), (0, 3)), constant_values=7),
        lambda x: lax.pad(x, jnp.float32(2), ((0, 0, 2), (3, -1, 1))),
        lambda x: jnp.concatenate([x, x * 2, x], 0),
        lambda x: jnp.concatenate([x, x * 2], 1).T,
        lambda x: jnp.stack([x, x + 1, x * 2], 1),
        lambda x: jnp.tile(x, (2, 3)),
        lambda x: x.reshape(-1)[None, :] + x.reshape(1, -1),
        lambda x: jnp.squeeze(x[None], 0) + jnp.expand_dims(x, 0)[0],
    ],
)
def test_moves(agrees, fun):
    agrees(fun, ["a, b"], SIZES)


def test_roll(agrees):
    """JAX asks whether there is anything to roll: no rows are a version of their own."""
    agrees(lambda x: jnp.roll(x, 1, 0), ["a, b"], SIZES, compiles=2)
    agrees(lambda x: jnp.roll(x, x.shape[0] // 2, 0), ["a, b"], SIZES, compiles=2)


CONFIGS = [*product((-2, 0, 1), (-1, 0, 2), (0, 1, 2))]


@pytest.mark.parametrize("first", CONFIGS, ids=str)
def test_paddings(agrees, first):
    second = CONFIGS[(7 * CONFIGS.index(first) + 3) % len(CONFIGS)]
    agrees(
        lambda x: lax.pad(x, jnp.float32(2), (first, second)) * 2,
        ["a, b"],
        [{"a": 3, "b": 5}, {"a": 17, "b": 4}, {"a": 4, "b": 33}],
    )


def test_paddings_by_sizes(agrees):
    def padded(x, y):
        n = y.shape[0]
        return lax.pad(x, x[0, 0], ((n, 1, 0), (1 - n, n, 0))), lax.pad(x, x[0, 0], ((0, n, 1), (n, -1, 0)))

    agrees(padded, ["a, b", "n"], [{"a": 3, "b": 5, "n": 2}, {"a": 9, "b": 33, "n": 7}, {"a": 1, "b": 2, "n": 1}])
    agrees(lambda x: lax.pad(x, jnp.float32(2), ((1, 2, 1), (3, 0, 2))), ["a, b"], SIZES)


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "bfloat16", "complex64"])
@pytest.mark.parametrize(
    "fun",
    [
        lambda x: lax.pad(x, x[0, 0], ((1, -1, 1), (0, 2, 0))),
        lambda x: jnp.concatenate([x, x[::-1], x[:1]]),
        lambda x: jnp.stack([x, x], 1).reshape(-1),
        lambda x: (x.T[::-1], jnp.tile(x, (1, 2)), jnp.split(x, [1, 4], 1)),
    ],
)
def test_dtypes(fun, dtype):
    x = (np.arange(15).reshape(3, 5) % 4).astype(jnp.dtype(dtype))
    for found, want in zip(jax.tree.leaves(sod2.jit(fun)(x)), jax.tree.leaves(jax.jit(fun)(x)), strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(want))


@pytest.mark.parametrize("count", [1, 2, 9, 40])
@pytest.mark.parametrize("axis", [0, 1])
def test_many_pieces(agrees, count, axis):
    agrees(
        lambda x, y: jnp.concatenate([x, y] * count, axis) + 1,
        ["a, b", "a, b"],
        [{"a": 3, "b": 5}, {"a": 0, "b": 4}, {"a": 1, "b": 1}],
    )


def test_pieces_of_different_sizes(agrees):
    sizes = [{"a": 3, "b": 5, "c": 2}, {"a": 0, "b": 9, "c": 1}, {"a": 7, "b": 0, "c": 0}]
    agrees(lambda x, y, z: jnp.concatenate([x, y * 2, z, y], 1), ["4, a", "4, b", "4, c"], sizes)


def test_reshape_in_another_order(agrees):
    agrees(lambda x: lax.reshape(x, (x.shape[2], 3 * x.shape[0]), (2, 0, 1)) * 1, ["a, 3, b"], SIZES)
    assert sod2.jit(lambda: lax.reshape(jnp.arange(6).reshape(2, 3), (6,), (1, 0)))().tolist() == [0, 3, 1, 4, 2, 5]


def test_reversal(agrees):
    agrees(lambda x: x[::-1], ["a, b"], POSITIVE)
    agrees(lambda x: x[:, ::-1] + x, ["a, b"], POSITIVE)


def test_slices(agrees):
    agrees(lambda x: x[1:, ::2] - x[:-1, ::2], ["a, b"], [{"a": 3, "b": 5}, {"a": 9, "b": 64}, {"a": 1, "b": 1}])


def test_splits(agrees):
    agrees(lambda x: [y + i for i, y in enumerate(jnp.split(x, 2, 1))], ["a, 2*b"], [{"a": 3, "b": 5}, {"a": 4, "b": 32}])


def test_heads_split_and_merge_without_division(agrees):
    agrees(lambda x: x.reshape(*x.shape[:2], 4, 8).transpose(0, 2, 1, 3) * 2, ["a, b, 32"], SIZES)
    agrees(lambda x: x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1) * 2, ["a, 4, b, 8"], POSITIVE)


def test_regroup_divides_only_where_axes_split_or_merge():
    b = Builder(Box({"s": (0, None), "n": (0, None)}))
    i, j = b.open(sym("s")), b.open(const(96))
    assert shape.regroup(b, (i, j), (sym("s"), const(96)), (sym("s"), const(8), const(12))) == (i, floordiv(j, 12), mod(j, 12))
    assert shape.regroup(b, (i, j), (sym("s"), const(96)), (const(1), sym("s"), const(1), const(96))) == (0, i, 0, j)


def test_linear_and_unlinear_are_inverse():
    sizes, rng = (3, 1, 4, 5), np.random.default_rng(0)
    for _ in range(50):
        index = tuple(int(rng.integers(0, s)) for s in sizes)
        at = shape.linear(tuple(map(const, index)), tuple(map(const, sizes)))
        assert at.value == np.ravel_multi_index(index, sizes)
        assert tuple(e.value for e in shape.unlinear(at, tuple(map(const, sizes)))) == index


def test_constant_sizes_of_zero(agrees):
    agrees(lambda x: x.reshape(2, 0, 7).transpose(2, 1, 0) + 1, ["7, 0"], [{}])
    agrees(lambda x: x.T.sum(1), ["7, 0"], [{}])


def test_lines_long_enough_for_several_tasks(agrees):
    fun = lambda x, y: (jnp.concatenate([x, y, x * 2]), jnp.concatenate([x[None], y[None]] * 3, 1))
    agrees(fun, ["a", "b"], [{"a": 5, "b": 3}, {"a": 40000, "b": 1}, {"a": 0, "b": 17000}])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_many_layers(agrees, axis):
    agrees(lambda x: jnp.stack([x * k for k in range(9)], axis), ["a, b"], SIZES)
    agrees(lambda x: jnp.stack([x[0], x[0, ::-1]] * 5, min(axis, 1)), ["a, b"], [{"a": 2, "b": 9}, {"a": 1, "b": 1}])


def test_many_pieces_get_a_buffer_and_few_do_not():
    x = np.ones((3, 4), np.float32)
    kernels = lambda fun: len(sod2.jit(fun).lower(x).compile().program.kernels)
    assert kernels(lambda x: jnp.concatenate([x, x * 2, x], 0) + 1) == 1
    assert kernels(lambda x: jnp.concatenate([x, x * 2] * 4, 0) + 1) == 2
