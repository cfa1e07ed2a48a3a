"""Running sums and their like against JAX: every axis, both directions, all dtypes, rows of no and of one element."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

SIZES = [{"a": 3, "b": 5, "c": 7}, {"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 33, "c": 300}]
EMPTY = [{"a": 0, "b": 5, "c": 7}, {"a": 3, "b": 0, "c": 2}, {"a": 3, "b": 2, "c": 0}]
RUNNING = {"sum": lax.cumsum, "prod": lax.cumprod, "max": lax.cummax, "min": lax.cummin, "logsumexp": lax.cumlogsumexp}


def near_one(rng, shape):
    return (1 + 0.1 * rng.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", RUNNING)
def test_axes(agrees, name, axis, reverse):
    agrees(lambda x: RUNNING[name](x * 2, axis, reverse) + 1, ["a, b, c"], SIZES + EMPTY, near_one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["max", "min", "logsumexp"])
def test_special_values(agrees, name):
    agrees(lambda x: RUNNING[name](x, 1), ["a, b, c"], SIZES[:2], special="normal")


def test_nan_and_infinities_stay(agrees):
    def make(rng, shape):
        x = rng.standard_normal(shape).astype(np.float32)
        x.reshape(-1)[rng.integers(0, x.size)] = rng.choice([np.nan, np.inf, -np.inf])
        return x

    for f in RUNNING.values():
        agrees(lambda x, f=f: f(x, 0), ["n"], [{"n": n} for n in (1, 2, 7, 40)], make)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "uint32"])
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min"])
def test_integers(agrees, name, dtype):
    agrees(lambda x: RUNNING[name](x, 1), ["a, b, c"], SIZES, lambda rng, s: rng.integers(0, 100, s).astype(dtype))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", RUNNING)
def test_half_precision(agrees, name, dtype):
    def fun(x):
        return RUNNING[name](x.astype(dtype), 1).astype(np.float32)

    agrees(fun, ["a, b, c"], SIZES[:2], near_one, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", ["sum", "prod"])
def test_complex(agrees, name):
    agrees(lambda x: RUNNING[name](lax.complex(x, 0.1 * x), 0), ["a, b, c"], SIZES, near_one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", RUNNING)
def test_double_precision(agrees, name):
    with jax.enable_x64(True):
        agrees(lambda x: RUNNING[name](x, 1), ["a, b, c"], SIZES, lambda rng, s: 1 + 0.1 * rng.standard_normal(s), 1e-12, 1e-12)


def test_long_sums_are_precise(agrees):
    agrees(
        lambda x: jnp.cumsum(x.astype(jnp.bfloat16)).astype(np.float32),
        ["n"],
        [{"n": 5000}],
        lambda rng, s: np.ones(s, "f"),
        1e-2,
    )


@pytest.mark.parametrize("name", RUNNING)
def test_gradients(agrees, name):
    # JAX differentiates all but sums by a recursion over the axis, whose size it must know; it pads gradients of no rows.
    shape, sizes = ("2, n", (2, 5, 9)) if name == "sum" else ("n, 6", (0, 1, 3))
    grad = jax.grad(lambda x: jnp.sum(jnp.sin(RUNNING[name](x, 1))))
    agrees(grad, [shape], [{"n": n} for n in sizes], near_one, rtol=1e-4, atol=1e-4, compiles=1 + (0 in sizes))
