"""Traces that fail: which ones are tried again, what becomes a number then, and what the user is told."""

import math
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax.errors import CompileLimitError, StaticSizeWarning


def ones(*shape):
    return np.ones(shape, np.float32)


class Counted:
    """A function that counts how often it is traced."""

    def __init__(self, fun):
        self.fun, self.calls, self.__name__ = fun, 0, "counted"

    def __call__(self, *args):
        self.calls += 1
        return self.fun(*args)


def bad_mode(x):
    raise ValueError("no such mode")


def bad_shapes(x):
    return jnp.ones(3) + jnp.ones(4) + x


def bad_size(x):
    if x.shape[0] < 10:
        raise TypeError(f"at least 10 rows, got {x.shape[0] + 0!r}")
    return x


def bad_attribute(x):
    return x.no_such_method()


@pytest.mark.parametrize("fun", [bad_mode, bad_shapes, bad_size, bad_attribute])
def test_the_users_mistakes_come_at_once(fun):
    counted = Counted(fun)
    with pytest.raises((ValueError, TypeError, AttributeError)) as ours:
        sod2.jit(counted, shapes=("n",))(ones(5))
    assert counted.calls == 1
    with pytest.raises(ours.type):
        fun(jnp.ones(5))


def test_code_that_asks_for_the_type_of_a_size_gets_a_number():
    def strict(x):
        if not isinstance(x.shape[0], int):
            raise TypeError("sizes must be ints")
        return x * x.shape[0]

    f = sod2.jit(strict, shapes=("n",))
    with pytest.warns(StaticSizeWarning, match="sizes must be ints"):
        np.testing.assert_array_equal(f(ones(4)), 4 * ones(4))


def test_the_first_error_is_the_one_that_is_raised():
    def fails_twice(x):
        len_ = len(x.shape)
        if not isinstance(x.shape[0], int):
            raise TypeError("first")
        raise ValueError(f"second {len_}")

    with pytest.raises(TypeError, match="first"):
        sod2.jit(fails_twice, shapes=("n",))(ones(4))


def mean(x):
    return x.sum() / len(x)


def test_len_is_said_with_its_line_and_its_remedy():
    f = sod2.jit(mean, shapes=("n",), max_compiles=1)
    with pytest.warns(StaticSizeWarning, match=r"n was fixed to 5 because `len\(x\)` at .*test_retrace.py:\d+ \(mean\)") as said:
        f(ones(5))
    assert len(said) == 1
    assert said[0].filename.endswith("test_retrace.py")
    (version,) = f.cache_info().versions
    assert len(version.fixed) == 1
    assert "use x.shape[0]" in version.fixed[0]
    assert version.fixed[0] in str(f.cache_info())
    with pytest.raises(CompileLimitError, match=r"axis 0 of x makes n = 6; n was fixed to 5 because `len\(x\)` at") as limit:
        f(ones(6))
    assert "shapes=" not in str(limit.value)
    assert "Use x.shape[0]" in str(limit.value)


def test_the_reason_of_the_next_compilation_is_what_fixed_the_size():
    f = sod2.jit(mean, shapes=("n",))
    with pytest.warns(StaticSizeWarning):
        f(ones(5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(ones(6))  # said once for this line
    assert "n was fixed to 5 because `len(x)`" in f.cache_info().versions[1].why


def test_without_shapes_the_limit_says_how_to_give_them():
    f = sod2.jit(mean, max_compiles=2)
    f(ones(5))
    with pytest.warns(StaticSizeWarning, match="x_0 was fixed to 6"):
        f(ones(6))
    with pytest.raises(CompileLimitError, match="ive sizes that vary a name with shapes="):
        f(ones(7))


def test_only_the_size_that_is_needed_becomes_a_number():
    def unrolled(x):
        for _ in range(x.shape[1]):
            x = x + 1
        return x

    f = sod2.jit(unrolled, shapes=("n, m",))
    with pytest.warns(StaticSizeWarning, match=r"m was fixed to 2 because `range\(x.shape\[1\]\)`.*fori_loop"):
        f(ones(3, 2))
    f(ones(7, 2))
    assert f.cache_info().compiles == 1


def test_a_function_of_jax_that_needs_a_number_is_named():
    def unrolled(x):
        return jnp.broadcast_shapes((x.shape[0],), (math.prod([1]),))[0] * x + jnp.array([0] * x.shape[0])

    f = sod2.jit(unrolled, shapes=("n",))
    with pytest.warns(StaticSizeWarning, match=r"n was fixed to 3 because `\[0\] \* x.shape\[0\]`"):
        np.testing.assert_array_equal(f(ones(3)), 3 * ones(3))


def test_a_python_number_among_sizes_in_a_numpy_array():
    """NumPy keeps sizes as objects, so the numbers beside them lack what NumPy's have: no size is the error's object."""

    def fun(x):
        bounds = np.sort(np.r_[0, 2, x.shape[0]])
        return x.sum() * bounds[1].astype(np.float32)

    f = sod2.jit(fun, shapes=("n",))
    with pytest.warns(StaticSizeWarning):
        assert f(ones(5)) == 10
    assert f(ones(7)) == 14


def test_numpy_that_needs_the_elements_of_an_array_of_sizes():
    """With a comparison alone the size stays symbolic; where NumPy reads the array, it becomes a number, and only that one."""
    f = sod2.jit(lambda x: (x, np.arange(3) < x.shape[0]), shapes=("n, m",))
    for n in (2, 5):
        np.testing.assert_array_equal(f(ones(n, 3))[1], np.arange(3) < n)
    assert f.cache_info().compiles == 1
    f = sod2.jit(lambda x: x * np.where(np.arange(3) < x.shape[0], 1, 5).sum(), shapes=("n, m",))
    with pytest.warns(StaticSizeWarning, match=r"n was fixed to 2 because .*element of a NumPy array; use jax.numpy"):
        np.testing.assert_array_equal(f(ones(2, 3)), 7 * ones(2, 3))
    np.testing.assert_array_equal(f(ones(2, 4)), 7 * ones(2, 4))
    assert f.cache_info().compiles == 1


@pytest.mark.parametrize(
    ("fun", "remedy"),
    [
        (lambda x: sum(row for row in x), "lax.scan"),
        (lambda x: x + np.ones(x.shape[0]), "use jax.numpy"),
        (lambda x: x * len(f"{x.shape[0]}"), "jax.debug.print"),
        (lambda x: x + len({x.shape[0], 3}), "compare sizes with =="),
    ],
)
def test_what_to_write_instead(fun, remedy):
    with pytest.warns(StaticSizeWarning, match=remedy):
        sod2.jit(fun, shapes="n")(ones(2))
