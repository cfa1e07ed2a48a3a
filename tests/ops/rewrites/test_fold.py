"""Constants folded by NumPy are the ones that JAX computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from sod2jax.ir.box import Box
from sod2jax.ops.rewrites import fold
from sod2jax.rewrite import oracle
from sod2jax.rewrite.inline import inline
from sod2jax.rewrite.interpreter import rewrite

INTS = np.array([-7, -2, 0, 3, 8], np.int32)
FLOATS = np.array([-2.5, -0.0, 0.0, 1 / 3, 7.25, np.inf, np.nan], np.float32)


def folded(fun, *args):
    before = inline(jax.make_jaxpr(fun)(*args))
    after = rewrite(before, fold.RULES, Box())
    assert oracle.difference(before, after, {}) is None
    return after


FOLDS = {
    "arithmetic": lambda: (jnp.asarray(FLOATS) * 3 + 1) / jnp.asarray(FLOATS * 7) - 0.1,
    "integers divide towards zero": lambda: (
        [lax.div(jnp.asarray(INTS), np.int32(n)) for n in (3, -3)],
        lax.rem(jnp.asarray(INTS), np.int32(3)),
    ),
    "integers wrap": lambda: jnp.asarray(INTS) * np.int32(2**30),
    "comparisons": lambda: (jnp.asarray(FLOATS) > 0, jnp.isfinite(FLOATS), jnp.asarray(INTS) == 3),
    "roots": lambda: lax.sqrt(np.float32(64)),
    "select": lambda: jnp.where(jnp.asarray(INTS) < 0, INTS + 5, INTS),
    "select_n": lambda: lax.select_n(jnp.asarray([0, 1, 2], jnp.int32), *(jnp.asarray([1, 2, 3]) + k for k in range(3))),
    "narrow": lambda: jnp.asarray(INTS).astype(jnp.int8) + jnp.asarray([1.1, 2.2, 3.3, 4.4, 5.5], jnp.bfloat16).astype(jnp.int8),
    "bfloat16": lambda: jnp.asarray(INTS).astype(jnp.bfloat16) * jnp.bfloat16(1.7) - 3,
    "float16": lambda: jnp.asarray(INTS).astype(jnp.float16) * jnp.float16(3.3),
    "movement": lambda: jnp.concatenate([jnp.asarray(INTS)[::-1], jnp.asarray(INTS)[1:3]]).reshape(7, 1).T,
    "bits": lambda: (jnp.asarray(INTS) & 3, jnp.asarray(INTS) | 1, ~jnp.asarray(INTS), jnp.asarray(INTS) ^ 5),
    "clip": lambda: jnp.clip(jnp.asarray(INTS), -1, 4),
    "weak": lambda: lax.sqrt(4.0) * 2,
}


@pytest.mark.parametrize("fun", FOLDS.values(), ids=FOLDS)
def test_folds_completely(fun):
    after = folded(fun)
    assert {eqn.primitive.name for eqn in after.jaxpr.eqns} <= {"iota", "broadcast_in_dim"}  # sources of equal elements stay


STAYS = {
    "functions that round differently": lambda: jnp.exp(1.0) + jnp.tanh(0.5),
    "division by zero": lambda: lax.div(jnp.asarray(INTS), jnp.asarray(INTS)),
    "denormals": lambda: lax.mul(np.float32(1e-30), np.float32(1e-10)),
    "large arrays": lambda: lax.neg(np.arange(5000.0, dtype=np.float32)),
    "floats out of an integer's range": lambda: jnp.asarray([1e30, 1]).astype(np.int32),
    "division of many by one": lambda: jnp.asarray(FLOATS) / 7,
    "the sign of a zero": lambda: lax.max(np.float32(0.0), np.float32(-0.0)),
    "roots of negative numbers": lambda: lax.sqrt(np.float32(-1)),
}


@pytest.mark.parametrize("fun", STAYS.values(), ids=STAYS)
def test_leaves_alone(fun):
    before = inline(jax.make_jaxpr(fun)())
    after = rewrite(before, fold.RULES, Box())
    assert len(after.jaxpr.eqns) >= 1


def test_correction_of_a_variance():
    after = folded(lambda x: jnp.var(x, 0), jax.ShapeDtypeStruct((4, 3), np.float32))
    assert "gt" not in str(after)


def test_results_become_literals_or_constants():
    after = folded(lambda x: x[jnp.asarray(INTS) % 4] + lax.sqrt(64.0), jax.ShapeDtypeStruct((4,), np.float32))
    assert any(not c.shape for c in map(np.asarray, after.consts)) is False
