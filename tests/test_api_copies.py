"""Copies of a compiled function, as `copy` and `pickle` make them of functions of jax.jit."""

import copy
import functools
import inspect
import pickle
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2


def test_copies_compile_for_themselves():
    @functools.partial(sod2.jit, shapes="n", static_argnames="k", donate_argnums=0, max_compiles=2)
    def scaled(x, *, k: int = 2):
        "Times k."
        return x * k

    scaled(jnp.ones(3))
    scaled.note = [1]
    shallow, deep = copy.copy(scaled), copy.deepcopy({"f": scaled})["f"]
    for other in (shallow, deep):
        x = jnp.ones(4)
        np.testing.assert_array_equal(other(x, k=3), 3)
        assert x.is_deleted()
        assert (other.__name__, other.__doc__, other.note) == ("scaled", "Times k.", [1])
        assert (type(other), other.cache_info().compiles) == (type(scaled), 1)
        assert inspect.signature(other) == inspect.signature(scaled) == inspect.signature(scaled.__wrapped__)
        assert weakref.ref(other)() is other
        other(jnp.ones(4), k=4)
        with pytest.raises(sod2.errors.CompileLimitError):
            other(jnp.ones(4), k=5)
    assert shallow.note is scaled.note
    assert deep.note is not scaled.note
    assert scaled.cache_info().compiles == 1
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(scaled)
    np.testing.assert_array_equal(functools.partial(scaled, k=5)(jnp.ones(2)), 5)


def test_a_deep_copy_has_the_state_of_its_time():
    class Model:
        def __init__(self):
            self.w = jnp.full(3, 2.0)

        def __call__(self, x):
            return x * self.w

    model = Model()
    for function in (model, model.__call__):
        f, wanted = sod2.jit(function), jax.jit(function)
        g, copied = copy.deepcopy(f), copy.deepcopy(wanted)
        np.testing.assert_array_equal(g(jnp.ones(3)), copied(jnp.ones(3)))
