"""Values for other sizes are of the example's dtype, range and scale, and a script can make them again."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from sod2jax.verification.values import call_text, draw, like


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int32", "int64", "uint64", "float32", "float16", "bfloat16", "float8_e4m3fn", "complex64"]
)
@pytest.mark.parametrize("shape", [(), (0, 3), (5, 7)])
def test_values_have_shape_and_dtype_and_are_reproducible(dtype, shape):
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x = draw(dtype, shape, 1)
    assert (x.shape, x.dtype) == (shape, dtype)
    np.testing.assert_array_equal(x, draw(dtype, shape, 1))


def test_integers_stay_within_the_example():
    example = np.array([3, 17, 5], np.int32)
    x = draw("int32", (1000,), 0, **like(example))
    assert (x.min(), x.max()) == (3, 17)
    assert (draw("int32", (9,), 0, **like(np.int32(4))) == 4).all()


def test_large_integers():
    example = np.array([0, 2**64 - 1], np.uint64)
    assert draw("uint64", (1000,), 0, **like(example)).max() > 2**60
    assert draw("int64", (1000,), 0, **like(np.array([-(2**63), 2**63 - 1]))).min() < -(2**60)


def test_floats_have_the_scale_of_the_example():
    example = np.random.default_rng(0).normal(3, 0.1, 1000).astype(np.float32)
    x = draw("float32", (1000,), 1, **like(example - 3))
    assert x.std() == pytest.approx(0.1, rel=0.2)
    assert (draw("float32", (1000,), 1, **like(np.abs(example)))).min() >= 0
    assert draw("float32", (1000,), 1, **like(np.float32(100))).std() > 50
    assert like(np.array([np.nan, np.inf])) == {}


def test_complex_and_booleans():
    assert draw("complex64", (1000,), 0, **like(np.array([100j, -100 + 3j]))).imag.std() > 10
    assert draw("bool", (1000,), 0, **like(np.array([True] * 9 + [False]))).mean() > 0.8
    assert draw("bool", (1000,), 0, **like(np.array([True]))).all()


def test_a_struct_has_no_values():
    assert like(jax.ShapeDtypeStruct((3,), jnp.int32)) == {}
    assert like(jnp.zeros((0,))) == {}


def test_special_values():
    x = draw("float32", (100,), 0, special=True)
    assert np.isnan(x).any() or np.isinf(x).any()
    assert np.isfinite(draw("float32", (100,), 0)).all()


def test_the_text_makes_the_same_values():
    keywords = {**like(np.array([1.0, 2.5])), "special": True}
    text = call_text(jnp.bfloat16, (3, 4), (0, 1), keywords)
    np.testing.assert_array_equal(eval(text), draw(jnp.bfloat16, (3, 4), (0, 1), **keywords))


def test_typed_keys():
    key = jax.random.key(0, impl="rbg")
    assert like(key) == {}
    made = draw(key.dtype, (2, 3), (1, 2))
    assert (made.shape, made.dtype) == ((2, 3), key.dtype)
    assert bool((eval(call_text(key.dtype, (2, 3), (1, 2), {})) == made).all())
