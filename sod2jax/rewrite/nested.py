"""Rewrite the bodies of loops and branches: jaxprs that stand in params of eqns, with the same pipeline.

The effects and the interface of a body stay as they are; only what happens within changes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from jax.extend.core import ClosedJaxpr, JaxprEqn

from sod2jax import ops
from sod2jax.rewrite.interpreter import close


def nested(closed: ClosedJaxpr, run: Callable[[ClosedJaxpr], ClosedJaxpr]) -> ClosedJaxpr:
    """`closed` with `run` applied to every closed jaxpr in a param of an eqn that has a record: others are JAX's own affair."""
    eqns = [rewritten_bodies(e, run) if ops.of(e.primitive) is not None else e for e in closed.jaxpr.eqns]
    if all(map(operator.is_, eqns, closed.jaxpr.eqns)):
        return closed
    jaxpr = closed.jaxpr
    return close(jaxpr, jaxpr.constvars, closed.consts, eqns, jaxpr.outvars)


def rewritten_bodies(eqn: JaxprEqn, run: Callable[[ClosedJaxpr], ClosedJaxpr]) -> JaxprEqn:
    """`eqn` with `run` applied to every closed jaxpr in a param."""

    def rewritten(value):
        if isinstance(value, ClosedJaxpr):
            return run(value)
        if type(value) is tuple and any(isinstance(v, ClosedJaxpr) for v in value):
            bodies = tuple(rewritten(v) for v in value)
            return value if all(map(operator.is_, bodies, value)) else bodies
        return value

    params = {name: rewritten(value) for name, value in eqn.params.items()}
    unchanged = all(params[name] is value for name, value in eqn.params.items())
    return eqn if unchanged else eqn.replace(params=params)
