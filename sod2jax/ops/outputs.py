"""Outputs as planning wants them: each is the result of an eqn of its own, or an input handed back."""

from __future__ import annotations

from jax.extend.core import ClosedJaxpr, Var, new_jaxpr_eqn, no_effects
from jax.extend.core import primitives as p


def separate(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Copies what is an output twice, a constant or a literal; nothing else changes."""
    jaxpr = closed.jaxpr
    inputs, seen = set(jaxpr.invars), set()
    eqns, outvars = list(jaxpr.eqns), []
    for v in jaxpr.outvars:
        fresh = isinstance(v, Var) and (v in inputs or (v not in seen and v not in jaxpr.constvars))
        if not fresh:
            source, v = v, Var(v.aval)
            eqns.append(new_jaxpr_eqn([source], [v], p.copy_p, {}, no_effects))
        seen.add(v)
        outvars.append(v)
    if len(eqns) == len(jaxpr.eqns):
        return closed
    return ClosedJaxpr(jaxpr.replace(eqns=eqns, outvars=outvars), closed.consts)
