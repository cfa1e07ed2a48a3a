"""What is remembered of an argument from call to call: its shape, its address, what was prepared from it; and what is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax import _runtime


@pytest.fixture
def few_avals():
    """Shapes are forgotten after every eighth."""
    _runtime.set_most_avals(8)
    yield
    _runtime.set_most_avals(8192)


def test_the_shape_of_a_constant_argument_outlives_the_tables(few_avals):
    f = sod2.jit(lambda w, x: w.sum() + x.sum(), shapes=("k, m", "n"))
    g = sod2.jit(lambda x: x + 1, shapes="n, m")
    w = jnp.ones((4, 4))
    for size in range(40):
        for n in range(1, 20):
            g(np.empty((1 + size % 5, n), np.float32))  # others' shapes come and go
        assert float(f(w, np.ones(size, np.float32))) == 16 + size
        assert float(f(w, jnp.ones(size))) == 16 + size
    assert f.cache_info().compiles == 1


def test_more_shapes_in_one_call_than_the_tables_hold(few_avals):
    f = sod2.jit(lambda xs: sum(x.sum() for x in xs))
    for _ in range(3):
        xs = [np.ones(n, np.float32) for n in range(1, 24)]
        assert float(f(xs)) == sum(range(1, 24))
        assert float(f([jnp.asarray(x) for x in xs])) == sum(range(1, 24))


def test_shapes_of_two_ages_are_not_confused(few_avals):
    f = sod2.jit(lambda w, x: w[0] * x, shapes=("k", "n"))
    arrays = [jnp.asarray(np.full(k, k, np.float32)) for k in range(1, 20)]
    for _ in range(3):
        for k, w in enumerate(arrays, 1):
            np.testing.assert_array_equal(f(w, np.ones(3, np.float32)), np.full(3, k))
            np.testing.assert_array_equal(f(w, w), np.full(k, k * k))


def test_weights_that_another_library_changes_are_prepared_again():
    room = np.empty(64 * 64 + 16, np.float32)
    start = -room.ctypes.data // 4 % 16
    raw = room[start : start + 64 * 64].reshape(64, 64)
    raw[...] = 0
    imported, own, x = jnp.from_dlpack(raw), jnp.full((64, 64), 2.0), jnp.ones((5, 64))
    if imported.unsafe_buffer_pointer() != raw.ctypes.data:
        pytest.skip("JAX copied it")
    f = sod2.jit(lambda w, x: x @ w, shapes=(None, "n, 64"))
    for value in (1, 2, 3, 3, 4):
        raw[...] = value
        assert f(imported, x)[0, 0] == 64 * value
        assert f(own, x)[0, 0] == 128


def test_a_type_may_be_registered_after_it_was_refused():
    class Pair:
        def __init__(self, a, b):
            self.a, self.b = a, b

    f = sod2.jit(lambda p: p.a + p.b if isinstance(p, Pair) else p)
    f(jnp.ones(3))
    for _ in range(2):
        with pytest.raises(TypeError):
            f(Pair(jnp.ones(3), jnp.ones(3)))
    jax.tree_util.register_pytree_node(Pair, lambda p: ((p.a, p.b), None), lambda _, c: Pair(*c))
    np.testing.assert_array_equal(f(Pair(jnp.ones(3), jnp.ones(3))), 2)


@pytest.mark.parametrize("x", [True, 3, 2.5, 1j, np.float32(3), np.int8(2), np.arange(3), np.bool_(True)], ids=repr)
def test_leaves_are_jaxs(x):
    f, g = sod2.jit(lambda x: x + x), jax.jit(lambda x: x + x)
    for _ in range(2):
        got, wanted = f(x), g(x)
        assert (got.dtype, got.weak_type) == (wanted.dtype, wanted.weak_type)
        np.testing.assert_array_equal(got, wanted)
