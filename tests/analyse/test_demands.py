"""Equalities that eqns demand become guards, or errors where the sizes at hand break them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax.analyse.demands import demand
from sod2jax.ir.scope import Scope


def trace(f, hint):
    scope = Scope()
    n = scope.symbol("n", hint=hint)
    jaxpr = jax.jit(f).trace(jax.ShapeDtypeStruct((n, 4), np.float32)).jaxpr.jaxpr
    demand(jaxpr, jaxpr, scope)
    return scope


def halves(x):
    return x.reshape(x.shape[0] // 2, 2, 4)


def test_a_reshape_keeps_its_elements():
    scope = trace(halves, 6)
    (guard,) = scope.minimal_guards()
    assert guard.cond.lhs.subs({"n": 6}) == guard.cond.rhs.subs({"n": 6})
    assert guard.cond.lhs.subs({"n": 7}) != guard.cond.rhs.subs({"n": 7})
    assert "reshape" in guard.message
    assert "test_demands.py" in guard.where


def test_sizes_that_break_it_are_an_error():
    with pytest.raises(sod2.errors.ShapeError, match="reshape needs"):
        trace(halves, 7)


def test_calls_are_entered_and_what_is_known_demands_nothing():
    assert trace(lambda x: jax.jit(halves)(x), 6).minimal_guards()
    assert not trace(lambda x: jnp.tanh(x).reshape(-1) + x.T.reshape(-1), 6).minimal_guards()


def test_end_to_end():
    f = sod2.jit(halves, shapes=("n, 4",))
    assert f(jnp.ones((6, 4))).shape == (3, 2, 4)
    with pytest.raises(TypeError, match="reshape needs"):
        f(jnp.ones((7, 4)))
    assert f(jnp.ones((8, 4))).shape == (4, 2, 4)
    assert f.cache_info().compiles == 1


def test_bodies_are_entered():
    def scanned(x):
        return jax.lax.scan(lambda c, r: (c + halves(x).sum() + r.sum(), None), 0.0, x)[0]

    def branched(x):
        return jax.lax.cond(
            x.sum() > 0, lambda: jax.lax.scan(lambda c, _: (c + halves(x).sum(), None), 0.0, None, 3)[0], lambda: 0.0
        )

    for f in (scanned, branched, lambda x: jax.lax.fori_loop(0, 3, lambda i, c: c + halves(x).sum(), 0.0)):
        (guard,) = trace(f, 6).minimal_guards()
        assert "reshape needs" in guard.message
        with pytest.raises(sod2.errors.ShapeError, match=r"now 6 and 7.*test_demands.py"):
            trace(f, 7)


def test_without_hints_it_is_a_guard_too():
    (guard,) = trace(halves, None).minimal_guards()
    assert guard.kind == "version"
