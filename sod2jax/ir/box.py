"""Boxes: what is known about symbols, and the questions that it answers.

* A box holds bounds per symbol (integers, or expressions over symbols that entered before it: a loop variable's `n - 1`),
  equalities, divisibilities and general inequalities.
* `lower(e)` and `upper(e)` eliminate one atom after the other, the outermost first: where the coefficient of an atom has a known
  sign, the atom gives way to its bound, which may be symbolic. So `i*s + j` with j <= s - 1 and i <= b - 1 is at most `b*s - 1`.
* `simplify` rewrites with ranges (`ir.simplify`); the `known_*` questions look at the simplified difference. True means: so at
  every point of the box; False: cannot tell.
* `prove` asks, where all this fails, the Presburger solver (`ir.presburger`). It costs about a millisecond.
* A box is immutable after its facts are in; every answer is remembered. `extend` makes a child that asks its parent about
  everything that does not contain a new symbol.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from copy import copy

from sod2jax.ir import presburger, simplify
from sod2jax.ir.expr import (
    FLOORDIV,
    MAX,
    MIN,
    MOD,
    SYM,
    Atom,
    Expr,
    as_expr,
    const,
    exact_quotient,
    floordiv,
    from_ast,
    mod,
    syntax_tree,
)
from sod2jax.ir.program import Cond

_DEEPEST = 32  # nested eliminations; deeper, a bound counts as unknown
_MOST = 500  # eliminations for one question: each atom has several bounds, and the ways to combine them are exponentially many

Bound = int | Expr | None


class _Work:
    """What is spent on the question being answered, by a box and its parents together."""

    depth = 0
    spent = 0
    cut = False  # whether the bound being looked for could be tighter with more depth or work


class Box:
    """`Box({"s": (1, 512), "i": (0, n - 1)})`: inclusive bounds, None where there is none."""

    def __init__(self, ranges: Mapping[str, tuple[Bound, Bound]] | None = None, facts=()):
        self._parent: Box | None = None
        self.scope = None  # the `ir.scope.Scope` whose sizes this box knows
        self._work = _Work()
        self._lowers: dict[str, list[Expr]] = {}
        self._uppers: dict[str, list[Expr]] = {}
        self._rank: dict[str, int] = {}
        self.equal: dict[str, Expr] = {}
        self.divisors: dict[Expr, int] = {}  # n divides e
        self.values: dict[Atom, Expr] = {}  # of quotients, remainders, minima and maxima that are constant here
        self.nonnegative: list[Expr] = []
        self.facts: list[Cond] = []
        self.declared: dict[str, tuple[Bound, Bound]] = {}
        self.forget()
        self.enter(ranges or {})
        for fact in facts:
            self.add_fact(fact)

    def forget(self):
        """Drops what was derived of the facts: it is derived again where it is asked for."""
        self._bounds: dict[tuple[Expr, bool], int | None] = {}
        self.simplified: dict[Expr, Expr] = {}
        self._proved: dict[Cond, bool] = {}
        self._larger: dict[tuple[str, int], Box] = {}

    def enter(self, ranges: Mapping[str, tuple[Bound, Bound]]) -> None:
        """More symbols, for good; `extend` leaves this box as it is."""
        self.forget()
        self.declared = {**self.declared, **ranges}
        for name, (lo, hi) in ranges.items():
            self._rank[name] = len(self._rank)
            self._lowers[name] = [] if lo is None else [as_expr(lo)]
            self._uppers[name] = [] if hi is None else [as_expr(hi)]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._rank)

    def extend(self, ranges: Mapping[str, tuple[Bound, Bound]]) -> Box:
        """A child box with more symbols; a symbol of the parent must not come again."""
        if again := self._rank.keys() & ranges.keys():
            raise ValueError(f"{', '.join(sorted(again))} already has a range in this box")
        child = object.__new__(Box)
        child._parent = self
        child.scope = self.scope
        child._work = self._work
        child._own = frozenset(ranges)
        child._lowers, child._uppers, child._rank = dict(self._lowers), dict(self._uppers), dict(self._rank)
        child.equal, child.divisors, child.nonnegative, child.facts = self.equal, self.divisors, self.nonnegative, self.facts
        child.values = self.values
        child.declared = self.declared
        child.enter(ranges)
        return child

    @property
    def is_root(self) -> bool:
        return self._parent is None

    def at_least(self, name: str, size: int) -> Box:
        """This box where symbol `name` is not below `size`."""
        box = self._larger.get((name, size))
        if box is None:
            box = self._larger[name, size] = copy(self)
            box._lowers = {**self._lowers, name: [*self._lowers[name], const(size)]}
            box.forget()
        return box

    def add_fact(self, fact: Cond | str) -> None:
        """Take `fact` for granted; a string may hold a chain: "0 < 2*a <= b", "s % 32 == 0"."""
        for cond in parse_conds(fact) if isinstance(fact, str) else (fact,):
            self._parent = None  # from here on the parent knows less
            self.facts = [*self.facts, cond]
            self._add(cond)
            self.forget()

    def _add(self, cond: Cond) -> None:
        lhs, rhs = cond.lhs.subs(self.equal), cond.rhs.subs(self.equal)
        if cond.op == "==":
            self._add_equal(lhs, rhs)
        elif cond.op in ("<=", "<"):
            self._add_nonnegative(rhs - lhs - (cond.op == "<"))
        elif self.lower(lhs - rhs) == 0:
            self._add_nonnegative(lhs - rhs - 1)
        elif self.lower(rhs - lhs) == 0:
            self._add_nonnegative(rhs - lhs - 1)

    def _add_equal(self, lhs: Expr, rhs: Expr) -> None:
        difference = lhs - rhs
        # p % n == 0
        for m, _ in difference.terms:
            if len(difference.terms) == 1 and len(m) == 1 and m[0].kind == MOD and m[0].args[1].value is not None:
                p, n = m[0].args
                self.divisors = {**self.divisors, p: math.lcm(n.value, self.divisors.get(p, 1))}
                return
        # An atom that is constant.
        for atom in difference.atoms if len(difference.atoms) == 1 else ():
            for value in (atom.expr - difference, atom.expr + difference):
                if atom.args and value.value is not None:
                    self.values = {**self.values, atom: value}
        # A symbol that can be solved for: the one that entered last goes.
        for name in sorted(difference.free, key=lambda n: self._rank.get(n, -1), reverse=True):
            solved = difference.linear({name})
            if solved is not None and abs(solved[0][name].value or 0) == 1:
                value = solved[1] * -solved[0][name].value
                for lo in self._lowers.get(name, ()):
                    self._add_nonnegative(value - lo)
                for hi in self._uppers.get(name, ()):
                    self._add_nonnegative(hi - value)
                self.equal = {n: e.subs({name: value}) for n, e in self.equal.items()} | {name: value}
                # What was known of the symbol is now known of its value.
                self.nonnegative = [e.subs({name: value}) for e in self.nonnegative]
                for p, n in list(self.divisors.items()):
                    if name in p.free:
                        self._add_equal(mod(p.subs({name: value}), n), const(0))
                return
        self._add_nonnegative(difference)
        self._add_nonnegative(-difference)

    def _add_nonnegative(self, e: Expr) -> None:
        """e >= 0: a bound of the last of its symbols if it stands alone there, else a general fact."""
        if e.value is not None:
            return
        last = max(e.free, key=lambda n: self._rank.get(n, -1))
        solved = e.linear({last})
        k = solved[0][last].value if solved is not None and last in solved[0] else None
        if k is not None and last in self._rank and (abs(k) == 1 or solved[1].value is not None):
            if k > 0:
                self._lowers[last] = [*self._lowers[last], -floordiv(solved[1], k)]
            else:
                self._uppers[last] = [*self._uppers[last], floordiv(solved[1], -k)]
        else:
            self.nonnegative = [*self.nonnegative, e]

    # -- asking

    def simplify(self, e: Expr) -> Expr:
        """An expression with the same value everywhere in the box, shorter if ranges and facts make it so."""
        out = self.simplified.get(e)
        if out is None:
            out = self._parent.simplify(e) if self._delegates(e) else simplify.simplify(e, self)
            if not self._work.cut:  # what is found within a question that has little left to spend is not for keeping
                self.simplified[e] = out
        return out

    def lower(self, e) -> int | None:
        """An integer that `e` never falls below, or None."""
        return self._with_facts(self.simplify(as_expr(e)), False)

    def upper(self, e) -> int | None:
        """An integer that `e` never exceeds, or None."""
        return self._with_facts(self.simplify(as_expr(e)), True)

    def known_eq(self, a, b) -> bool:
        a, b = as_expr(a), as_expr(b)
        return a is b or self.simplify(a - b).value == 0

    def known_le(self, a, b) -> bool:
        low = self.lower(as_expr(b) - a)
        return low is not None and low >= 0

    def known_lt(self, a, b) -> bool:
        return self.known_le(as_expr(a) + 1, b)

    def known_divisible(self, a, n) -> bool:
        """Whether `a % n` is always 0."""
        n = as_expr(n)
        return n.value != 0 and self.simplify(mod(a, n)).value == 0

    def decide(self, cond: Cond) -> bool | None:
        """What normal form and ranges say about `cond`; None where they say nothing."""
        lhs, rhs = cond.lhs, cond.rhs
        if cond.op == "<=":
            return True if self.known_le(lhs, rhs) else False if self.known_lt(rhs, lhs) else None
        if cond.op == "<":
            return True if self.known_lt(lhs, rhs) else False if self.known_le(rhs, lhs) else None
        same = True if self.known_eq(lhs, rhs) else False if self.known_lt(lhs, rhs) or self.known_lt(rhs, lhs) else None
        return same if cond.op == "==" or same is None else not same

    def prove(self, cond: Cond) -> bool:
        """Whether `cond` holds everywhere in the box, as far as ranges and Presburger arithmetic can tell."""
        out = self._proved.get(cond)
        if out is None:
            decided = self.decide(cond)
            out = self._proved[cond] = presburger.implied(self, cond) if decided is None else decided
        return out

    # -- bounds

    def _delegates(self, e: Expr) -> bool:
        return self._parent is not None and self._own.isdisjoint(e.free)

    def bounds_of(self, name: str) -> tuple[list[Expr], list[Expr]]:
        """All lower and all upper bounds that are on record for a symbol."""
        return self._lowers.get(name, []), self._uppers.get(name, [])

    def _with_facts(self, e: Expr, up: bool) -> int | None:
        best = self.bound(e, up)
        for fact in self.nonnegative:
            if not fact.free.isdisjoint(e.free):
                best = _tighter(best, self.bound(e + fact if up else e - fact, up), up)
        return best

    def bound(self, e: Expr, up: bool) -> int | None:
        """`upper` or `lower` of an expression that is simplified already, without the general facts."""
        if e.value is not None:
            return e.value
        key = (e, up)
        if key in self._bounds:
            return self._bounds[key]
        if self._delegates(e):
            return self._parent.bound(e, up)
        work = self._work
        if outermost := work.depth == 0:
            work.spent = 0
        if work.depth >= _DEEPEST or work.spent >= _MOST:
            work.cut = True
            return None
        outer_cut, work.cut = work.cut, False
        work.depth += 1
        work.spent += 1
        try:
            out = self._eliminate(e, up)
        finally:
            work.depth -= 1
        if outermost or not work.cut:  # another caller may have more to spend than this one had left
            self._bounds[key] = out
        work.cut = not outermost and (work.cut or outer_cut)
        return out

    def _eliminate(self, e: Expr, up: bool) -> int | None:
        x = max(e.atoms, key=lambda a: (a.height, self._rank.get(a.name, -1)))
        c_terms, r_terms = {}, {}
        for m, c in e.terms:
            if x in m:
                i = m.index(x)
                m = m[:i] + m[i + 1 :]
                if x in m:
                    return self._by_interval(e, up)
                c_terms[m] = c
            else:
                r_terms[m] = c
        c, rest = Expr.of(c_terms), Expr.of(r_terms)
        if x.kind in (MIN, MAX):
            return self._of_extreme(x, c, rest, up)
        low = self.bound(c, False)
        if low is not None and low >= 0:
            x_up = up
        else:
            high = self.bound(c, True)
            if high is None or high > 0:
                return self._by_interval(e, up)
            x_up = not up
        best = None
        if x.kind == FLOORDIV:
            best = self._of_quotient(x, c, rest, up, x_up)
        for value in self._candidates(x, x_up):
            best = _tighter(best, self.bound(c * value + rest, up), up)
        return best

    def _candidates(self, x: Atom, up: bool):
        """Expressions that atom x never exceeds (or falls below), over atoms that are eliminated after x."""
        if x.kind == SYM:
            return self._uppers.get(x.name, ()) if up else self._lowers.get(x.name, ())
        a, b = x.args
        divisor = self.bound(b, False)
        if divisor is None or divisor < 1:
            return ()
        if x.kind == MOD:
            if not up:
                return (const(0),)
            low = self.bound(a, False)
            return (b - 1, a) if low is not None and low >= 0 else (b - 1,)
        limit = self.bound(a, up)
        out = []
        if limit is not None:
            # A negative quotient is lowest at the smallest divisor, a positive one at the largest: up to 0 when that is unknown.
            at = divisor if (limit >= 0) == up else self.bound(b, True)
            out.append(const(limit // at if at is not None else (-1 if up else 0)))
        elif up and b.value is None and (gap := self.bound(b - 1 - a, False)) is not None and gap >= 0:
            out.append(const(0))
        if b.value is None and up and (low := self.bound(a, False)) is not None and low >= 0:
            out.append(a)
        out.extend(self.simplify(floordiv(e, b)) for e in self._symbolic_limits(a, up))
        return out

    def _symbolic_limits(self, a: Expr, up: bool) -> list[Expr]:
        """`a` with its last symbol at its symbolic bound, a loop variable at the end of its loop."""
        last = max(a.free, key=lambda n: self._rank.get(n, -1), default=None)
        solved = a.linear({last}) if self._lowers.get(last) or self._uppers.get(last) else None
        if solved is None or (k := solved[0][last].value) is None:
            return []
        limits = self._uppers[last] if up == (k > 0) else self._lowers[last]
        return [limit * k + solved[1] for limit in limits if limit.value is None]

    def _of_quotient(self, x: Atom, c: Expr, rest: Expr, up: bool, x_up: bool) -> int | None:
        """By a - b + 1 <= b*x <= a, for b >= 1."""
        a, b = x.args
        limit = a if x_up else a - b + 1
        if b.value is not None:
            scaled = self.bound(c * limit + rest * b, up)
            return None if scaled is None else (scaled // b.value if up else -(-scaled // b.value))
        low = self.bound(b, False)
        whole = exact_quotient(c, b)
        return self.bound(whole * limit + rest, up) if low is not None and low >= 1 and whole is not None else None

    def _of_extreme(self, x: Atom, c: Expr, rest: Expr, up: bool) -> int | None:
        values = [self.bound(c * a + rest, up) for a in x.args]
        # It is one of its arguments: the worst of them is a bound. Where the sign of c lets each one bound it, the best is.
        low = self.bound(c, False)
        high = self.bound(c, True) if low is None or low < 0 else None
        sign = 1 if low is not None and low >= 0 else -1 if high is not None and high <= 0 else 0
        towards = (x.kind == MIN) == (up if sign > 0 else not up)
        if sign and towards:
            return (min if up else max)((v for v in values if v is not None), default=None)
        return None if None in values else (max if up else min)(values)

    def _by_interval(self, e: Expr, up: bool) -> int | None:
        total = 0
        for m, c in e.terms:
            low, high = 1, 1
            for a in m:
                pair = (
                    (self.bound(a.expr, False), self.bound(a.expr, True)) if len(e.atoms) > 1 or a.expr is not e else (None, None)
                )
                low, high = _product((low, high), pair)
            v = high if (c > 0) == up else low
            if v is None:
                return None
            total += c * v
        return total

    def __repr__(self):
        parts = []
        for n in self._rank:
            lo, hi = self._lowers[n], self._uppers[n]
            parts.append(f"{n}: {' | '.join(map(str, lo)) or '-inf'}..{' | '.join(map(str, hi)) or 'inf'}")
        return f"Box({'; '.join(parts + [str(f) for f in self.facts])})"


def _tighter(a: int | None, b: int | None, up: bool) -> int | None:
    if a is None or b is None:
        return b if a is None else a
    return min(a, b) if up else max(a, b)


def _product(x, y):
    """Bounds of a product; None is infinite."""
    if None not in x and None not in y:
        corners = [a * b for a in x for b in y]
        return min(corners), max(corners)
    if x[0] is not None and y[0] is not None and x[0] >= 0 and y[0] >= 0:
        return x[0] * y[0], None
    return None, None


_COMPARISONS = {ast.Eq: "==", ast.NotEq: "!=", ast.LtE: "<=", ast.Lt: "<", ast.GtE: ">=", ast.Gt: ">"}


def parse_conds(text: str) -> list[Cond]:
    """Read "s <= 512", "h % 32 == 0", "a == 2*b", "1 <= s <= t < 9"; ValueError for anything else."""
    try:
        node = syntax_tree(text)
        if not isinstance(node, ast.Compare) or any(type(op) not in _COMPARISONS for op in node.ops):
            raise ValueError("a comparison with == != <= < >= > is needed")
        sides = [from_ast(x) for x in (node.left, *node.comparators)]
    except (ValueError, TypeError) as err:
        raise ValueError(f"cannot read {text!r} as a constraint: {err}") from None
    out = []
    for lhs, op, rhs in zip(sides, node.ops, sides[1:]):
        op = _COMPARISONS[type(op)]
        out.append(Cond(rhs, op.replace(">", "<"), lhs) if op[0] == ">" else Cond(lhs, op, rhs))
    return out
