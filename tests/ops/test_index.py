"""Reads and writes at places given by values: in bounds, out of bounds, negative; nothing outside of a buffer is ever touched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ir.program import Loop, walk

SIZES = [{"n": 5, "k": 3}, {"n": 1, "k": 1}, {"n": 64, "k": 33}, {"n": 7, "k": 0}]


def wild(rng, shape):
    return rng.integers(-70, 70, shape, dtype=np.int32)


def normal(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("mode", ["fill", "clip", "wrap", None])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_take(agrees, mode, axis):
    agrees(lambda x, i: jnp.take(x, i, axis=axis, mode=mode), ["n, 9", "k"], SIZES, [normal, wild])


def test_embedding(agrees):
    agrees(lambda t, i: t[i] * 2, ["11, 48", "n, k"], SIZES, [normal, wild])


def test_integer_fill_values(agrees):
    agrees(lambda x, i: jnp.take(x, i, mode="fill"), ["n", "k"], SIZES, [wild, wild])


def test_batched(agrees):
    agrees(lambda x, i: jnp.take_along_axis(x, i, 1), ["n, 9", "n, k"], SIZES, [normal, wild])


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "uint32", "float16", "bfloat16", "float64", "complex64"])
def test_what_lies_outside(dtype):
    """Each dtype has its own value for it."""
    with jax.enable_x64(True):
        x, i = np.arange(1, 7).astype(jnp.dtype(dtype)).reshape(3, 2), np.array([0, 2, 3, -3, -4, 99])
        for fun in (
            lambda x, i: jnp.take(x, i, axis=0),
            lambda x, i: x.at[i, 1].get(mode="fill", fill_value=1),
            lambda x, i: jnp.take(x, i, axis=1, mode="clip"),
        ):
            found, want = (np.asarray(run(fun)(x, i)).astype(complex) for run in (sod2.jit, jax.jit))
            np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("mode", ["fill", "clip"])
def test_index_dtypes(dtype, mode):
    with jax.enable_x64(True):
        largest = np.iinfo(dtype).max
        x, i = np.arange(300.0), np.array([0, 5, largest, largest - 1, 9], dtype)
        numbers = lax.GatherDimensionNumbers((), (0,), (0,))
        fun = lambda x, i: lax.gather(x, i[:, None], numbers, (1,), mode=mode)
        if dtype == "uint64" and mode == "clip":
            want = x[np.minimum(i, 299).astype(int)]
        else:
            want = jax.jit(fun)(x, i)
        np.testing.assert_array_equal(sod2.jit(fun)(x, i), want)


NUMBERS = lax.GatherDimensionNumbers


@pytest.mark.parametrize(
    ("shape", "places", "sizes", "numbers"),
    [
        ((5,), (2, 1), (1,), NUMBERS((), (0,), (0,))),
        ((10,), (3, 1), (2,), NUMBERS((1,), (), (0,))),
        ((10, 5), (3, 1), (1, 3), NUMBERS((1,), (0,), (0,))),
        ((10, 6), (2, 2), (1, 3), NUMBERS((1,), (0,), (0, 1))),
        ((10, 6), (2, 4, 2), (5, 3), NUMBERS((0, 3), (), (1, 0))),
        ((2, 5), (2, 2, 1), (1, 1), NUMBERS((), (1,), (1,), (0,), (0,))),
        ((2, 3, 10), (3, 2, 1), (1, 1, 5), NUMBERS((2,), (), (2,), (0, 1), (1, 0))),
        ((4, 5), (3, 0), (4, 5), NUMBERS((1, 2), (), ())),
        ((4, 5), (0, 1), (1, 5), NUMBERS((1,), (0,), (0,))),
        ((4, 0), (3, 1), (1, 0), NUMBERS((1,), (0,), (0,))),
        ((4, 0), (3, 2), (0, 0), NUMBERS((1, 2), (), (0, 1))),
    ],
)
@pytest.mark.parametrize("mode", ["fill", "clip"])
def test_dimension_numbers(shape, places, sizes, numbers, mode):
    rng = np.random.default_rng(1)
    x, i = normal(rng, shape), rng.integers(-3, 12, places, dtype=np.int32)
    fun = lambda x, i: lax.gather(x, i, numbers, sizes, mode=mode)
    np.testing.assert_array_equal(sod2.jit(fun)(x, i), jax.jit(fun)(x, i))


def test_broken_promises_read_something(agrees):
    fun = lambda x, i: x.at[i].get(mode="promise_in_bounds").sum() * 0 + x[0, 0]
    agrees(fun, ["n, 9", "k"], SIZES[:3], [lambda rng, shape: np.ones(shape, np.float32), wild])


def at(rng, shape):
    return rng.integers(-9, 70, shape, dtype=np.int32)


def test_dynamic_slices_clamp(agrees):
    agrees(lambda x, i: lax.dynamic_slice(x, (i, 0), (1, 4)), ["n, 9", ""], SIZES[:3], [normal, at])
    agrees(lambda x, u, i: lax.dynamic_update_slice(x, u, (i, i)), ["n, 9", "1, 4", ""], SIZES[:3], [normal, normal, at])


def test_dynamic_slices_of_symbolic_size(agrees):
    sizes = [{"n": n, "k": k} for n, k in ((5, 3), (4, 4), (64, 1), (3, 0), (0, 0))]
    agrees(lambda x, u, i: lax.dynamic_slice(x, (i, i), u.shape), ["n, 9", "k, 2", ""], sizes, [normal, normal, at])
    agrees(lambda x, u, i: lax.dynamic_update_slice(x, u, (i, i)), ["n, 9", "k, 2", ""], sizes, [normal, normal, at])


def test_batched_slices(agrees):
    agrees(jax.vmap(lambda x, i: lax.dynamic_slice(x, (i,), (3,))), ["n, 9", "n"], SIZES, [normal, at])
    agrees(jax.vmap(lambda x, u, i: lax.dynamic_update_slice(x, u, (i,))), ["n, 9", "n, 4", "n"], SIZES, [normal, normal, at])


@pytest.mark.parametrize("dtype", ["bool", "int8", "bfloat16", "complex64"])
def test_updates_of_all_dtypes(dtype):
    x, u = np.zeros((4, 5), jnp.dtype(dtype)), np.ones((2, 3), jnp.dtype(dtype))
    fun = lambda x, u, i: lax.dynamic_update_slice(x, u, (i, 1))
    for i in (0, 2, 9):
        np.testing.assert_array_equal(np.asarray(sod2.jit(fun)(x, u, i)), np.asarray(jax.jit(fun)(x, u, i)))


def test_a_cache_in_a_loop_is_updated_in_place():
    """A step costs what the window costs: nothing of the size of the cache is computed or copied in the loop."""

    def decode(cache, start, tokens):
        def step(carry, token):
            cache, at = carry
            cache = lax.dynamic_update_slice(cache, token[None] * 2, (at, 0))
            return (cache, at + 1), cache[at].sum()

        return lax.scan(step, (cache, start), tokens)

    arguments = np.zeros((64, 16), np.float32), np.int32(3), normal(np.random.default_rng(0), (9, 16))
    jitted = sod2.jit(decode, shapes=["m, 16", None, "n, 16"])
    for found, want in zip(jax.tree.leaves(jitted(*arguments)), jax.tree.leaves(jax.jit(decode)(*arguments)), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5)
    program = jitted.lower(*arguments).compile().program
    (loop,) = (step for step in walk(program.steps) if isinstance(step, Loop))
    assert not loop.swaps
    assert all("m" not in step.work.free for step in loop.body)


BY_A_SIZE = {
    "last": lambda x: x[x.shape[0] - 1],
    "first from the end": lambda x: x[-x.shape[0]],
    "beyond": lambda x: x[x.shape[0]],
    "before": lambda x: x[-x.shape[0] - 1],
    "column": lambda x: x[:, x.shape[1] // 2],
    "element": lambda x: x[x.shape[0] - 1, x.shape[1] - 1],
    "with a slice": lambda x: x[x.shape[0] - 1, ::2],
    "with an array": lambda x: x[x.shape[0] // 2, jnp.array([0, 1])],
    "set": lambda x: x.at[x.shape[0] - 1].set(5.0),
    "set beyond": lambda x: x.at[x.shape[0]].set(5.0),
    "fill": lambda x: x.at[x.shape[0]].get(mode="fill", fill_value=7.0),
    "dynamic_index": lambda x: lax.dynamic_index_in_dim(x, -x.shape[0]),
    "dynamic_update_index": lambda x: lax.dynamic_update_index_in_dim(x, jnp.zeros(x.shape[1]), x.shape[0] - 1, 0),
    "take": lambda x: jnp.take(x, x.shape[0], axis=0),
    "in scan": lambda x: lax.scan(lambda c, r: (c + r[r.shape[0] - 1], r[-r.shape[0]]), 0.0, x),
    "gradient": jax.grad(lambda x: (x[x.shape[0] - 1] ** 2).sum()),
}


@pytest.mark.parametrize("f", BY_A_SIZE.values(), ids=BY_A_SIZE)
def test_an_index_may_be_a_size(f):
    g = sod2.jit(f, shapes=("n, m",))
    for n, m in ((3, 4), (5, 2), (1, 3), (4, 4)):
        x = np.arange(n * m, dtype=np.float32).reshape(n, m)
        jax.tree.map(np.testing.assert_array_equal, g(x), jax.jit(f)(x))
    assert g.cache_info().compiles == 1


def test_the_last_of_nothing():
    g = sod2.jit(lambda x: x[x.shape[0] - 1], shapes=("n, 2",))
    g(np.ones((3, 2), np.float32))
    with pytest.raises(IndexError, match="out of bounds"):
        g(np.ones((0, 2), np.float32))
