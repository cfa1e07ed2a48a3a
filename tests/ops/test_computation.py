"""Which computations are folds, and folds that keep their running values in the outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from sod2jax.ops.computation import FUNCTIONS, complex_start, monoid


def closed(function, dtype):
    scalar = jax.ShapeDtypeStruct((), dtype)
    return jax.make_jaxpr(function)(scalar, scalar)


@pytest.mark.parametrize("fold", FUNCTIONS)
def test_monoids_are_recognised(fold):
    assert monoid(closed(FUNCTIONS[fold], np.int32)) == fold
    assert monoid(closed(lambda a, c: FUNCTIONS[fold](c, a), np.int32)) == fold


@pytest.mark.parametrize(
    "function",
    [lax.sub, lambda a, c: a + a, lambda a, c: a + 1, lambda a, c: a, lambda a, c: a + c + 1, lambda a, c: lax.max(a, c) + 0 * a],
)
def test_other_computations_are_none(function):
    assert monoid(closed(function, np.float32)) is None


def test_complex_numbers_have_accumulators_for_sums_only():
    assert monoid(closed(lax.add, np.complex64)) == "add"
    assert complex_start("add", np.dtype(np.complex64)) is None
    assert monoid(closed(lax.mul, np.complex64)) is None
    assert complex_start("mul", np.dtype(np.complex64)) == 1


def test_running_values_lie_in_the_outputs_in_parts_of_rows(agrees):
    def mean_and_count(a, c):
        n = a[1] + c[1]
        return (a[0] * a[1] + c[0] * c[1]) / jnp.maximum(n, 1), n

    def fun(x):
        return lax.reduce((x, jnp.ones_like(x)), (0.0, 0.0), mean_and_count, (1,))

    agrees(
        fun, ["a, b, c"], [{"a": a, "b": b, "c": c} for a, b, c in ((2, 9, 700), (1, 1, 256), (3, 0, 5), (0, 2, 2), (1, 3, 0))]
    )
