"""Typed keys become their words."""

import jax
import jax.numpy as jnp
import pytest

from sod2jax import compat
from sod2jax.errors import UnsupportedError
from sod2jax.ir.scope import Scope
from sod2jax.rewrite import run
from sod2jax.rewrite.inline import inline
from sod2jax.rewrite.physical import physical

KEY = jax.random.key(3)


def avals(closed):
    jaxpr = closed.jaxpr
    yield from (*closed.in_avals, *closed.out_avals)
    for eqn in jaxpr.eqns:
        yield from (v.aval for v in (*eqn.invars, *eqn.outvars))
        for inner in (v for value in eqn.params.values() for v in (value if isinstance(value, tuple) else (value,))):
            if hasattr(inner, "in_avals"):
                yield from avals(inner)


def no_keys(closed) -> bool:
    return all(compat.element_shape(aval.dtype) is None for aval in avals(closed))


def test_inputs_constants_and_outputs():
    def fun(keys, x):
        return jax.random.split(keys[0], 2), KEY, x + jax.random.uniform(KEY)

    before = jax.make_jaxpr(fun)(jax.random.split(KEY, 3), 1.0)
    after = physical(inline(before))
    assert no_keys(after)
    assert [a.shape for a in after.in_avals] == [(3, 2), ()]
    assert [a.shape for a in after.out_avals] == [(2, 2), (2,), ()]
    assert not any(isinstance(c, jax.Array) and compat.element_shape(c.dtype) for c in after.consts)


def test_bodies_of_loops_and_branches():
    def fun(key):
        draw = lambda key, k: (jax.random.fold_in(key, 1), jax.random.uniform(k))
        last, drawn = jax.lax.scan(draw, key, jax.random.split(key, 4))
        last = jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jax.random.split(c[1])[0]), (0, last))[1]
        return jax.lax.cond(drawn[0] > 0.5, lambda k: k, lambda k: jax.random.split(k)[0], last)

    assert no_keys(run(jax.make_jaxpr(fun)(KEY), Scope().box))


def test_without_keys_it_is_the_same_object():
    closed = jax.make_jaxpr(jnp.sin)(1.0)
    assert physical(closed) is closed


def test_what_nobody_does_to_keys_is_named():
    with pytest.raises(UnsupportedError, match="device_put"):
        physical(jax.make_jaxpr(lambda k: jax.device_put(k, jax.devices()[0]))(KEY))
