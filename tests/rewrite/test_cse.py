"""Equal eqns are computed once; what only looks equal is not."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sod2jax.ir.scope import Scope
from sod2jax.rewrite import oracle
from sod2jax.rewrite.cse import cse
from sod2jax.rewrite.dce import dce

X = jax.ShapeDtypeStruct((4, 6), np.float32)


def count(closed, name):
    return sum(eqn.primitive.name == name for eqn in closed.jaxpr.eqns)


def test_equal_chains_become_one():
    before = jax.make_jaxpr(lambda x: jnp.exp(x * 2) + jnp.exp(x * 2))(X)
    after = cse(before)
    assert count(after, "mul") == count(after, "exp") == 1
    assert oracle.difference(before, after, {}) is None


def test_params_dtypes_and_signs_of_zero_tell_apart():
    def fun(x):
        zeros = lax.mul(x, np.float32(0.0)), lax.mul(x, np.float32(-0.0))
        return *zeros, lax.reduce_max(x, (0,)), lax.reduce_max(x, (1,)), x.astype(jnp.int32), x.astype(jnp.int8)

    before = jax.make_jaxpr(fun)(X)
    assert cse(before) is before


def test_nan_literals_are_themselves():
    after = cse(jax.make_jaxpr(lambda x: lax.max(x, np.float32("nan")) + lax.max(x, np.float32("nan")))(X))
    assert count(after, "max") == 1


def test_symbolic_params_compare_by_expression_and_leave_no_guard():
    scope = Scope()
    s = scope.symbol("s", 2, None, 8)
    t = scope.symbol("t", 2, None, 8)
    spec = jax.ShapeDtypeStruct((s, t), np.float32)

    def fun(x):
        a, b = lax.slice(x, (0, 0), (s - 1, t)), lax.slice(x, (0, 0), (s + 1 - 2, t))
        return a + b, lax.iota(np.int32, s), lax.iota(np.int32, t)

    before = jax.make_jaxpr(fun)(spec)
    guards = len(scope.guards)
    after = cse(before)
    assert count(after, "slice") == 1
    assert count(after, "iota") == 2
    assert len(scope.guards) == guards


def test_a_dropped_output_is_not_read():
    def fun(x):
        return lax.split(x, (2, 4), axis=1)[0], lax.split(x, (2, 4), axis=1)[1]

    before = dce(jax.make_jaxpr(fun)(X))
    assert oracle.difference(before, cse(before), {}) is None


def test_effects_are_repeated():
    def fun(x):
        jax.debug.print("twice")
        jax.debug.print("twice")
        return x

    before = jax.make_jaxpr(fun)(X)
    assert cse(before) is before
