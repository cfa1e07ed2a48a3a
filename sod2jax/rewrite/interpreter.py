"""The interpreter that writes a new jaxpr from an old one, eqn by eqn.

* `rewrite(closed_jaxpr, rules, box)` reads eqns in order. The rules of an eqn's primitive are tried on the eqn with its operands
  already rewritten; the first that answers replaces it, otherwise the eqn is kept.
* A rule is `rule(cx, eqn) -> atom | [atoms] | None`. It looks back through `cx.maker` and writes eqns with `cx.emit`, to which
  the rules apply in turn, so one sweep reaches a fixed point of local rules. A rule must make the eqn simpler by some measure.
* Nothing is traced: an eqn is a record, and its avals come from the rule. So symbolic sizes meet no comparison of JAX's.
* New eqns take source line, name stack and context of the eqn that they replace.
* A pass that changes nothing returns the very object that it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var, no_effects

from sod2jax.compat import ShapedArray
from sod2jax.ir.box import Box
from sod2jax.ir.dims import Dim, expr_of
from sod2jax.ir.expr import Expr
from sod2jax.ir.scope import scope_of
from sod2jax.rewrite.positions import Reader

Atom = Var | Literal
Rule = Callable[["Context", JaxprEqn], "Atom | Sequence[Atom] | None"]
Rules = Mapping[Primitive, Sequence[Rule]]


class Context:
    """The jaxpr being written, as rules see it."""

    # Elements of an array that is read or made at compile time: index tables and small vectors, never weights.
    largest_constant = 1024

    def __init__(self, closed: ClosedJaxpr, rules: Rules, box: Box):
        self.box = box
        self.eqns: list[JaxprEqn] = []
        self.consts: dict[Var, object] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        self._rules = rules
        self._env: dict[Var, Atom] = {}
        self._makers: dict[Var, JaxprEqn] = {}
        self._current: JaxprEqn | None = None
        self._outputs = {v for v in closed.jaxpr.outvars if isinstance(v, Var)}
        self._closed = closed

    # -- what rules ask

    def maker(self, atom: Atom, *prims: Primitive) -> JaxprEqn | None:
        """The eqn that computes `atom` (if it is of one of `prims`, where given)."""
        eqn = self._makers.get(atom) if isinstance(atom, Var) else None
        return eqn if eqn is None or not prims or eqn.primitive in prims else None

    def known(self, atom: Atom) -> np.ndarray | None:
        """The value of a literal or of a small constant."""
        if isinstance(atom, Literal):
            return np.asarray(atom.val, atom.aval.dtype)
        value = self.consts.get(atom)
        if value is None or np.size(value) > self.largest_constant or not isinstance(atom.aval.dtype, np.dtype):
            return None
        return np.asarray(value)

    def reader(self, shape: Sequence) -> Reader:
        """Reads integer arrays at a symbolic position of an array of `shape`."""
        return Reader(self, shape)

    def inside(self, body: ClosedJaxpr) -> Context:
        """The body of a loop or branch, for looking only: its constants, makers and sizes."""
        cx = Context(body, {}, self.box)
        cx.run()
        return cx

    def integer(self, atom: Atom) -> Expr | None:
        """The value of an integer scalar in terms of sizes."""
        return self.reader(()).read(atom, ())

    def same(self, a, b) -> bool:
        """Whether two sizes are known to be equal."""
        if isinstance(a, int) and isinstance(b, int):
            return a == b
        return a is b or self.box.known_eq(expr_of(a), expr_of(b))

    def same_shape(self, a: Sequence, b: Sequence) -> bool:
        return len(a) == len(b) and all(map(self.same, a, b))

    # -- what rules write

    def emit(self, prim: Primitive, operands: Iterable[Atom], shape: Sequence, dtype, /, **params) -> Atom:
        """The result of one eqn with one output."""
        return self.emit_many(prim, operands, [ShapedArray(tuple(shape), dtype)], **params)[0]

    def emit_many(self, prim: Primitive, operands: Iterable[Atom], avals, /, **params) -> list[Atom]:
        """The results of one eqn."""
        outvars = [Var(aval) for aval in avals]
        current = self._current
        eqn = JaxprEqn(list(operands), outvars, prim, params, no_effects, current.source_info, current.ctx)
        replaced = self._apply(eqn)
        if replaced is not None:
            return replaced
        self._append(eqn)
        return outvars

    def constant(self, value, aval=None) -> Atom:
        """An array known now: a literal if scalar, else a constvar."""
        aval = aval or ShapedArray(value.shape, value.dtype)
        if value.ndim == 0:
            return Literal(value.item() if aval.weak_type else value[()], aval)
        var = Var(aval)
        self.consts[var] = value
        return var

    def dim(self, size) -> int | Dim:
        """An expression as JAX wants it in a shape or a param."""
        expr = self.box.simplify(expr_of(size))
        return expr.value if expr.value is not None else scope_of(self.box).dim(expr)

    # -- the interpreter

    def run(self) -> ClosedJaxpr:
        closed, jaxpr = self._closed, self._closed.jaxpr
        changed = False
        for eqn in jaxpr.eqns:
            eqn = self._read(eqn)
            self._current = eqn
            replaced = None if eqn.effects else self._apply(eqn)
            if replaced is not None and all(map(self._may_replace, eqn.outvars, replaced)):
                self._env.update(zip(eqn.outvars, replaced, strict=True))
                changed = True
            else:
                self._append(eqn)
        if not changed:
            return closed
        outvars = [self._env.get(v, v) if isinstance(v, Var) else v for v in jaxpr.outvars]
        constvars = list(self.consts)
        return close(jaxpr, constvars, list(self.consts.values()), self.eqns, outvars)

    def _read(self, eqn: JaxprEqn) -> JaxprEqn:
        env = self._env
        if any(v in env for v in eqn.invars if isinstance(v, Var)):
            return eqn.replace(invars=[env.get(v, v) if isinstance(v, Var) else v for v in eqn.invars])
        return eqn

    def _apply(self, eqn: JaxprEqn) -> list[Atom] | None:
        for rule in self._rules.get(eqn.primitive, ()):
            result = rule(self, eqn)
            if result is not None:
                return list(result) if isinstance(result, (list, tuple)) else [result]
        return None

    def _append(self, eqn: JaxprEqn) -> None:
        self.eqns.append(eqn)
        for v in eqn.outvars:
            self._makers[v] = eqn

    def _may_replace(self, var: Var, atom: Atom) -> bool:
        """Outputs keep their weak type: it is part of what the caller gets back."""
        return var not in self._outputs or weak_type(var) == weak_type(atom)


def rewrite(closed: ClosedJaxpr, rules: Rules, box: Box) -> ClosedJaxpr:
    """`closed` with `rules` applied to every eqn."""
    return Context(closed, rules, box).run()


def weak_type(atom: Atom) -> bool:
    return getattr(atom.aval, "weak_type", False)  # tokens and references have none


def close(old: Jaxpr, constvars, consts, eqns, outvars) -> ClosedJaxpr:
    """A closed jaxpr with the invars, names and effects of `old`."""
    effects = set().union(*(eqn.effects for eqn in eqns)) if any(eqn.effects for eqn in eqns) else no_effects
    return ClosedJaxpr(Jaxpr(constvars, old.invars, outvars, eqns, effects, old.debug_info), consts)
