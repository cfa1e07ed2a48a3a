"""What eqns demand of sizes and JAX did not check while tracing: turned into guards.

JAX checks a reshape's element count, for one, only where all sizes are constant. Every equality that a primitive's `solve` rule
states and the facts do not imply is demanded here: a call that breaks it gets the error, never a wrong result.
"""

from __future__ import annotations

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from sod2jax import compat, ops
from sod2jax.errors import ShapeError
from sod2jax.ir.dims import Scope, expr_of


def demand(jaxpr: Jaxpr, scope: Scope) -> None:
    """Guards for the eqns of `jaxpr` and of the calls in it. ShapeError where the sizes at hand break a demand."""
    for eqn in jaxpr.eqns:
        record = ops.of(eqn.primitive)
        if record is None:
            continue
        if record.inner is not None:
            inner = eqn.params[record.inner]
            demand(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner, scope)
        elif record.solve is not None:
            outs = tuple(tuple(map(expr_of, v.aval.shape)) for v in eqn.outvars)
            ins = tuple(() if isinstance(v, Literal) else tuple(map(expr_of, v.aval.shape)) for v in eqn.invars)
            for lhs, rhs in record.solve(outs, ins, **eqn.params):
                if lhs is not rhs and (lhs.free or rhs.free) and not scope.box.known_eq(lhs, rhs):
                    where = compat.user_line(eqn)
                    try:
                        scope.require(lhs, "==", rhs, f"{eqn.primitive.name} needs {lhs} == {rhs}", where)
                    except ValueError as error:
                        raise ShapeError(str(error)) from None
