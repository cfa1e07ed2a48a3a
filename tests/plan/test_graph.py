"""Questions that planning asks a jaxpr."""

import jax
import jax.numpy as jnp

from sod2jax.ir.box import Box
from sod2jax.plan.graph import Graph


def graph(f, *args, parameters=()):
    return Graph(jax.make_jaxpr(f)(*args), Box(), parameters)


def test_post_dominators_are_where_paths_meet():
    g = graph(lambda x: (y := jnp.sin(x), (jnp.cos(y) + jnp.exp(y)) * 2)[1], 1.0)
    names = [e.primitive.name for e in g.eqns]
    assert names == ["sin", "cos", "exp", "add", "mul"]
    assert g.post_dominators == [3, 3, 3, 4, None]


def test_an_output_has_no_post_dominator():
    g = graph(lambda x: (y := jnp.sin(x), y, jnp.cos(y))[1:], 1.0)
    assert g.post_dominators == [None, None]


def test_invariants_depend_on_parameters_and_nothing_else():
    x, w = jnp.ones((3, 4)), jnp.ones((4,))
    g = graph(lambda w, x: x * jnp.exp(w * 2), w, x, parameters={0})
    assert [g.eqns[g.maker[v]].primitive.name for v in g.maker if v in g.invariant] == ["mul", "exp", "broadcast_in_dim"]
    assert not graph(lambda x: x * jnp.arange(3.0), jnp.ones(3)).invariant
