"""The engine: rules fire on what rules wrote, new eqns keep their source, outputs keep their types."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives as p

import sod2jax as sod2
from sod2jax import compat
from sod2jax.ir.box import Box
from sod2jax.ir.scope import Scope
from sod2jax.rewrite import oracle
from sod2jax.rewrite.interpreter import rewrite

X = jax.ShapeDtypeStruct((4,), np.float32)


def names(closed):
    return [eqn.primitive.name for eqn in closed.jaxpr.eqns]


def test_rules_apply_to_what_rules_emit():
    rules = {
        p.sin_p: [lambda cx, eqn: cx.emit(p.cos_p, eqn.invars, (4,), np.float32, accuracy=None)],
        p.cos_p: [lambda cx, eqn: cx.emit(p.neg_p, eqn.invars, (4,), np.float32)],
    }
    before = jax.make_jaxpr(lambda x: jnp.sin(x) * 2)(X)
    after = rewrite(before, rules, Box())
    assert names(after) == ["neg", "mul"]
    assert compat.user_line(after.jaxpr.eqns[0]) == compat.user_line(before.jaxpr.eqns[0])


def test_without_a_match_the_same_object_comes_back():
    before = jax.make_jaxpr(jnp.sin)(X)
    assert rewrite(before, {p.cos_p: [lambda cx, eqn: eqn.invars[0]], p.sin_p: [lambda cx, eqn: None]}, Box()) is before


def test_a_rule_sees_rewritten_operands_and_their_makers():
    seen = []
    rules = {p.neg_p: [lambda cx, eqn: eqn.invars[0]], p.cos_p: [lambda cx, eqn: seen.append(cx.maker(eqn.invars[0], p.sin_p))]}
    rewrite(jax.make_jaxpr(lambda x: jnp.cos(-jnp.sin(x)))(X), rules, Box())
    assert seen[0].primitive is p.sin_p


def test_outputs_keep_their_weak_type():
    rules = {p.convert_element_type_p: [lambda cx, eqn: eqn.invars[0]]}
    before = jax.make_jaxpr(lambda x: jnp.asarray(x, jnp.float32))(1.0)
    after = rewrite(before, rules, Box())
    assert [a.weak_type for a in after.out_avals] == [False]


def test_outputs_may_be_inputs_or_constants():
    before = jax.make_jaxpr(lambda x: (-x, jnp.sin(x)))(X)
    rules = {
        p.neg_p: [lambda cx, eqn: eqn.invars[0]],
        p.sin_p: [lambda cx, eqn: cx.constant(np.arange(4, dtype=np.float32))],
    }
    after = rewrite(before, rules, Box())
    assert not after.jaxpr.eqns
    assert after.jaxpr.outvars[0] is after.jaxpr.invars[0]
    assert oracle.difference(jax.make_jaxpr(lambda x: (x, np.arange(4, dtype=np.float32)))(X), after, {}) is None


def test_sizes_come_back_as_dims_of_the_trace():
    s = Scope().symbol("s", 1)
    before = jax.make_jaxpr(jnp.sin)(jax.ShapeDtypeStruct((s,), np.float32))
    found = []
    rules = {p.sin_p: [lambda cx, eqn: found.append((cx.dim(s.expr * 2), cx.dim(s.expr - s.expr + 3)))]}
    rewrite(before, rules, s.scope.box)
    assert found == [(2 * s, 3)]
    assert type(found[0][1]) is int


def test_a_size_in_a_body_without_symbolic_arrays():
    """The scope of new sizes is the box's, not that of some array in the jaxpr."""

    def f(x, s):
        step = lambda s, _: (lax.fori_loop(0, x.shape[0], lambda i, z: z * 0.5, s), None)
        return lax.scan(step, s, None, length=3)[0]

    g = sod2.jit(f, shapes=("n", None))
    for n in (4, 1, 0):
        np.testing.assert_array_equal(g(jnp.ones(n), jnp.ones(3)), np.full(3, 0.5 ** (3 * n), np.float32))
