"""What eqns demand of sizes (`ops.demands`): proved, or turned into guards.

* JAX checks much of it while tracing, but not all: a reshape's element count only where all sizes are constant. Here every
  demand of every eqn is looked at, at every depth: a demand in the body of a loop or branch is one of the call, taken or not.
* What the facts do not imply is a guard of the version: a call that breaks it gets the error, never a wrong result.
"""

from __future__ import annotations

from collections.abc import Callable

from jax.extend.core import Jaxpr

from sod2jax import compat
from sod2jax.errors import ShapeError
from sod2jax.ir.program import Cond
from sod2jax.ir.scope import Scope
from sod2jax.ops import demands


def demand(jaxpr: Jaxpr, live: Jaxpr, scope: Scope) -> None:
    """Guards for the eqns of `jaxpr`, and of `live`, what its results need of it, and of all jaxprs in them.

    ShapeError where the sizes at hand break a demand.
    """
    _Walk(scope, lambda eqn: demands.demanded(eqn, scope.box.simplify), demands.numbers).enter(jaxpr)
    _Walk(scope, demands.demanded_late).enter(live)


class _Walk:
    """Guards for what `of_eqn` asks of each eqn, and `numbers` of each jaxpr: sizes that become numbers, and their dtypes."""

    def __init__(self, scope: Scope, of_eqn: Callable, numbers: Callable = lambda jaxpr: ()):
        self.scope, self.of_eqn, self.numbers = scope, of_eqn, numbers
        self.met: set[Cond] = set()
        self.seen: dict[int, Jaxpr] = {}  # JAX shares the body of a function among its calls

    def enter(self, jaxpr: Jaxpr) -> None:
        if id(jaxpr) in self.seen:
            return
        self.seen[id(jaxpr)] = jaxpr
        for eqn in jaxpr.eqns:
            for cond in self.of_eqn(eqn):
                if cond not in self.met:
                    self.met.add(cond)
                    self.require(cond, eqn)
            for body in demands.bodies(eqn):
                self.enter(body)
        for eqn, cond, dtype in self.numbers(jaxpr):
            if cond not in self.met:
                self.met.add(cond)
                size = cond.lhs if cond.rhs.value is not None else cond.rhs
                self.require(cond, eqn, f"the size {size} is used as {dtype}, which it does not fit into", OverflowError)

    def require(self, cond: Cond, eqn, message: str = "", kind: type[Exception] = ShapeError) -> None:
        if self.scope.box.decide(cond):
            return
        message = message or f"{eqn.primitive.name} needs {cond}"
        try:
            self.scope.require(cond.lhs, cond.op, cond.rhs, message, compat.user_line(eqn), kind)
        except ValueError as error:
            raise kind(str(error)) from None
