"""Control flow that is decided at compile time: a branch whose index is known is that branch."""

from __future__ import annotations

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, Var
from jax.extend.core import primitives as p


def known_branch(cx, eqn):
    index, *operands = eqn.invars
    which = cx.known(index)
    if which is None:
        return None
    branches = eqn.params["branches"]
    closed = branches[int(np.clip(int(which), 0, len(branches) - 1))]
    if closed.jaxpr.effects:
        return None
    return replayed(cx, closed, operands)


def replayed(cx, closed: ClosedJaxpr, operands) -> list:
    """The results of `closed` on `operands`, its eqns written where `cx` stands."""
    jaxpr = closed.jaxpr
    env = dict(zip(jaxpr.invars, operands, strict=True))
    env.update((v, cx.constant(np.asarray(c), v.aval)) for v, c in zip(jaxpr.constvars, closed.consts, strict=True))
    read = lambda v: v if isinstance(v, Literal) else env[v]
    for inner in jaxpr.eqns:
        results = cx.emit_many(inner.primitive, map(read, inner.invars), [v.aval for v in inner.outvars], **inner.params)
        env.update(zip(inner.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


RULES = {p.cond_p: (known_branch,)}
