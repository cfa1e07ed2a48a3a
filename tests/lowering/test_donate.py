"""Which output may take the memory of which donated input; that it does, and that results stay right when it cannot."""

import jax.numpy as jnp
import numpy as np
from jax import lax

import sod2jax as sod2
from sod2jax.ir.program import Extern

N = 1 << 17  # elements; only large blocks are taken over


def donors(f, *arguments, **more):
    p = sod2.jit(f, **more).lower(*arguments)._executable.program
    return [o.donor for o in p.outputs], p


def test_elementwise_updates_take_their_own():
    x = np.ones(N, np.float32)
    step = lambda p, m: (p - 0.1 * (0.9 * m + p), 0.9 * m + p)
    assert donors(step, x, x, donate_argnums=(0, 1))[0] == [0, 1]
    assert donors(step, x, x)[0] == [None, None]


def test_an_input_that_is_read_later_keeps_its_memory():
    x = np.ones(N, np.float32)
    assert donors(lambda x: jnp.cumsum(jnp.flip(x)) + x, x, donate_argnums=0)[0] == [0]  # read by the writing kernel itself
    assert donors(lambda x: (jnp.flip(x), jnp.cumsum(x)), x, donate_argnums=0)[0] != [0, None]


def test_other_sizes_and_dtypes_do_not_fit():
    x = np.ones(N, np.float32)
    assert donors(lambda x: (x[1:] * 2, x.astype(jnp.int32)), x, donate_argnums=0)[0] == [None, None]


def test_a_cache_is_updated_where_it_lies():
    def f(cache, row, at):
        return lax.dynamic_update_slice(cache, row, (at, 0))

    compiled = sod2.jit(f, donate_argnums=0, shapes=("n, 256", None, None))
    cache, row = jnp.zeros((1024, 256)), jnp.ones((1, 256))
    expected = np.zeros((1024, 256), np.float32)
    places = set()
    for i in range(5):
        cache = compiled(cache, row * i, np.int32(3 * i))
        expected[3 * i] = i
        places.add(cache.unsafe_buffer_pointer())
    np.testing.assert_array_equal(cache, expected)
    assert len(places) == 1
    program = compiled.lower(cache, row, np.int32(0))._executable.program
    assert any(isinstance(k, Extern) for k in program.kernels)


def test_memory_that_somebody_else_holds_is_left_alone():
    compiled = sod2.jit(lambda x: x + 1, donate_argnums=0)
    x = compiled(jnp.zeros(N))
    view = np.asarray(x)
    y = compiled(x)
    assert y.unsafe_buffer_pointer() != view.ctypes.data
    np.testing.assert_array_equal(view, 1)
    np.testing.assert_array_equal(y, 2)
