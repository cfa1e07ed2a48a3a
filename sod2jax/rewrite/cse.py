"""Compute equal things once: two eqns with the same primitive, operands, params and context are one.

* Keys compare literals by dtype and bits (0.0 is not -0.0, NaN is itself) and sizes by expression, not by a Dim's `==`, which may
  record a guard.
* Eqns with effects, or with params that cannot be hashed, stay.
"""

from __future__ import annotations

import numpy as np
from jax.extend.core import ClosedJaxpr, DropVar, JaxprEqn, Literal, Var

from sod2jax.ir.dims import Dim, expr_of
from sod2jax.rewrite.interpreter import close, weak_type


def cse(closed: ClosedJaxpr) -> ClosedJaxpr:
    """`closed` with common subexpressions computed once."""
    jaxpr = closed.jaxpr
    first: dict[tuple, JaxprEqn] = {}
    env: dict[Var, Var] = {}
    eqns = []
    outputs = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    for eqn in jaxpr.eqns:
        if any(v in env for v in eqn.invars if not isinstance(v, Literal)):
            eqn = eqn.replace(invars=[v if isinstance(v, Literal) else env.get(v, v) for v in eqn.invars])
        same = eqn if eqn.effects else first.setdefault(_key(eqn), eqn)
        if same is eqn or not all(_may_stand(w, v, v in outputs) for v, w in zip(eqn.outvars, same.outvars, strict=True)):
            eqns.append(eqn)
        else:
            env.update(zip(eqn.outvars, same.outvars, strict=True))
    if not env:
        return closed
    outvars = [v if isinstance(v, Literal) else env.get(v, v) for v in jaxpr.outvars]
    return close(jaxpr, jaxpr.constvars, closed.consts, eqns, outvars)


def _may_stand(first: Var, later: Var, is_output: bool) -> bool:
    """Whether `first` may be read for `later`: it must have a name, and an output keeps its weak type."""
    if isinstance(later, DropVar):
        return True
    return not isinstance(first, DropVar) and (not is_output or weak_type(first) == weak_type(later))


def _key(eqn: JaxprEqn) -> tuple:
    operands = tuple([_literal(v) if isinstance(v, Literal) else v for v in eqn.invars])
    params = tuple([(name, _param(value)) for name, value in eqn.params.items()])
    key = (eqn.primitive, operands, params, eqn.ctx)
    try:
        hash(key)
    except TypeError:
        return (id(eqn),)
    return key


def _literal(literal: Literal) -> tuple:
    dtype = literal.aval.dtype
    return str(dtype), literal.aval.weak_type, np.asarray(literal.val, dtype).tobytes()


def _param(value):
    if isinstance(value, Dim):
        return expr_of(value)
    if isinstance(value, (tuple, list)):
        return tuple([_param(v) for v in value])
    # 1, 1.0 and True are equal to Python and not to JAX
    return (value, type(value)) if isinstance(value, (bool, float)) else value
