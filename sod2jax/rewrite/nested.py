"""Rewrite the bodies of loops and branches: jaxprs that stand in params of eqns, with the same pipeline.

The effects and the interface of a body stay as they are; only what happens within changes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from sod2jax import ops
from sod2jax.rewrite.interpreter import close


def nested(closed: ClosedJaxpr, run: Callable[[ClosedJaxpr], ClosedJaxpr]) -> ClosedJaxpr:
    """`closed` with `run` applied to every closed jaxpr in a param of an eqn that has a record: others are JAX's own affair."""
    eqns = [rewritten_bodies(e, run) if ops.of(e.primitive) is not None else e for e in closed.jaxpr.eqns]
    if all(map(operator.is_, eqns, closed.jaxpr.eqns)):
        return closed
    jaxpr = closed.jaxpr
    return close(jaxpr, jaxpr.constvars, closed.consts, eqns, jaxpr.outvars)


def everywhere(closed: ClosedJaxpr, run: Callable[[ClosedJaxpr], ClosedJaxpr]) -> ClosedJaxpr:
    """`run` applied to `closed` and to every jaxpr in it, those of calls included."""
    done: dict[int, tuple] = {}  # JAX shares the body of a function among its calls

    def inner(value):
        if isinstance(value, (tuple, list)) and any(isinstance(v, (ClosedJaxpr, Jaxpr)) for v in value):
            found = tuple(map(inner, value))
            found = value._make(found) if hasattr(value, "_make") else type(value)(found)
            return value if all(map(operator.is_, found, value)) else found
        if not isinstance(value, (ClosedJaxpr, Jaxpr)) or (not isinstance(value, ClosedJaxpr) and value.constvars):
            return value
        if id(value) not in done:
            found = outer(value if isinstance(value, ClosedJaxpr) else ClosedJaxpr(value, ()))
            done[id(value)] = value, found if isinstance(value, ClosedJaxpr) else found.jaxpr
        return done[id(value)][1]

    def outer(closed):
        eqns = []
        for eqn in closed.jaxpr.eqns:
            params = {name: inner(value) for name, value in eqn.params.items()}
            unchanged = all(params[name] is value for name, value in eqn.params.items())
            eqns.append(eqn if unchanged else eqn.replace(params=params))
        if not all(map(operator.is_, eqns, closed.jaxpr.eqns)):
            closed = close(closed.jaxpr, closed.jaxpr.constvars, closed.consts, eqns, closed.jaxpr.outvars)
        return run(closed)

    return outer(closed)


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
