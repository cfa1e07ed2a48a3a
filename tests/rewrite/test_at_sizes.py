"""Symbols become numbers everywhere: shapes, params, nested jaxprs, values of sizes."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxpr_as_fun

from sod2jax.ir.scope import Scope
from sod2jax.rewrite import at_sizes


def test_shapes_params_and_values():
    s = Scope().symbol("s", 1)
    spec = jax.ShapeDtypeStruct((s, 3), np.float32)
    fun = lambda x: (jnp.arange(x.shape[0]) * x.shape[0], jnp.reshape(x, (-1,)).mean(), x.shape[0])
    concrete = at_sizes(jax.make_jaxpr(fun)(spec), {"s": 5})
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    positions, mean, size = jaxpr_as_fun(concrete)(x)
    np.testing.assert_array_equal(positions, np.arange(5) * 5)
    assert mean == x.mean()
    assert size == 5
    assert concrete.in_avals[0].shape == (5, 3)


def test_loops_with_symbolic_bounds():
    s = Scope().symbol("s", 1)
    spec = jax.ShapeDtypeStruct((s,), np.float32)
    closed = jax.make_jaxpr(lambda x: lax.fori_loop(0, x.shape[0], lambda i, total: total + i, 0))(spec)
    assert jaxpr_as_fun(at_sizes(closed, {"s": 7}))(np.zeros(7, np.float32)) == [21]


def test_a_jaxpr_without_symbols_is_the_same_function():
    closed = jax.make_jaxpr(jnp.sin)(1.0)
    assert jaxpr_as_fun(at_sizes(closed, {}))(2.0) == [np.sin(np.float32(2.0))]
