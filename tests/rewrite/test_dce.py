"""Dead eqns and constants go; effects stay."""

import jax
import jax.numpy as jnp
import numpy as np

from sod2jax.rewrite.dce import dce

X = jax.ShapeDtypeStruct((4,), np.float32)


def test_dead_eqns_and_constants_go():
    table = np.arange(4, dtype=np.float32)

    def fun(x):
        _ = jnp.sin(x + table)
        return jnp.cos(x)

    after = dce(jax.make_jaxpr(fun)(X))
    assert [eqn.primitive.name for eqn in after.jaxpr.eqns] == ["cos"]
    assert not after.consts
    assert len(after.jaxpr.invars) == 1


def test_effects_stay():
    def fun(x):
        jax.debug.print("{}", x)
        return x

    before = jax.make_jaxpr(fun)(X)
    assert dce(before) is before


def test_all_alive_is_the_same_object():
    before = jax.make_jaxpr(lambda x: jnp.split(x, 2)[1])(X)
    assert dce(before) is before
