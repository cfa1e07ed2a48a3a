"""Windows against JAX: strides, padding, dilations, odd images, any computation, and what windows choose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import primitives as p

SIZES = [{"h": 9, "w": 11}, {"h": 8, "w": 8}, {"h": 3, "w": 5}, {"h": 17, "w": 4}]
FOLDS = {"max": (-jnp.inf, lax.max), "min": (jnp.inf, lax.min), "sum": (0.0, lax.add), "prod": (1.0, lax.mul)}
POOL, STRIDES = (1, 3, 3, 1), (1, 2, 2, 1)


def ties(rng, shape):
    """Few different values."""
    return rng.integers(-2, 3, shape).astype(np.float32)


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((0, 0), (1, 2), (0, 1), (0, 0))], ids=str)
@pytest.mark.parametrize("strides", [(1, 1, 1, 1), (1, 2, 2, 1), (1, 1, 3, 1)], ids=str)
def test_pools(agrees, fold, padding, strides):
    init, op = FOLDS[fold]
    agrees(
        lambda x: lax.reduce_window(x, init, op, POOL, strides, padding), ["1, h, w, 5"], SIZES, special=fold in ("max", "min")
    )


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
    agrees(
        lambda x: lax.reduce_window(
            x, 1.0, lax.mul, (2, 3), (2, 1), ((-1, 2), (2, -1)), base_dilation=(3, 2), window_dilation=(2, 3)
        ),
        ["h, w"], SIZES,
    )  # fmt: skip


def test_average_pool_with_epilogue(agrees):
    agrees(
        lambda x: np.float32(0.25) * lax.reduce_window(x * 2, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") + 1,
        ["2, h, w, 3"],
        SIZES,
    )


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32"])
@pytest.mark.parametrize("fold", ["max", "min", "sum", "prod"])
def test_integers(agrees, dtype, fold):
    op = FOLDS[fold][1]
    start = {"max": np.iinfo(dtype).min, "min": np.iinfo(dtype).max, "sum": 0, "prod": 1}[fold]
    make = lambda rng, shape: rng.integers(0, 9, shape).astype(dtype)
    agrees(lambda x: lax.reduce_window(x, np.array(start, dtype), op, (2, 3), (1, 2), "SAME"), ["h, w"], SIZES, make)


def test_booleans(agrees):
    for start, op in ((False, lax.bitwise_or), (True, lax.bitwise_and), (False, lax.bitwise_xor), (False, lax.max)):
        agrees(lambda x, s=start, op=op: lax.reduce_window(x > 0, s, op, (2, 3), (1, 2), "SAME"), ["h, w"], SIZES)


def test_windows_of_nothing(agrees):
    sizes = [{"h": 2, "w": 5}, {"h": 0, "w": 5}, {"h": 5, "w": 0}]
    agrees(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (3, 2), (1, 1), "VALID"), ["h + 2, w + 2"], sizes)
    agrees(lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2), (1, 1), ((4, 4), (4, 4))), ["h, w"], sizes)


# -- any computation


def test_a_start_that_is_a_value(agrees):
    for op in (lax.add, lax.mul, lax.max):
        agrees(lambda x, s, op=op: lax.reduce_window(x, s[0], op, (2, 3), (1, 2), "SAME"), ["h, w", "1"], SIZES)


def test_a_computation_that_is_no_fold(agrees):
    agrees(lambda x: lax.reduce_window(x, -jnp.inf, jnp.logaddexp, (2, 3), (1, 2), "SAME"), ["h, w"], SIZES)
    agrees(lambda x: lax.reduce_window(x, 0.0, lambda a, c: a + c + a * c, (2, 3), (1, 1), "VALID"), ["h, w"], SIZES)


def test_several_operands(agrees):
    def larger(a, c):
        first = (a[0] > c[0]) | ((a[0] == c[0]) & (a[1] < c[1]))
        return jnp.where(first, a[0], c[0]), jnp.where(first, a[1], c[1])

    def fun(x):
        at = lax.broadcasted_iota(np.int32, x.shape, 1)
        return lax.reduce_window((x, at), (-jnp.inf, np.int32(-1)), larger, (2, 3), (1, 2), "SAME", window_dilation=(2, 1))

    agrees(fun, ["h, w"], SIZES, ties)


# -- what windows choose


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((0, 0), (1, 2), (0, 1), (0, 0))], ids=str)
@pytest.mark.parametrize("strides", [(1, 1, 1, 1), STRIDES, (1, 4, 3, 1)], ids=str)
def test_gradients_of_pools(agrees, padding, strides):
    def loss(x, fold):
        init, op = FOLDS[fold]
        y = lax.reduce_window(x, init, op, POOL, strides, padding)
        return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape))

    for fold in ("max", "min", "sum"):
        agrees(jax.grad(lambda x, fold=fold: loss(x, fold)), ["2, h, w, 3"], SIZES, ties, rtol=1e-4, atol=1e-3)


def test_tangents_of_pools(agrees):
    def pool(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, POOL, STRIDES, "SAME")

    # Of equal elements XLA takes the first one in some windows and not in others.
    agrees(lambda x, t: jax.jvp(pool, (x,), (t,)), ["2, h, w, 3"] * 2, SIZES)
    agrees(jax.jacrev(lambda x: pool(x).sum((1, 2, 3))), ["2, h, w, 3"], SIZES[2:], ties)


def test_nan_is_chosen_as_jax_chooses_it(agrees):
    def make(rng, shape):
        return rng.choice(np.float32([np.nan, 1, 2, -np.inf, np.inf]), shape)

    agrees(jax.grad(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 3), (1, 2), "SAME").sum()), ["h, w"], SIZES, make)


@pytest.mark.parametrize("scatter", [lax.add, lax.max, lambda a, c: a + c + a * c], ids=["add", "max", "other"])
def test_select_and_scatter_with_computations(agrees, scatter):
    scalar = jax.ShapeDtypeStruct((), np.float32)
    select, scatter = (jax.make_jaxpr(f)(scalar, scalar) for f in (lax.gt, scatter))

    def fun(x):
        source = x[: x.shape[0] - 1, : x.shape[1] - 2]
        return p.select_and_scatter_p.bind(
            x, source, jnp.float32(-1), select_jaxpr=select.jaxpr, select_consts=(), scatter_jaxpr=scatter.jaxpr,
            scatter_consts=(), window_dimensions=(2, 3), window_strides=(1, 1), padding=((0, 0), (0, 0)),
        )  # fmt: skip

    agrees(fun, ["h, w"], SIZES)
