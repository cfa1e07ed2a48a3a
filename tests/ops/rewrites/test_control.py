"""A branch whose index is known at compile time is that branch."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, make_jaxpr
from jax.core import eval_jaxpr

from sod2jax import rewrite
from sod2jax.ir.box import Box


@pytest.mark.parametrize("index", [-1, 0, 1, 2, 5])
def test_a_known_index_takes_its_branch(index):
    def f(x):
        return lax.switch(jnp.int32(index), [jnp.sin, lambda x: x * 2, lambda x: x], x)

    closed = rewrite.run(make_jaxpr(f)(np.float32(1)), Box())
    assert "cond" not in str(closed)
    assert len(closed.jaxpr.eqns) == (0 if index >= 2 else 1)


def test_an_unknown_index_stays():
    closed = rewrite.run(make_jaxpr(lambda x: lax.cond(x > 0, jnp.sin, jnp.cos, x))(np.float32(1)), Box())
    assert "cond" in str(closed)


def test_a_scan_multiplies_all_rows_at_once():
    def f(w, v, xs):
        return lax.scan(lambda h, x: (jnp.tanh(x @ w + v @ x + h @ w), x), jnp.zeros(4), xs)

    arguments = [np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in ((4, 4), (4, 4), (5, 4))]
    closed = rewrite.run(make_jaxpr(f)(*arguments), Box())
    (scan,) = (e for e in closed.jaxpr.eqns if e.primitive.name == "scan")
    assert [e.primitive.name for e in closed.jaxpr.eqns].count("dot_general") == 2
    assert str(scan.params["jaxpr"]).count("dot_general[") == 1
    for found, expected in zip(eval_jaxpr(closed.jaxpr, closed.consts, *arguments), f(*arguments)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
