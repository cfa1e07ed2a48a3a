"""Sorting against JAX: every axis, dtype and number of keys, equal keys, zeros of both signs and NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2

SIZES = [{"a": 3, "n": 5}, {"a": 1, "n": 1}, {"a": 2, "n": 300}, {"a": 0, "n": 4}, {"a": 2, "n": 0}]
ROWS = ["a, n, 3"]
SPECIAL = np.float32([np.nan, -np.nan, np.inf, -np.inf, 0, -0.0, 1, -1, 1e-42, 3, 0, -0.0, 1])


def few(dtype):
    """Makes arrays in which values repeat; floats among them are special."""

    def make(rng, shape):
        if np.dtype(dtype).kind == "f":
            return rng.choice(SPECIAL, shape).astype(dtype)
        return rng.integers(0, 7, shape).astype(dtype) - np.array(3).astype(dtype)

    return make


def same_bits(found, expected):
    for f, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        f, e = (np.asarray(x) for x in (f, e))
        assert f.dtype == e.dtype
        np.testing.assert_array_equal(f, e)
        if f.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(f), np.signbit(e))


def check(fun, shapes, sizes, *makers):
    """As `agrees`, to the bit: signs of zeros and of NaNs count."""
    compiled = sod2.jit(fun, shapes=tuple(shapes))
    for number, env in enumerate(sizes):
        rng = np.random.default_rng(number)
        arguments = [m(rng, tuple(eval(d, {}, dict(env)) for d in s.split(","))) for m, s in zip(makers, shapes, strict=True)]
        same_bits(compiled(*arguments), jax.jit(fun)(*arguments))
    assert compiled.cache_info().compiles == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axes(axis):
    check(lambda x: [jnp.sort(x, axis), jnp.argsort(x, axis), jnp.argsort(x, axis, descending=True)], ROWS, SIZES, few("f4"))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32", "float16", "float32"])
def test_dtypes(dtype):
    check(lambda x: [lax.sort(x, 1), jnp.argsort(x, 1)], ROWS, SIZES, few(dtype))


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64", "complex128"])
def test_wide_dtypes(dtype):
    with jax.enable_x64(True):
        if dtype == "complex128":
            check(lambda x, y: lax.sort(lax.complex(x, y), 1), [*ROWS, *ROWS], SIZES, few("f8"), few("f8"))
        else:
            check(lambda x: [lax.sort(x, 1), jnp.argsort(x, 1)], ROWS, SIZES, few(dtype))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.int4, jnp.uint4])
def test_narrow_dtypes(dtype):
    make = few("i4" if jnp.issubdtype(dtype, jnp.integer) else "f4")
    check(lambda x: jnp.argsort(jnp.clip(x, 0) if dtype == jnp.uint4 else x.astype(dtype), 1), ROWS, SIZES, make)


def test_booleans_and_complex():
    check(lambda x: [lax.sort(x > 0, 1), jnp.argsort(x > 0, 1)], ROWS, SIZES, few("f4"))
    check(lambda x, y: jnp.argsort(lax.complex(x, y), 1), [*ROWS, *ROWS], SIZES, few("f4"), few("f4"))


@pytest.mark.parametrize("num_keys", [1, 2, 3])
def test_several_operands(num_keys):
    def fun(x, y, z):
        return lax.sort((x, y, jnp.abs(z) * 2, z > 0), dimension=1, num_keys=num_keys)

    check(fun, ROWS * 3, SIZES, few("i4"), few("f4"), lambda rng, s: rng.standard_normal(s).astype("f"))


def test_keys_of_many_bytes():
    with jax.enable_x64(True):
        check(lambda x, y: lax.sort((x, y), 0, num_keys=2), ROWS * 2, SIZES, few("f8"), few("f8"))
        check(lambda x, y, z: lax.sort((x, y, z), 1, num_keys=2), ROWS * 3, SIZES, few("i4"), few("f8"), few("f4"))


def test_sorting_reads_what_is_computed_on_the_way(agrees):
    agrees(lambda x: jnp.sort(jnp.sin(x) * 2, 1)[:, ::2] + 1, ["a, n"], SIZES[:3])
    agrees(lambda x: jnp.median(x, 1), ["a, n"], SIZES[:3])
    agrees(lambda x: jnp.lexsort((x[:, 0], x[:, 1] > 0)), ["n, 2"], [{"n": n} for n in (0, 1, 9, 70)])


# -- the largest ones


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8"])
def test_top_k(dtype):
    check(
        lambda x: lax.top_k(x, 3),
        ["a, n"],
        [{"a": 3, "n": 5}, {"a": 1, "n": 3}, {"a": 2, "n": 500}, {"a": 0, "n": 4}],
        few(dtype),
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_top_k_of_an_axis(axis):
    check(lambda x: lax.top_k(x, 2, axis=axis), ["a, n, 3"], [{"a": 3, "n": 5}, {"a": 2, "n": 70}], few("f4"))


def test_no_and_all_of_the_largest():
    check(lambda x: [lax.top_k(x, 0), lax.top_k(x, x.shape[0])], ["n"], [{"n": n} for n in (1, 9, 300)], few("f4"))


@pytest.mark.parametrize("aggregate", [True, False])
def test_approx_top_k(agrees, aggregate):
    shape, sizes = ("a, n", SIZES[:1] + SIZES[2:3]) if aggregate else ("a, 40", SIZES[:3])
    agrees(lambda x: lax.approx_max_k(x, 3, aggregate_to_topk=aggregate), [shape], sizes)
    agrees(lambda x: lax.approx_min_k(x, 2, reduction_dimension=1, aggregate_to_topk=aggregate), [shape], sizes)


# -- derivatives


def test_gradients(agrees):
    sizes = [{"a": 3, "n": 5}, {"a": 1, "n": 4}, {"a": 2, "n": 70}]
    agrees(jax.grad(lambda x: jnp.sum(jnp.sort(x, 1) * jnp.arange(x.shape[1]))), ["a, n"], sizes)
    agrees(jax.grad(lambda x: jnp.sum(lax.top_k(x, 3)[0] ** 2)), ["a, n"], sizes)


def test_sorts_of_several_dtypes_in_one_program(agrees):
    f = lambda x, y: (jnp.sort(x > 0, 1), jnp.sort(y, 0), jnp.sort(x.astype(np.float16)))
    agrees(f, ["a, n", "a, n"], [{"a": 3, "n": 5}, {"a": 0, "n": 2}, {"a": 2, "n": 300}])
