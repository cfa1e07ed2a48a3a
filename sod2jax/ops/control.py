"""Control flow: what a loop or branch of JAX is to planning, and how the rows of a scan are read and written.

* A `Loop` has constants, a state that is updated in place, and a body `(constants, state, counter) -> state`; it runs a number of
  times, or while a condition holds.
* A scan is a loop: its `xs` are constants of which the body reads row `counter`, its `ys` are states that nothing initialises,
  into which the body writes that row. So reading fuses with what uses a row, and no row is copied.
* A `Branch` runs one of several bodies on the same operands. What some body hands through, result and operand, is one memory
  where the operand is not needed afterwards: a gate that is closed costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var, jaxpr_as_fun, new_jaxpr_eqn, no_effects
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.compat import ShapedArray
from sod2jax.ir.dims import dim_as_value_p, expr_of
from sod2jax.ir.expr import Expr
from sod2jax.ops._base import Dyn, OpDef, defop
from sod2jax.ops._base import Mapping as Edge

COUNTER = np.dtype(np.int64)
read_p = Primitive("read_row")  # xs[n, ...], i64[] -> [...]
write_p = Primitive("write_row")  # ys[n, ...], y[...], i64[] -> ys with that row, in place


@dataclass(frozen=True)
class Loop:
    consts: tuple[Var, ...]
    init: tuple[Var | Literal | None, ...]  # None: nothing reads it before it is written
    body: ClosedJaxpr  # (*consts, *state, counter) -> state
    length: Expr | None = None
    cond: ClosedJaxpr | None = None  # (*cond_consts, *state) -> bool
    cond_consts: tuple[Var, ...] = ()

    @property
    def bodies(self) -> tuple[ClosedJaxpr, ...]:
        return (self.body,) if self.cond is None else (self.cond, self.body)


@dataclass(frozen=True)
class Branch:
    index: Var | Literal
    operands: tuple[Var, ...]
    branches: tuple[ClosedJaxpr, ...]

    def invars_of(self, operand: Var) -> list[Var]:
        """The variables that stand for an operand in the bodies."""
        at = self.operands.index(operand)
        return [body.jaxpr.invars[at] for body in self.branches]

    @property
    def bodies(self) -> tuple[ClosedJaxpr, ...]:
        return self.branches


def while_loop(eqn: JaxprEqn) -> Loop:
    params = eqn.params
    n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
    cond_consts, consts, init = eqn.invars[:n_cond], eqn.invars[n_cond : n_cond + n_body], eqn.invars[n_cond + n_body :]
    closed = params["body_jaxpr"]
    body = _closed(closed, [*closed.jaxpr.invars, Var(ShapedArray((), COUNTER))], closed.jaxpr.eqns, closed.jaxpr.outvars)
    consts, body = without_literals(consts, body)
    cond_consts, cond = without_literals(cond_consts, params["cond_jaxpr"])
    return Loop(consts, tuple(init), body, cond=cond, cond_consts=cond_consts)


def one_decision(*operands, cond_nconsts, cond_jaxpr, body_nconsts, body_jaxpr, **_):
    """What `vmap` makes of a loop has a condition per row. It goes on while any holds; rows of which it does not hold stay."""
    (decisions,) = cond_jaxpr.out_avals
    if not decisions.shape:
        return NotImplemented
    n = cond_nconsts + body_nconsts
    cond_consts, consts, init = operands[:cond_nconsts], operands[cond_nconsts:n], operands[n:]
    axes = tuple(range(len(decisions.shape)))

    def go_on(state):
        return jaxpr_as_fun(cond_jaxpr)(*cond_consts, *state)[0]

    def step(state):
        rows = go_on(state)
        news = jaxpr_as_fun(body_jaxpr)(*consts, *state)
        return [lax.select_n(lax.broadcast_in_dim(rows, x.shape, axes), x, new) for x, new in zip(state, news, strict=True)]

    return lax.while_loop(lambda state: lax.reduce_or(go_on(state), axes), step, list(init))


def scan(eqn: JaxprEqn) -> Loop:
    params, closed = eqn.params, eqn.params["jaxpr"]
    n_consts, n_carry = compat.scan_counts(params)
    consts, init, xs = eqn.invars[:n_consts], eqn.invars[n_consts : n_consts + n_carry], eqn.invars[n_consts + n_carry :]
    const_vars, carry_vars = closed.jaxpr.invars[:n_consts], closed.jaxpr.invars[n_consts : n_consts + n_carry]
    counter = at = Var(ShapedArray((), COUNTER))
    eqns = []
    if params["reverse"]:
        last, at = Var(counter.aval), Var(counter.aval)
        eqns.append(_eqn([], [last], dim_as_value_p, dim=params["length"] - 1))
        eqns.append(_eqn([last, counter], [at], p.sub_p, out_dtype=None))
    arrays = [Var(x.aval) for x in xs]
    for array, row in zip(arrays, closed.jaxpr.invars[n_consts + n_carry :], strict=True):
        eqns.append(_eqn([array, at], [row], read_p))
    eqns += closed.jaxpr.eqns
    ys = [Var(v.aval) for v in eqn.outvars[n_carry:]]
    written = [Var(y.aval) for y in ys]
    for y, new, row in zip(ys, written, closed.jaxpr.outvars[n_carry:], strict=True):
        eqns.append(_eqn([y, row, at], [new], write_p))
    invars = [*const_vars, *arrays, *carry_vars, *ys, counter]
    body = _closed(closed, invars, eqns, [*closed.jaxpr.outvars[:n_carry], *written])
    consts, body = without_literals([*consts, *xs], body)
    return Loop(consts, (*init, *(None for _ in ys)), body, length=expr_of(params["length"]))


def branch(eqn: JaxprEqn) -> Branch:
    index, *operands = eqn.invars
    bodies = [without_literals(operands, closed) for closed in eqn.params["branches"]]
    return Branch(index, bodies[0][0], tuple(body for _, body in bodies))


def _eqn(invars, outvars, prim, **params) -> JaxprEqn:
    return new_jaxpr_eqn(list(invars), list(outvars), prim, params, no_effects)


def _closed(like: ClosedJaxpr, invars, eqns, outvars) -> ClosedJaxpr:
    old = like.jaxpr
    info = old.debug_info.with_unknown_names()
    return ClosedJaxpr(Jaxpr(old.constvars, invars, outvars, eqns, old.effects, info), like.consts)


def without_literals(operands: Sequence, closed: ClosedJaxpr) -> tuple[tuple[Var, ...], ClosedJaxpr]:
    """The leading operands that are variables, and `closed` with the others' values in the place of its variables."""
    jaxpr = closed.jaxpr
    known = {v: x for v, x in zip(jaxpr.invars, operands) if isinstance(x, Literal)}
    if not known:
        return tuple(operands), closed
    read = lambda v: known.get(v, v) if isinstance(v, Var) else v
    eqns = [e.replace(invars=list(map(read, e.invars))) for e in jaxpr.eqns]
    invars = [v for v in jaxpr.invars if v not in known]
    body = _closed(closed, invars, eqns, list(map(read, jaxpr.outvars)))
    return tuple(x for x in operands if not isinstance(x, Literal)), body


# -- rows


def read_row(b, out, index, xs, at, **_):
    return xs[(b.index(at[()]), *index)]


def write_row(b, outs, ys, y, at, **_):
    (out,) = outs
    with b.elements(y.shape) as index:
        out.store((b.index(at[()]), *index), y[index])


def _states_of_while(eqn: JaxprEqn) -> Mapping[int, int]:
    first = eqn.params["cond_nconsts"] + eqn.params["body_nconsts"]
    return {k: first + k for k in range(len(eqn.outvars))}


def _states_of_scan(eqn: JaxprEqn) -> Mapping[int, int]:
    n_consts, n_carry = compat.scan_counts(eqn.params)
    return {k: n_consts + k for k in range(n_carry)}


def _handed_through(eqn: JaxprEqn) -> Mapping[int, int]:
    found: dict[int, int] = {}
    for body in eqn.params["branches"]:
        position = {v: j for j, v in enumerate(body.jaxpr.invars)}
        for k, v in enumerate(body.jaxpr.outvars):
            if isinstance(v, Var) and v in position and k not in found and position[v] + 1 not in found.values():
                found[k] = position[v] + 1
    return found


defop(OpDef(read_p, Dyn.ISDOS, Edge.ONE_TO_ONE, pull=read_row, moves=True))
defop(OpDef(write_p, Dyn.ISDOS, Edge.ONE_TO_ONE, nest=write_row, overwrites={0: 0}))
defop(OpDef(p.while_p, Dyn.EDO, Edge.MANY_TO_MANY, decompose=one_decision, control=while_loop, overwrites=_states_of_while))
defop(OpDef(p.scan_p, Dyn.ISDOS, Edge.MANY_TO_MANY, control=scan, overwrites=_states_of_scan))
defop(
    OpDef(
        p.cond_p, Dyn.EDO, Edge.MANY_TO_MANY, control=branch, branches="branches", overwrites=_handed_through, spares=True
    )
)  # fmt: skip
