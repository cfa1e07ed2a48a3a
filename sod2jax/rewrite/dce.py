"""Drop eqns whose results nobody reads, and constants with them. Eqns with effects stay."""

from __future__ import annotations

from jax.extend.core import ClosedJaxpr, Literal

from sod2jax.rewrite.interpreter import close


def dce(closed: ClosedJaxpr) -> ClosedJaxpr:
    """`closed` without dead eqns and constants."""
    jaxpr = closed.jaxpr
    live = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    kept = []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or not live.isdisjoint(eqn.outvars):
            kept.append(eqn)
            live.update(v for v in eqn.invars if not isinstance(v, Literal))
    constants = [(v, c) for v, c in zip(jaxpr.constvars, closed.consts, strict=True) if v in live]
    if len(kept) == len(jaxpr.eqns) and len(constants) == len(closed.consts):
        return closed
    return close(jaxpr, [v for v, _ in constants], [c for _, c in constants], kept[::-1], jaxpr.outvars)
