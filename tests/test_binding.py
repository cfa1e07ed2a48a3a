"""What binding does in Python: arrays that the runtime can read, constants where vector loads like them, threads."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from sod2jax import binding, compat


@pytest.mark.parametrize("x", [3, 2.5, True, 1j, np.float32(2), np.arange(6).reshape(2, 3).T, jnp.ones((2, 3)).T], ids=str)
def test_as_array_is_jnp_asarray(x):
    y = binding.as_array(x)
    expected = jnp.asarray(x)
    assert (y.shape, y.dtype, y.weak_type) == (expected.shape, expected.dtype, jax.typeof(x).weak_type)
    assert compat.is_row_major(y)
    np.testing.assert_array_equal(np.asarray(y), np.asarray(x))


def test_as_array_refuses_what_is_none():
    for x in ("abc", object(), None, [1, 2]):
        with pytest.raises(TypeError):
            binding.as_array(x)


@pytest.mark.parametrize("dtype", ["float32", "bool", "bfloat16", "complex128", "int8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (5, 7)])
def test_constants_are_aligned(dtype, shape):
    constant = np.ones(shape, getattr(ml_dtypes, dtype, dtype))
    copy = binding.aligned(constant[::-1] if shape else constant)
    assert copy.ctypes.data % 64 == 0 or copy.size == 0
    assert copy.flags.c_contiguous
    assert copy.dtype == constant.dtype
    np.testing.assert_array_equal(copy, constant)


def test_trees_around_the_words_of_keys():
    key = jax.random.key(0)
    plain, mixed = jax.tree.structure({"a": 0, "b": (0,)}), jax.tree.structure({"a": 0, "b": (key,)})
    dtypes = [np.dtype(np.float32), key.dtype]
    assert binding.tree_of_words(plain, dtypes[:1] * 2) is plain
    assert binding.tree_of_words(mixed, dtypes) == compat.dispatch_registry.flatten({"a": 0, "b": (key,)})[1]
    assert binding.tree_of_results(plain, dtypes[:1] * 2) is plain
    built = binding.tree_of_results(mixed, dtypes).unflatten([1.5, jax.random.key_data(key)])
    assert built["a"] == 1.5
    assert built["b"][0] == key


def test_threads():
    count = binding.threads()
    try:
        binding.set_threads(3)
        assert binding.threads() == 3
    finally:
        binding.set_threads(0)
    assert binding.threads() == count
