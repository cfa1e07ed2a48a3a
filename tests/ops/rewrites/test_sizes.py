"""Sizes as values: exact in floats, and JAX's wrapping or OverflowError in integers; no wrapped value where JAX refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2

LARGE = (300, 70_000, 2**31 - 1, 2**31, 3 * 10**9 + 1)
PROGRAMS = {
    "mean": lambda x: lax.div(jnp.float32(1), lax.convert_element_type(x.shape[0] * x.shape[0], np.float32)),
    "f32": lambda x: jnp.asarray(x.shape[0], np.float32),
    "f16": lambda x: jnp.asarray(x.shape[0], np.float16),
    "bf16": lambda x: jnp.asarray(x.shape[0], jnp.bfloat16),
    "list": lambda x: jnp.array([x.shape[0], 1.0]),
    "int32": lambda x: jnp.asarray(x.shape[0]),
    "product": lambda x: x.shape[0] * x.shape[0] + jnp.zeros(3, np.int32),
    "negative": lambda x: jnp.asarray(-x.shape[0]),
    "int8": lambda x: jnp.asarray(x.shape[0], np.int8),
    "uint32": lambda x: jnp.asarray(x.shape[0], np.uint32),
    "negative uint32": lambda x: jnp.asarray(-x.shape[0], np.uint32),
    "full": lambda x: jnp.full(3, x.shape[0], np.float32),
    "full int8": lambda x: jnp.full(3, x.shape[0], np.int8),
    "result": lambda x: x.shape[0] * x.shape[0],
    "branch": lambda x: lax.cond(x.sum() > 0, lambda: jnp.asarray(x.shape[0]), lambda: jnp.asarray(1)),
    "scan": lambda x: lax.scan(lambda c, _: (c + jnp.asarray(x.shape[0], np.float32), None), 0.0, None, length=2)[0],
    "remainder": lambda x: jnp.arange(5) % x.shape[0],
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("name", PROGRAMS)
def test_as_jax_has_it(name):
    f = PROGRAMS[name]
    g = sod2.jit(f, shapes=("n, 0",))
    for n in (3, *LARGE, 5):
        x = np.empty((n, 0), np.float32)
        try:
            wanted = jax.jit(f)(x)
        except OverflowError:
            with pytest.raises(OverflowError, match="does not fit"):
                g(x)
        else:
            got = g(x)
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
    assert g.cache_info().compiles == (name != "negative uint32")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_arithmetic_wraps(dtype):
    f = lambda x, y: (y * x.shape[0], y - x.shape[0], y < x.shape[0])
    g, y = sod2.jit(f, shapes=("n, 0", None)), np.arange(3).astype(dtype)
    for n in (3, 300, 70_000):
        x = np.empty((n, 0), np.float32)
        jax.tree.map(np.testing.assert_array_equal, g(x, y), jax.jit(f)(x, y))
    assert g.cache_info().compiles == 1


def test_complex_and_64_bits():
    g = sod2.jit(lambda x: jnp.ones(2, np.complex64) * x.shape[0], shapes=("n, 0",))
    np.testing.assert_array_equal(g(np.empty((70_000, 0), np.float32)), np.full(2, 70_000, np.complex64))
    with jax.enable_x64(True):
        f = lambda x: (jnp.asarray(x.shape[0] * x.shape[0]), jnp.asarray(x.shape[0], np.float64) / 3)
        h = sod2.jit(f, shapes=("n, 0",))
        for n in (3, 3 * 10**9):
            x = np.empty((n, 0), np.float32)
            jax.tree.map(np.testing.assert_array_equal, h(x), jax.jit(f)(x))
        with pytest.raises(OverflowError, match="63 bits"):
            h(np.empty((4 * 10**9, 0), np.float32))


def test_without_sizes_at_hand():
    (n,) = jax.export.symbolic_shape("n")
    struct = jax.ShapeDtypeStruct((n, 0), np.float32)
    compiled = sod2.jit(lambda x: jnp.asarray(x.shape[0] * 2)).lower(struct).compile()
    assert compiled(np.empty((5, 0), np.float32)) == 10
    with pytest.raises(OverflowError, match="used as int32"):
        compiled(np.empty((2**30, 0), np.float32))
