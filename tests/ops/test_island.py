"""Which eqns XLA computes: what is said of an eqn without a rule, and of one that nobody can compute."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive

from sod2jax import ops
from sod2jax.ir.program import Host
from sod2jax.ops import island


def eqn_of(fun, *args):
    return jax.make_jaxpr(fun)(*args).eqns[0]


def nobodys():
    mine = Primitive("mine")
    mine.def_abstract_eval(lambda x: x)
    return mine


def test_reasons():
    x = jnp.ones(3)
    assert island.reason(eqn_of(jnp.negative, x)) == ""
    assert island.reason(eqn_of(nobodys().bind, x)) == "no rule for mine"


def test_a_rule_may_lack_a_dtype_or_a_parameter(monkeypatch):
    x = jnp.ones(3)
    eqn = eqn_of(jnp.negative, x)
    record = ops.of(eqn.primitive)
    lacking = dataclasses.replace(record, lacks=lambda x, **_: f"not in {x.dtype}" if x.dtype == np.float32 else "")
    monkeypatch.setitem(ops.OPS, eqn.primitive, lacking)
    assert island.reason(eqn) == "not in float32"
    assert island.reason(eqn_of(jnp.negative, jnp.ones(3, jnp.int32))) == ""
    monkeypatch.setitem(ops.OPS, eqn.primitive, dataclasses.replace(record, pull=None, decompose=lambda *_: NotImplemented))
    assert island.reason(eqn) == "no rule for these parameters of neg"


@pytest.mark.parametrize(
    ("fun", "args"), [(lambda x: jax.new_ref(x)[...], (np.ones(3),)), (nobodys().bind, (jax.random.key(0),))]
)
def test_not_even_an_island_helps(fun, args):
    assert "is no plain array" in island.obstacle(eqn_of(fun, *args))


def test_packed_integers_do_not_cross():
    assert "less than a byte" in island.obstacle(eqn_of(nobodys().bind, np.ones(3, jnp.int4)))
    for dtype in (bool, np.int8, jnp.float8_e5m2, np.complex64):
        assert island.obstacle(eqn_of(nobodys().bind, np.ones(3, dtype))) == ""


def test_an_eqn_that_calls_a_function():
    eqn = eqn_of(jnp.negative, jnp.ones(3))
    host = Host("minus", lambda x: [-x])
    call = island.calling(eqn, host, eqn.invars)
    assert call.outvars == eqn.outvars
    assert ops.of(call.primitive).host(**call.params) is host
