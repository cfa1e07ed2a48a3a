"""Outputs as planning wants them: each is the result of an eqn of its own, or an input handed back."""

from __future__ import annotations

from collections.abc import Collection

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var, new_jaxpr_eqn, no_effects
from jax.extend.core import primitives as p


def copied(eqns: list[JaxprEqn], source: Var | Literal) -> Var:
    """A copy of `source`, made by an eqn that is appended to `eqns`."""
    copy = Var(source.aval)
    eqns.append(new_jaxpr_eqn([source], [copy], p.copy_p, {}, no_effects))
    return copy


def separate(closed: ClosedJaxpr, handed: Collection[tuple[int, Var]] | None = None) -> ClosedJaxpr:
    """Copies what is an output twice, a constant or a literal; nothing else changes.

    Inputs may be handed back: as any output, or (`handed`) only where such a pair (number of the output, input) says so.
    """
    jaxpr = closed.jaxpr
    inputs, seen = set(jaxpr.invars), set()
    eqns, outvars = list(jaxpr.eqns), []
    for k, v in enumerate(jaxpr.outvars):
        if isinstance(v, Var) and v in inputs:
            fresh = handed is None or (k, v) in handed
        else:
            fresh = isinstance(v, Var) and v not in seen and v not in jaxpr.constvars
        if not fresh:
            v = copied(eqns, v)
        seen.add(v)
        outvars.append(v)
    if len(eqns) == len(jaxpr.eqns):
        return closed
    return ClosedJaxpr(jaxpr.replace(eqns=eqns, outvars=outvars), closed.consts)
