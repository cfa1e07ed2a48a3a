"""What counts as a difference, and how it is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sod2jax.verification.compare import difference, tolerance


def compare(found, expected, rtol=1e-4, atol=None):
    return difference(jax.tree.map(jnp.asarray, found), jax.tree.map(jnp.asarray, expected), rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (np.array([1.0, 2.0]), np.array([1.0, 2.0])),
        (np.array([1.0, np.nan, np.inf]), np.array([1.00001, np.nan, np.inf])),
        (np.array([1e-3, 100.0]), np.array([2e-3, 100.0])),  # small beside the largest: rounding of what cancels
        (np.array([0.0]), np.array([-0.0])),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        ({"a": [1, 2]}, {"a": [1, 2]}),
        (np.array([True]), np.array([True])),
        (np.array([1 + 2j]), np.array([1 + 2j])),
    ],
)
def test_equal_enough(found, expected):
    assert compare(found, expected) is None


@pytest.mark.parametrize(
    ("found", "expected", "path", "message"),
    [
        (np.array([1.0, 2.1, 2.01]), np.array([1.0, 2.0, 2.0]), "", "2 of 3 elements differ, most at [1]: 2.1"),
        (np.array([1.0, 0.0]), np.array([1.0, np.nan]), "", "at [1]: 0.0, and should be nan"),
        (np.array([np.inf]), np.array([-np.inf]), "", "the value differs at [0]: inf"),
        ({"a": np.int32(3)}, {"a": np.int32(4)}, "['a']", "the value differs: 3, and should be 4"),
        (np.zeros(3), np.zeros(4), "", "the shape is (3,), and should be (4,)"),
        (np.zeros(3), np.zeros(3, bool), "", "the dtype is float32, and should be bool"),
        ((np.zeros(3),), np.zeros(3), "", "the result is the pytree PyTreeDef((*,))"),
        (np.array([1 + 2j]), np.array([1 + 3j]), "", "the value differs at [0]"),
    ],
)
def test_differences(found, expected, path, message):
    d = compare(found, expected)
    assert d.path == path
    assert message in d.message


def test_weak_types_differ():
    d = difference(jnp.float32(1), jax.jit(lambda x: x)(1.0), rtol=1e-4)
    assert d.message == "the weak type is False, and should be True"


def test_explicit_tolerances():
    assert compare([1.0, 100.0], [1.1, 100.0], atol=0.0) is not None
    assert compare([1.0, 100.0], [1.1, 100.0], atol=0.2) is None
    assert compare([1.0], [1.1], rtol=0.2) is None


def test_the_coarsest_float_decides():
    assert tolerance([np.float32, np.int8]) == 1e-4
    assert tolerance([np.float64]) == 1e-9
    assert tolerance([np.float32, jnp.bfloat16]) == 2e-2
    assert tolerance([np.complex64]) == 1e-4
    assert tolerance([]) == 1e-4
