"""Scatters against JAX: every place an index can name, duplicates in order, all combiners and dtypes; in place."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.errors import UnsupportedError

SIZES = [{"n": 7, "k": 5}, {"n": 1, "k": 1}, {"n": 64, "k": 133}, {"n": 9, "k": 0}]


def wild(rng, shape):
    return rng.integers(-70, 70, shape, dtype=np.int32)


def normal(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


def of(dtype):
    """Small numbers, so that integers and halves have work to do."""

    def make(rng, shape):
        x = rng.integers(-9, 10, shape)
        return (x + 1j * rng.integers(-9, 10, shape) if np.dtype(dtype).kind == "c" else x % 10).astype(dtype)

    return make


def exact(fun, *arguments, **options):
    """The same bits as JAX."""
    found, expected = sod2.jit(fun, **options)(*arguments), jax.jit(fun)(*arguments)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


METHODS = ("set", "add", "mul", "min", "max", "subtract")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", ["drop", "clip", "promise_in_bounds"])
def test_rows(agrees, method, mode):
    fun = lambda x, i, u: getattr(x.at[i], method)(u, mode=mode)
    agrees(fun, ["n, 33", "k", "k, 33"], SIZES, [normal, wild, normal], rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_elements_columns_and_windows(agrees, method):
    def put(x, i, u):
        combined = lambda *index: getattr(x.at[index], method)
        return combined(i, i)(u[:, 0]), combined(slice(None), i)(u[:, 0]), combined(slice(0, 1), slice(2, 5))(1.5)

    agrees(put, ["n, 9", "k", "k, 9"], SIZES[:3], [normal, wild, normal], rtol=1e-4)


NUMBERS = ("int8", "uint16", "int32", "uint32", "float16", "bfloat16", "float32", "complex64")


@pytest.mark.parametrize(("dtype", "method"), [*product(NUMBERS, METHODS), *product(["bool"], ["set", "min", "max"])])
def test_dtypes_with_duplicates_in_order(dtype, method):
    rng, dtype = np.random.default_rng(0), jnp.dtype(dtype)
    x, i, u = of(dtype)(rng, (5, 3)), rng.integers(-5, 5, 40), of(dtype)(rng, (40, 3))
    exact(lambda x, i, u: getattr(x.at[i], method)(u), x, i, u)


def test_each_sum_is_rounded():
    exact(lambda x, i, u: x.at[i].add(u), jnp.bfloat16([256, 1]), np.zeros(300, int), jnp.ones(300, jnp.bfloat16))


def test_nan_and_signed_zeros():
    x, u = np.float32([np.nan, -0.0, 0.0, 1]), np.float32([1, 0.0, -0.0, np.nan])
    for method in ("min", "max", "add", "set"):
        exact(lambda x, u, m=method: jnp.signbit(getattr(x.at[jnp.arange(4)], m)(u)), x, u)
        exact(lambda x, u, m=method: getattr(x.at[jnp.arange(4)], m)(u), x, u)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint32", "int64", "uint64"])
def test_index_dtypes(dtype):
    with jax.enable_x64(True):
        places = np.array([3, 0, 255, -1, 2**63 + 5, 6], object) % 2 ** (8 * np.dtype(dtype).itemsize)
        places = places.astype(f"u{np.dtype(dtype).itemsize}").view(dtype)[:, None]
        numbers = lax.ScatterDimensionNumbers((), (0,), (0,))
        for mode in (None, "clip"):
            fun = lambda x, i, m=mode: lax.scatter_add(x, i, jnp.arange(1.0, 7), numbers, mode=m)
            exact(fun, np.zeros(7), places)


AXES = lax.ScatterDimensionNumbers


@pytest.mark.parametrize(
    ("shape", "places", "updates", "numbers"),
    [
        ((5,), (2, 1), (2,), AXES((), (0,), (0,))),
        ((10,), (4, 1), (4, 3), AXES((1,), (), (0,))),
        ((10, 5), (3, 1), (3, 4), AXES((1,), (0,), (0,))),
        ((10, 5), (3, 2), (2, 3, 4), AXES((0, 2), (), (0, 1))),
        ((10, 5), (3, 2), (3, 2, 4), AXES((1, 2), (), (1, 0))),
        ((6, 4, 5), (3, 2, 1), (4, 3, 5, 2), AXES((0, 2), (0,), (0,))),
        ((3, 10), (3, 4, 1), (3, 4, 2), AXES((2,), (), (1,), (0,), (0,))),
        ((2, 3, 10), (3, 2, 1), (3, 2, 4), AXES((2,), (), (2,), (0, 1), (1, 0))),
        ((2, 3, 10), (3, 2, 4, 1), (3, 2, 4), AXES((), (2,), (2,), (0, 1), (1, 0))),
        ((4, 5), (3, 0), (3, 4, 5), AXES((1, 2), (), ())),
        ((4, 5), (0, 1), (0, 5), AXES((1,), (0,), (0,))),
        ((4, 5), (3, 1), (3, 0), AXES((1,), (0,), (0,))),
        ((4, 0), (3, 1), (3, 0), AXES((1,), (0,), (0,))),
        ((), (0,), (), AXES((), (), ())),
    ],
)
@pytest.mark.parametrize("mode", ["drop", "clip"])
@pytest.mark.parametrize("scatter", [lax.scatter, lax.scatter_add, lax.scatter_max])
def test_dimension_numbers(shape, places, updates, numbers, mode, scatter):
    rng = np.random.default_rng(1)
    x, u = normal(rng, shape), normal(rng, updates)
    i = rng.integers(-3, 12, places, dtype=np.int32)
    exact(lambda x, i, u: scatter(x, i, u, numbers, mode=mode), x, i, u)


def test_long_windows_in_parts(agrees):
    agrees(lambda x, i, u: x.at[i].add(u), ["5, n", "k", "k, n"], [{"n": s, "k": 9} for s in (1, 127, 128, 129, 1000)],
           [normal, wild, normal])  # fmt: skip


def test_any_function_of_scalars():
    x, i = np.float32([1, 2, 3]), np.array([0, 2, 0])
    exact(lambda x, i: x.at[i].apply(lambda y: jax.nn.relu(2 - y) * 3), x, i)
    with pytest.raises(UnsupportedError, match="in a function of scalars"):
        sod2.jit(lambda x, i: x.at[i].apply(lambda y: jnp.ones((3, 3)).at[0].set(y).sum()))(x, i)


def steps(fun, *arguments, **options):
    """The kernels of a program, by their eqns."""
    return [step.source for step in sod2.jit(fun, **options).lower(*arguments).compile().program.steps]


def test_in_place():
    x, i, u = np.zeros((4, 3), np.float32), np.array([1]), np.ones((1, 3), np.float32)
    put = lambda x, i, u: x.at[i].set(u)
    assert [s.split()[-1] for s in steps(put, x, i, u)] == ["copy", "scatter"]  # the argument is the caller's
    assert [s.split()[-1] for s in steps(lambda x, i, u: put(put(x, i, u), i, u), x, i, u)] == ["copy", "scatter", "scatter"]
    both = lambda x, i, u: ((y := x + 1), put(y, i, u))
    assert [s.split()[-1] for s in steps(both, x, i, u)] == ["add", "copy", "scatter"]
    exact(lambda x, i, u: both(x, i, u)[0] + both(x, i, u)[1], x, i, u)


def test_reads_of_the_old_contents_come_first(agrees):
    def swapped(x, i):
        y = x * 2
        return y.at[i].set(y[::-1][: i.shape[0]] + 1)

    agrees(swapped, ["16, 9", "k"], [{"k": 1}, {"k": 5}, {"k": 16}], [normal, wild])


GRADIENTS = {
    "indexing": lambda x, i: x[i],
    "take": lambda x, i: jnp.take(x, i, axis=0),
    "clip": lambda x, i: jnp.take(x, i, axis=0, mode="clip"),
    "elements": lambda x, i: x[i, i],
    "along": lambda x, i: jnp.take_along_axis(x, i[:, None] % x.shape[0], 0),
    "slice": lambda x, i: lax.dynamic_slice(x, (i[0], i[1]), (1, 3)),
    "update": lambda x, i: lax.dynamic_update_slice(x, x[:1, :3] * 2, (i[0], i[1])),
    "set": lambda x, i: x.at[i].set(x[0]),
    "add": lambda x, i: x.at[i].add(x[0]),
    "mul": lambda x, i: x.at[i].mul(x[0], unique_indices=True),
    "segments": lambda x, i: jax.ops.segment_sum(jnp.tile(x[:1], (i.shape[0], 1)), i, 6),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(agrees, name):
    def gradient(x, i):
        return jax.grad(lambda x: (GRADIENTS[name](x, i) ** 2).sum())(x)

    def places(rng, shape):
        return rng.permutation(70)[: shape[0]].astype(np.int32) if name == "mul" else wild(rng, shape)

    agrees(
        gradient, ["n, 9", "k"], [{"n": 7, "k": 5}, {"n": 64, "k": 33}, {"n": 1, "k": 2}], [normal, places], rtol=1e-4, atol=1e-4
    )


def test_batched(agrees):
    agrees(jax.vmap(lambda x, i, u: x.at[i].add(u)), ["n, 9", "n, k", "n, k"], SIZES, [normal, wild, normal])
