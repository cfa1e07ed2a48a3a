"""Put numbers for symbols: a jaxpr with symbolic sizes as one that JAX can evaluate, the oracle of every later stage.

* Sizes stand in avals, in params (also within tuples and nested jaxprs) and in eqns that read a size, which become literals.
"""

from __future__ import annotations

from collections.abc import Mapping

from jax.extend.core import ClosedJaxpr, DropVar, Jaxpr, Literal, Var

from sod2jax.compat import ShapedArray
from sod2jax.ir.dims import Dim, subs_dim


def at_sizes(closed: ClosedJaxpr, env: Mapping[str, int]) -> ClosedJaxpr:
    """`closed` at the sizes `env`, name -> int."""
    return ClosedJaxpr(_jaxpr(closed.jaxpr, env), closed.consts)


def _jaxpr(jaxpr: Jaxpr, env) -> Jaxpr:
    known: dict[Var, Var | Literal] = {}

    def bind(var: Var) -> Var:
        known[var] = (DropVar if isinstance(var, DropVar) else Var)(_aval(var.aval, env))
        return known[var]

    def read(atom):
        return known[atom] if isinstance(atom, Var) else atom

    constvars, invars = list(map(bind, jaxpr.constvars)), list(map(bind, jaxpr.invars))
    eqns = []
    for eqn in jaxpr.eqns:
        params = {name: param_at(value, env) for name, value in eqn.params.items()}
        if not eqn.invars and any(isinstance(value, Dim) for value in eqn.params.values()):
            (out,) = eqn.outvars
            known[out] = Literal(eqn.primitive.bind(**params), out.aval)
            continue
        eqns.append(eqn.replace(invars=list(map(read, eqn.invars)), outvars=list(map(bind, eqn.outvars)), params=params))
    return Jaxpr(constvars, invars, list(map(read, jaxpr.outvars)), eqns, jaxpr.effects, jaxpr.debug_info)


def _aval(aval, env):
    shape = getattr(aval, "shape", ())
    if not any(isinstance(size, Dim) for size in shape):
        return aval
    return ShapedArray(tuple(subs_dim(size, env) for size in shape), aval.dtype, weak_type=aval.weak_type)


def param_at(value, env):
    """A param at the sizes `env`."""
    if isinstance(value, Dim):
        return subs_dim(value, env)
    if type(value) in (tuple, list):
        return type(value)(param_at(v, env) for v in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(param_at(v, env) for v in value))
    if isinstance(value, ShapedArray):
        return _aval(value, env)
    if isinstance(value, ClosedJaxpr):
        return at_sizes(value, env)
    return _jaxpr(value, env) if isinstance(value, Jaxpr) else value
