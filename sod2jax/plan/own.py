"""Memory that is updated in place: which eqns may overwrite an operand (`OpDef.overwrites`), and copies for the rest.

* An eqn owns an operand if nothing needs the old contents later: the operand is made in this jaxpr (or is the state of the loop
  whose body this is), is no result, and has no later reader.
* Earlier readers must have read by then: what they compute gets a buffer, so that it is computed where it stands.
* Every other operand is copied first, or (`OpDef.spares`) left alone. A literal that a call reads from memory is copied, too.
* States of a loop stay apart: a new state that lies in another state's memory is copied.
* Without the memory plan (`everything`) each operand is copied, though it be owned; else nothing changes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from sod2jax import ops
from sod2jax.ops.outputs import copied


@dataclass(frozen=True)
class Owned:
    closed: ClosedJaxpr
    successor: dict[Var, Var]  # operand: the result that takes its memory over
    stored: frozenset[Var]  # what must be computed before its operands are overwritten


def own(
    closed: ClosedJaxpr, states: Collection[Var | None] = (), copies: Collection[Var] = (), everything: bool = False
) -> Owned:
    """`closed` with copies where they are needed. `states` are the invars that may be overwritten, in the order of the outvars;
    the operands of `copies` are never overwritten themselves, with `everything` none is."""
    jaxpr = closed.jaxpr
    users: dict[Var, list[int]] = {}
    for i, eqn in enumerate(jaxpr.eqns):
        for v in eqn.invars:
            if isinstance(v, Var):
                users.setdefault(v, []).append(i)
    states = list(states)
    foreign = {*jaxpr.invars, *jaxpr.constvars, *jaxpr.outvars} - (set(states) - set(jaxpr.outvars))
    eqns: list[JaxprEqn] = []
    successor: dict[Var, Var] = {}
    root: dict[Var, Var] = {}
    stored: set[Var] = set()
    for i, eqn in enumerate(jaxpr.eqns):
        record = ops.of(eqn.primitive)
        taken = record.overwritten(eqn) if record is not None else {}
        invars = list(eqn.invars)
        for out, k in taken.items():
            x = invars[k]
            mine = isinstance(x, Var) and x not in foreign and x not in copies and users[x].count(i) == 1 and users[x][-1] == i
            if mine:
                for user in users[x][:-1]:
                    stored.update(jaxpr.eqns[user].outvars)
            if record.spares and (everything or not mine):
                continue
            if everything or not mine:
                invars[k] = x = copied(eqns, x)
            successor[x] = eqn.outvars[out]
            root[eqn.outvars[out]] = root.get(x, x)
        if record is not None and (record.extern or record.host):
            invars = [copied(eqns, x) if isinstance(x, Literal) else x for x in invars]
        eqns.append(eqn.replace(invars=invars) if invars != list(eqn.invars) else eqn)
    outvars = list(jaxpr.outvars)
    for k, v in enumerate(outvars):
        if isinstance(v, Var) and root.get(v, v) in states and states.index(root.get(v, v)) != k:
            outvars[k] = copied(eqns, v)
    if len(eqns) == len(jaxpr.eqns):
        return Owned(closed, successor, frozenset(stored))
    return Owned(ClosedJaxpr(jaxpr.replace(eqns=eqns, outvars=outvars), closed.consts), successor, frozenset(stored))
