"""Who may be updated in place, and what is copied first."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sod2jax import rewrite
from sod2jax.ir.box import Box
from sod2jax.ops.outputs import separate
from sod2jax.plan.own import own


def owned(f, *shapes, **more):
    closed = separate(rewrite.run(jax.make_jaxpr(f)(*(np.ones(s, np.float32) for s in shapes)), Box()))
    return own(closed, **more)


def names(result):
    return [e.primitive.name for e in result.closed.jaxpr.eqns]


def update(x, y):
    return lax.dynamic_update_slice(x, y, (0,))


def test_what_is_made_here_and_read_once_is_overwritten():
    result = owned(lambda x, y: update(jnp.sin(x), y), (8,), (2,))
    assert "copy" not in names(result)
    (pair,) = result.successor.items()
    assert pair[1] is result.closed.jaxpr.outvars[0]


def test_inputs_results_and_what_is_read_later_are_copied():
    assert "copy" in names(owned(update, (8,), (2,)))
    assert "copy" in names(owned(lambda x, y: (lambda s: (update(s, y), s))(jnp.sin(x)), (8,), (2,)))
    assert "copy" in names(owned(lambda x, y: (lambda s: update(s, y) + s)(jnp.sin(x)), (8,), (2,)))


def test_earlier_readers_are_computed_before():
    result = owned(lambda x, y: (lambda s: update(s, y * s[0]))(jnp.sin(x)), (8,), (2,))
    assert "copy" not in names(result)
    assert len(result.stored) == 1


def test_a_state_may_be_overwritten_by_its_own_result_only():
    closed = separate(jax.make_jaxpr(lambda x, z, y: (z + 0, update(x, y)))(*(np.ones(s, np.float32) for s in (8, 8, 2))))
    x, z, _ = closed.jaxpr.invars
    assert "copy" in [e.primitive.name for e in own(closed, [x, z]).closed.jaxpr.eqns]  # x's memory, as the second result
    assert "copy" not in [e.primitive.name for e in own(closed, [z, x]).closed.jaxpr.eqns]


def test_branches_take_what_is_dead_and_copy_nothing():
    def f(x, needed):
        y = jnp.sin(x)
        z = lax.cond(x[0] > 0, lambda y: y * 2, lambda y: y, y)
        return (z, y) if needed else z

    assert len(owned(lambda x: f(x, False), (8,)).successor) == 1
    result = owned(lambda x: f(x, True), (8,))
    assert not result.successor
    assert "copy" not in names(result)
