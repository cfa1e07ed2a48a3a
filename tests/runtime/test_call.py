"""What a call does with its memory: outputs over donated arguments, where nobody else holds them."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sod2jax.binding import Function, Version, as_array

SHAPE = (512, 256)  # large enough for DLPack


@pytest.fixture
def add(make):
    """`add(donated, donor)`: a Function of x + 1 whose output may lie over its argument."""

    def function(donated=(0,), donor=0):
        program = make(donor=donor)

        def miss(args, kwargs, reasons, key):
            f.add(Version(program, key, kept=[0], out_tree=jax.tree.structure(0), out_weak_types=[False], donated=list(donated)))

        f = Function(miss, None, as_array)
        return f

    return function


def address(x):
    return x.unsafe_buffer_pointer()


def test_a_donated_result_is_written_over(add):
    f, g = add(), add(donated=(), donor=None)
    for k in range(5):
        x = g(jnp.full(SHAPE, float(k)))
        kept = address(x)
        y = f(x)
        assert x.is_deleted()
        assert address(y) == kept
        np.testing.assert_array_equal(np.asarray(y), k + 2)


def test_what_was_not_donated_stays(add):
    f = add(donated=())
    x = add()(jnp.zeros(SHAPE))
    y = f(x)
    assert address(x) != address(y)
    np.testing.assert_array_equal(np.asarray(x), 1)
    np.testing.assert_array_equal(np.asarray(y), 2)


def test_memory_that_others_hold_is_left_alone(add):
    f = add()
    x = f(jnp.zeros(SHAPE))
    for hold in (np.asarray, np.from_dlpack, jnp.from_dlpack):
        view, kept = hold(x), address(x)
        y = f(x)
        assert x.is_deleted()
        assert address(y) != kept
        np.testing.assert_array_equal(np.asarray(y), np.asarray(view) + 1)
        x = y
        del view
    before = np.array(x)
    pending = [jax.jit(lambda a: (a @ a.T).sum())(x) for _ in range(3)]
    y = f(x)
    np.testing.assert_array_equal(np.asarray(y), before + 1)
    np.testing.assert_allclose(pending, (before @ before.T).sum(), rtol=1e-4)


def test_memory_of_others_is_left_alone(add):
    f = add()
    for x in (jnp.ones(SHAPE), jax.jit(lambda a: a * 1)(jnp.ones(SHAPE)), jnp.ones((3, 3)), f(jnp.zeros((3, 3)))):
        kept, before = address(x), np.array(x)
        y = f(x)
        assert x.is_deleted()
        assert address(y) != kept or before.size < 100
        np.testing.assert_array_equal(np.asarray(y), before + 1)
    np.testing.assert_array_equal(np.asarray(f(np.ones(SHAPE, np.float32))), 2)


def test_xla_may_use_and_donate_what_was_written_over(add):
    f = add()
    x = f(f(jnp.zeros(SHAPE)))
    y = jax.jit(lambda a: a * 2, donate_argnums=0)(x)
    np.testing.assert_array_equal(np.asarray(f(y)), 5)


def test_many_donations_keep_the_memory_small(add):
    f = add()
    x = f(jnp.zeros(SHAPE))
    addresses = set()
    for k in range(50):
        x = f(x)
        addresses.add(address(x))
        if k % 10 == 9:
            gc.collect()
    assert len(addresses) == 1
    np.testing.assert_array_equal(np.asarray(x), 51)
