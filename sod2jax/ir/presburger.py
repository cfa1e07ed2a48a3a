"""Proof in Presburger arithmetic (islpy), for what ranges cannot decide.

* `implied(box, cond)`: the facts of the box together with `not cond` have no integer solution. `contradictory(box)`: nor have the
  facts alone.
* `//` and `%` by constants, min and max are Presburger's own. A product of symbols, or a division by one, becomes a fresh
  variable with its bounds, and for a division with its defining inequalities. So proofs stay sound; some are missed.
* The solver gets a budget of operations; beyond it the answer is False, "cannot tell".
"""

from __future__ import annotations

import islpy as isl

from sod2jax.ir.expr import FLOORDIV, MAX, MIN, MOD, SYM, Atom, Expr, Monomial, sym
from sod2jax.ir.program import Cond

_BUDGET = 300_000  # isl operations: at most some 100 ms; proofs that succeed take thousands

_NEGATED = {"<=": "{0} > {1}", "<": "{0} >= {1}", "==": "{0} != {1}", "!=": "{0} = {1}"}
_PLAIN = {"<=": "{0} <= {1}", "<": "{0} < {1}", "==": "{0} = {1}", "!=": "{0} != {1}"}


def implied(box, cond: Cond) -> bool:
    """Whether the facts of `box` imply `cond`; False where that stays open."""
    system = _System(box)
    goal = system.text(Cond(box.simplify(cond.lhs), cond.op, box.simplify(cond.rhs)), _NEGATED)
    return system.empty(goal)


def contradictory(box) -> bool:
    """Whether no integers fulfil the facts of `box`; False where that stays open."""
    system = _System(box)
    return system.empty(" and ".join(["0 = 0", *(system.text(f) for f in box.facts if f.op in _PLAIN)]))


class _System:
    def __init__(self, box):
        self.box = box
        self.names: dict[Atom | Monomial, str] = {}
        self.constraints: list[str] = []

    def empty(self, goal: str) -> bool:
        """No integers satisfy `goal` and what is known of its symbols."""
        self._facts()
        text = f"{{ [{', '.join(self.names.values())}] : {' and '.join([goal, *self.constraints])} }}"
        context = isl.Context()
        context.set_on_error(isl.on_error.CONTINUE) if hasattr(isl, "on_error") else None
        context.set_max_operations(_BUDGET)
        try:
            return bool(isl.Set.read_from_str(context, text).is_empty())
        except isl.Error:
            return False

    def text(self, cond: Cond, form=_PLAIN) -> str:
        return f"({form[cond.op].format(self._affine(cond.lhs), self._affine(cond.rhs))})"

    def _facts(self):
        """Close over the symbols in use: their bounds, and every fact that shares one."""
        done: set[str] = set()
        facts = [f for f in self.box.facts if f.op in _PLAIN]
        while True:
            new = {a.name for a in self.names if isinstance(a, Atom) and a.kind == SYM} - done
            if not new:
                return
            for name in sorted(new):
                lowers, uppers = self.box.bounds_of(name)
                self.constraints += [self.text(Cond(lo, "<=", sym(name))) for lo in lowers]
                self.constraints += [self.text(Cond(sym(name), "<=", hi)) for hi in uppers]
            for f in [f for f in facts if not new.isdisjoint(f.lhs.free | f.rhs.free)]:
                facts.remove(f)
                self.constraints.append(self.text(f))
            done |= new

    def _affine(self, e: Expr) -> str:
        out = []
        for m, c in e.terms:
            if not m:
                out.append(str(c))
            elif len(m) == 1:
                out.append(f"{c}*({self._atom(m[0])})")
            else:
                for a in m:
                    self._atom(a)  # for what is known of it
                out.append(f"{c}*{self._fresh(m, Expr.of({m: 1}))}")
        return "(" + " + ".join(out or ["0"]) + ")"

    def _atom(self, a: Atom) -> str:
        if a.kind == SYM:
            return self.names.setdefault(a, f"v{len(self.names)}")
        if a.kind in (MIN, MAX):
            return f"{a.kind}({', '.join(map(self._affine, a.args))})"
        x, y = a.args
        if y.value is not None and y.value > 0:
            return f"floor({self._affine(x)}/{y.value})" if a.kind == FLOORDIV else f"({self._affine(x)} mod {y.value})"
        fresh = a not in self.names
        name = self._fresh(a, a.expr)
        if fresh and (self.box.lower(y) or 0) >= 1:
            if a.kind == MOD:
                self.constraints.append(f"0 <= {name} and {name} < {self._affine(y)}")
            else:
                product = self._affine(a.expr * y)
                self.constraints.append(f"{product} <= {self._affine(x)} and {self._affine(x)} < {product} + {self._affine(y)}")
        return name

    def _fresh(self, key: Atom | Monomial, e: Expr) -> str:
        if key not in self.names:
            name = self.names[key] = f"v{len(self.names)}"
            low, high = self.box.lower(e), self.box.upper(e)
            if low is not None:
                self.constraints.append(f"{low} <= {name}")
            if high is not None:
                self.constraints.append(f"{name} <= {high}")
            # Products are compared with the products that they contain: s <= b*s for b >= 1.
            for other in list(self.names):
                if isinstance(other, tuple) or other.kind == SYM:
                    other_e = other.expr if isinstance(other, Atom) else Expr.of({other: 1})
                    for small, large in ((other_e, e), (e, other_e)):
                        if small is not large and self.box.known_le(small, large):
                            self.constraints.append(f"{self._affine(small)} <= {self._affine(large)}")
        return self.names[key]
