"""Errors that only symbolic sizes raise, and that the traced function catches: it gets numbers, and JAX's result."""

import contextlib
import math
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax.errors import StaticSizeWarning


def padded(n):
    return np.pad([1, 2], (0, n))


SWALLOWED = {
    "np.pad": lambda x, n: x.sum() + padded(n),
    "an index of sizes": lambda x, n: x.sum() + np.arange(200)[[n, 0]],
    "np.linalg": lambda x, n: x * np.linalg.det([[n, 1], [1, 2]]),
    "np.angle": lambda x, n: x * np.angle(n),
    "an array of sizes": lambda x, n: x.sum() * jnp.asarray(np.array([n, 2.5])),
    "an operand of objects": lambda x, n: x.sum() * jnp.where(jnp.asarray([True, False]), np.full(2, n), 0),
    "a function in C": lambda x, n: x * math.asin(n / 9),
    "a slice by a power": lambda x, n: x[: 2**n - 30],
}


@pytest.mark.filterwarnings("ignore::sod2jax.errors.StaticSizeWarning")
@pytest.mark.parametrize("name", SWALLOWED)
@pytest.mark.parametrize("sizes", [(5, 1, 0, 7, 33), (33, 5, 1)])
def test_the_function_sees_numbers(name, sizes):
    def fun(x):
        try:
            return SWALLOWED[name](x, x.shape[0])
        except Exception:
            return x * 2

    compiled = sod2.jit(fun, shapes="n")
    for n in sizes:
        x = np.arange(1.0, n + 1, dtype=np.float32)
        np.testing.assert_allclose(compiled(x), jax.jit(fun)(x), rtol=1e-5, err_msg=str(n))


def test_suppress_and_functions_that_are_called():
    def inner(n):
        with contextlib.suppress(TypeError):
            return padded(n).sum()
        return 0

    compiled = sod2.jit(lambda x: x * int(inner(x.shape[0])), shapes="n")
    with pytest.warns(StaticSizeWarning):
        np.testing.assert_array_equal(compiled(np.ones(4, np.float32)), 3 * np.ones(4))


def test_an_error_with_another_cause_costs_nothing():
    def fun(x):
        try:
            return x * {}["missing"]
        except KeyError:
            pass
        try:
            raise ValueError(x.shape[0])
        except ValueError:
            return x + 1

    compiled = sod2.jit(fun, shapes="n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (3, 4, 0):
            np.testing.assert_array_equal(compiled(np.ones(n, np.float32)), 2 * np.ones(n))
    assert compiled.cache_info().compiles == 1


@pytest.mark.filterwarnings("ignore::sod2jax.errors.StaticSizeWarning")
@pytest.mark.parametrize(
    "refused",
    [
        lambda x: jnp.asarray(np.array(["a", None], object)),
        lambda x: jnp.sum(np.array([x.shape, "a"], object)),
        lambda x: np.sin("a"),
        lambda x: np.ones(3)[[1.5]],
        lambda x: x.no_such_attribute,
        lambda x: len(5),
    ],
)
def test_an_error_that_numbers_raise_too_is_still_caught(refused):
    def fun(x):
        try:
            return refused(x)
        except (TypeError, IndexError, AttributeError):
            return x + 1

    compiled = sod2.jit(fun, shapes="n")
    for n in (3, 4, 0):
        np.testing.assert_array_equal(compiled(np.ones(n, np.float32)), 2 * np.ones(n))


def test_a_debugger_stays(monkeypatch):
    seen = []

    def tracer(frame, event, arg):
        seen.append(event)

    def fun(x):
        try:
            return x + 1
        except TypeError:
            return x

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        sod2.jit(fun, shapes="n")(np.ones(3, np.float32))
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert "call" in seen
