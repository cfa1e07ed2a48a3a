"""Control flow that is decided at compile time, and work that a scan need not do row by row.

* A branch whose index is known is that branch.
* A contraction in the body of a scan, of one row of `xs` with a constant, is done for all rows at once before the scan: an RNN's
  input projection is then one matrix product, and the scan reads its rows.
"""

from __future__ import annotations

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, Var
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ops.rewrites.simplify import transposed


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


def projections(cx, eqn):
    params, closed = eqn.params, eqn.params["jaxpr"]
    n_consts, n_carry = compat.scan_counts(params)
    jaxpr = closed.jaxpr
    first_row = n_consts + n_carry
    consts = dict(zip(jaxpr.invars[:n_consts], eqn.invars[:n_consts], strict=True))
    rows = dict(zip(jaxpr.invars[first_row:], eqn.invars[first_row:], strict=True))
    hoisted: dict[int, tuple[Var, object]] = {}
    for k, inner in enumerate(jaxpr.eqns):
        if (
            inner.primitive is p.dot_general_p
            and (product := _for_all_rows(cx, inner, consts, rows, params["length"])) is not None
        ):
            hoisted[k] = inner.outvars[0], product
    if not hoisted:
        return None
    new_rows, products = zip(*hoisted.values(), strict=True)
    kept = [inner for k, inner in enumerate(jaxpr.eqns) if k not in hoisted]
    body = jaxpr.replace(invars=[*jaxpr.invars, *new_rows], eqns=kept, debug_info=jaxpr.debug_info.with_unknown_names())
    signature = compat.scan_signature(n_consts, n_carry, len(rows) + len(hoisted), len(eqn.outvars) - n_carry)
    return cx.emit_many(
        p.scan_p, [*eqn.invars, *products], [v.aval for v in eqn.outvars],
        **{**params, **signature, "jaxpr": ClosedJaxpr(body, closed.consts)},
    )  # fmt: skip


def _for_all_rows(cx, inner, consts: dict, rows: dict, length):
    """The product of all rows, as `xs` of the scan; None if `inner` is none of a row and a constant."""
    lhs, rhs = inner.invars
    ((lhs_contract, rhs_contract), batch) = inner.params["dimension_numbers"]
    if any(map(len, batch)):
        return None
    out = inner.outvars[0].aval
    if lhs in rows and (rhs in consts or isinstance(rhs, Literal)):
        dims = (tuple(a + 1 for a in lhs_contract), rhs_contract), batch
        operands, position = (rows[lhs], consts.get(rhs, rhs)), 0
    elif rhs in rows and (lhs in consts or isinstance(lhs, Literal)):
        dims = (lhs_contract, tuple(a + 1 for a in rhs_contract)), batch
        operands, position = (consts.get(lhs, lhs), rows[rhs]), len(lhs.aval.shape) - len(lhs_contract)
    else:
        return None
    params = {**inner.params, "dimension_numbers": dims}
    shape = [*out.shape[:position], length, *out.shape[position:]]
    product = cx.emit(p.dot_general_p, operands, shape, out.dtype, **params)
    order = (position, *(a for a in range(len(shape)) if a != position))
    return transposed(cx, product, order)


RULES = {p.cond_p: (known_branch,), p.scan_p: (projections,)}
