"""Every equation that a primitive demands holds for what JAX itself accepts, at the sizes of the trace."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from sod2jax.ir.dims import shape_exprs
from sod2jax.ir.expr import const, sym
from sod2jax.ir.scope import Scope
from sod2jax.ops.equations import SOLVE

ENV = {"b": 3, "s": 8}

# name in SOLVE: a function of f32[b, s] whose last eqn it is for
PROGRAMS = {
    "same_shape": lambda x: x + x,
    "reshape": lambda x: lax.reshape(x, (x.shape[0] * x.shape[1],)),
    "transpose": lambda x: lax.transpose(x, (1, 0)),
    "broadcast_in_dim": lambda x: lax.broadcast_in_dim(x, (4, *x.shape), (1, 2)),
    "squeeze": lambda x: lax.squeeze(lax.broadcast_in_dim(x, (1, *x.shape), (1, 2)), (0,)),
    "slice": lambda x: lax.slice_in_dim(x, 1, x.shape[1], 3, axis=1),
    "rev": lambda x: lax.rev(x, (0,)),
    "pad": lambda x: lax.pad(x, np.float32(0), ((1, 2, 0), (0, 3, 1))),
    "concatenate": lambda x: lax.concatenate([x, lax.rev(x, (0,))], 1),
    "split": lambda x: lax.split(x, (x.shape[1] - 2, 2), axis=1),
    "stack": lambda x: jnp.stack([x, x], 1),
    "unstack": lambda x: jnp.unstack(jnp.stack([x, x], 1), axis=1),
    "tile": lambda x: jnp.tile(x, (2, 3)),
    "reduce": lambda x: lax.reduce_max_p.bind(x, axes=(1,), out_sharding=None),
    "dot_general": lambda x: lax.dot_general(x, lax.rev(x, (1,)), (((1,), (1,)), ((0,), (0,)))),
    "conv_general_dilated": lambda x: lax.conv(x[:, None, :], jnp.ones((5, 1, 2)), (1,), "VALID"),
    "reduce_window": lambda x: lax.reduce_window(x, -np.inf, lax.max, (1, 2), (1, 2), "VALID"),
    "scatter": lambda x: x.at[:, jnp.zeros(x.shape[1], int)].add(x),
    "dynamic_update_slice": lambda x: lax.dynamic_update_slice(x, jnp.ones((1, 2)), (0, 0)),
    "same": lambda x: lax.cumsum(x, 1),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_pairs_are_equal(name):
    scope = Scope()
    b, s = scope.symbol("b", 1), scope.symbol("s", 4)
    jaxpr = jax.make_jaxpr(PROGRAMS[name])(jax.ShapeDtypeStruct((b, s), np.float32)).jaxpr
    eqn = jaxpr.eqns[-1]
    outs = tuple(shape_exprs(v.aval) for v in eqn.outvars)
    ins = tuple(shape_exprs(v.aval) for v in eqn.invars)
    pairs = list(SOLVE[name](outs, ins, **eqn.params))
    for left, right in pairs:
        assert left.eval(ENV) == right.eval(ENV), (left, right)
        assert scope.box.known_eq(left, right) or name in ("slice", "pad"), (left, right)
    constant = [p for p in pairs if not p[0].free and not p[1].free]
    assert name == "same_shape" or len(pairs) > len(constant)  # same_shape leaves out what is one expression already


def test_every_equation_is_tried():
    assert SOLVE.keys() == PROGRAMS.keys()


def test_a_size_of_one_demands_nothing():
    n = sym("n")
    assert list(SOLVE["same_shape"](((n,),), ((const(1),), (n,)))) == []
    assert list(SOLVE["same_shape"](((n,),), ((), (n,)))) == []
    assert list(SOLVE["same_shape"](((n,),), ((const(1),),))) == [(n, const(1))]
