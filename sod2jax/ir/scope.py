"""The scope of a trace: its symbols, what is known of them, and who decides what is asked of sizes (`ir.dims.Dim`).

* A comparison is decided by the normal form, then by ranges and facts, by proof (`Box.prove`), at last by the *hint* (the size in
  the call at hand), and then a guard is recorded: a call that breaks it gets another version, never a wrong answer. Without
  hints a user's question is an error, and JAX's a check at run time.
* The exceptions are call sites to which "no" is right whatever the truth is (`call_sites.SITES`), such as JAX's broadcasting: it
  asks `d == 1`, and after a no it demands that the sizes be equal. Memos look their keys up by identity.
* `range(d)`, `int(d)`, `float(d)`, `str(d)` and `hash(d)` in user code fix d to its hint, under a guard. For JAX a Dim is never
  an index, and its text is for people.
"""

from __future__ import annotations

import contextlib
import operator
import sys
from collections.abc import Iterator

import numpy as np

from sod2jax import compat
from sod2jax.ir import call_sites
from sod2jax.ir.box import Bound, Box
from sod2jax.ir.comparison import by_integer, is_bound, is_remainder, negation, reduced
from sod2jax.ir.dims import Dim, UndecidedDimension, expr_of, is_int
from sod2jax.ir.expr import MAX, MIN, Expr, as_expr, const, sym
from sod2jax.ir.fixed import IN_ARRAY, MEMBER, NOWHERE, TEXT, Fixed, Place, SimplerWithoutZero, SizeNeeded, needs, place, remedy
from sod2jax.ir.program import Cond, Guard

_COMPLEMENT = {">": "<=", ">=": "<"}
_INT32 = 2**31 - 1
_WIDE = 2**62  # coefficients that the runtime's integers do not hold
_HOLDS = {"==": operator.eq, "!=": operator.ne, "<=": operator.le, "<": operator.lt}


class Scope:
    """The symbols of one trace: what is known of them (`box`), their sizes in the call at hand, and what was decided by those.

    `guards` are the decisions of the trace, and what `require` asked for. `units` are sizes that were 1 or 0 in the call at hand
    when JAX asked and got a no: if the trace fails, fixing these is worth a try. `refused` are the errors that JAX got where it
    wanted a number: a trace that comes to its end all the same swallowed them, and may have taken them for an answer.
    """

    def __init__(self, symbols: dict[str, tuple[Bound, Bound]] | None = None, facts=(), hints: dict[str, int] | None = None):
        self.box = Box(symbols, facts)
        self.box.scope = self
        self.hints: dict[str, int] = dict(hints or {})
        self.guards: list[Guard] = []
        self.fixed: list[Fixed] = []
        self.refused: list[TypeError] = []
        self.in_arrays: list[SizeNeeded] = []
        self.units: dict[Expr, int] = {}
        self._open = True
        self._dims: dict[Expr, Dim] = {}
        self._facts_of_guards: set[int] = set()
        self._hinted: dict[Expr, int | None] = {}
        self._answers: dict[Cond, bool] = {}

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Guards are taken within this block. After it, what is asked is proved, or an error."""
        self._open = True
        try:
            yield
        finally:
            self._open = False

    @property
    def has_sizes(self) -> bool:
        """Whether the trace holds a symbolic size, be it one that became a number since."""
        return bool(self._dims)

    # -- making sizes

    def symbol(self, name: str, lo: Bound = 0, hi: Bound = None, hint: int | None = None) -> Dim | int:
        """A new symbol, with inclusive bounds."""
        self.box.enter({name: (lo, hi)})
        if hint is not None:
            self.hints[name] = int(hint)
            self._hinted.clear()
        return self.dim(sym(name))

    def fresh(self, prefix: str, lo: Bound = 0, hi: Bound = None, hint: int | None = None) -> Dim:
        """A symbol with a name of its own: prefix and a number. The size of something that depends on data."""
        n = 0
        while f"{prefix}{n}" in self.box.names:
            n += 1
        return self.symbol(f"{prefix}{n}", lo, hi, hint)

    def dim(self, e: Expr | int) -> Dim | int:
        """The size with this expression; an int if the box knows it to be constant."""
        e = self.box.simplify(as_expr(e))
        if e.value is not None:
            return e.value
        d = self._dims.get(e)
        if d is None and self._open and e.free <= self.hints.keys() and any(abs(c) >= _WIDE for _, c in e.terms):
            for size in map(self.dim, map(sym, sorted(e.free))):
                if isinstance(size, Dim):
                    self._specialise(size, "a factor of a number beyond 63 bits", sys._getframe())
            return e.eval(self.hints)  # as Python computes it
        if d is None:
            d = self._dims[e] = Dim(e, self)
        return d

    def hint(self, e: Expr) -> int | None:
        """The value of `e` in the call at hand, if there is one."""
        if e not in self._hinted:
            known = e.free <= self.hints.keys()
            try:
                self._hinted[e] = e.eval(self.hints) if known else None
            except ZeroDivisionError:
                self._hinted[e] = None
        return self._hinted[e]

    # -- deciding

    def require(self, lhs, op: str, rhs, message: str = "", where: str = "", error: type[Exception] | None = None) -> None:
        """Demand `lhs op rhs`: nothing if it is known, ValueError if it fails always or at the sizes at hand.

        Else it is a guard: sizes that break it come here again and get the error, or `error` from what was compiled
        without sizes at hand.
        """
        cond = reduced(Cond(expr_of(lhs), op, expr_of(rhs)))
        left, right = self.hint(cond.lhs), self.hint(cond.rhs)
        hinted = None if left is None or right is None else _HOLDS[op](left, right)
        if hinted is False or self.box.decide(cond) is False:
            if hinted is False and self._open:  # the program may catch the error, and go on
                self.guards.append(Guard(negation(cond), "version", f"{negation(cond)} (now {{lhs}} and {{rhs}})", where))
            values = "" if hinted is None else f" (now {left} and {right})"
            raise ValueError(f"{message or f'{cond} must hold'}{values}{f' at {where}' if where else ''}")
        if self.box.prove(cond):
            return
        text = f"{message or f'{cond} must hold'} (now {{lhs}} and {{rhs}})"
        self.guards.append(Guard(cond, "version", text, where, error))
        self._assume(cond)

    def require_int(self, d: Dim, dtype=None) -> None:
        """Demand that a size fits where JAX makes an array of an int; OverflowError, as JAX raises it, if it does not."""
        dtype = compat.canonical_dtype(dtype or np.int64)
        limits, message = np.iinfo(dtype), f"the size {d.expr} is used as {dtype}, which it does not fit into"
        if dtype == np.int64:
            return  # as every size does
        try:
            self.require(d, "<=", int(limits.max), message, "", OverflowError)
            self.require(int(limits.min), "<=", d, message, "", OverflowError)
        except ValueError as error:
            raise OverflowError(str(error)) from None

    def _assume(self, cond: Cond) -> None:
        self.box.add_fact(cond)
        self._facts_of_guards.add(id(self.box.facts[-1]))

    def _compare(self, a: Dim, op: str, b, frame) -> bool:
        if type(b) is Dim:
            if b.scope is not self:
                if call_sites.in_memo(frame):
                    return False
                raise ValueError(f"sizes {a.expr} and {b.expr} belong to different traces: a size must not leave its function")
            rhs = b.expr
        elif is_int(b):
            rhs = const(int(b))
        else:
            found = by_integer(op, b)
            if isinstance(found, bool):
                return found
            op, rhs = found[0], const(found[1])
        if op in (">", ">="):
            return not self._ask(Cond(a.expr, _COMPLEMENT[op], rhs), frame)
        return self._ask(Cond(a.expr, op, rhs), frame)

    def _ask(self, cond: Cond, frame) -> bool:
        cond = reduced(cond)
        answer = self._answers.get(cond)
        if answer is None:
            answer = self.box.decide(cond)
        if answer is None and cond.op == "==" and (call_sites.in_memo(frame) or self._waives(cond, frame)):
            return False
        if answer is None:
            answer = self._decide(cond, frame)
        self._answers[cond] = answer
        return answer

    def _waives(self, cond: Cond, frame) -> bool:
        """Whether the one who asks may be told no, whatever the truth is."""
        site = call_sites.site_of(frame)
        if site is None or is_remainder(cond.lhs):
            return False
        value = cond.rhs.value
        if not (site.empty if value == 0 else site.equal or (site.one and value == 1)):
            return False
        if value in (0, 1):
            hinted = self._hinted_truth(cond)
            if hinted is not False and any(a.args for a in cond.lhs.atoms) and self.box.prove(cond):
                return False  # a gradient's window, say: a formula of sizes that is 1 at all of them
            if hinted:
                self.units[cond.lhs] = cond.rhs.value
        return not (site.raises and call_sites.may_be_caught(frame))

    def _hinted_truth(self, cond: Cond) -> bool | None:
        """Whether `cond` holds in the call at hand."""
        left, right = self.hint(cond.lhs), self.hint(cond.rhs)
        return None if left is None or right is None else _HOLDS[cond.op](left, right)

    def _decide(self, cond: Cond, frame) -> bool:
        """By proof, else by the sizes at hand, under a guard."""
        hinted, opposite = self._hinted_truth(cond), negation(cond)
        # The hints are a counterexample to one of the two proofs.
        if hinted is not False and self.box.prove(cond):
            if cond.op == "==" and cond.rhs.value is not None:
                self._assume(cond)  # so that the normal form knows it, too
            return True
        # That two sizes never agree is next to never provable, and its guard next to never broken.
        by_user = call_sites.by_user(frame)
        if hinted is not True and (by_user or cond.op != "==") and self.box.prove(opposite):
            return False
        if not self._open:
            raise UndecidedDimension(f"whether {cond} or {opposite} is not known, and the trace that could record it is over.")
        if hinted is None:
            if cond.op == "==" and not by_user:
                self._record(opposite, "taken for granted by JAX where sizes are not known", frame)
                return False
            raise UndecidedDimension(
                f"whether {cond} or {opposite} is not known at {call_sites.user_line(frame)}. Say which in constraints=, or "
                "trace with arrays or concrete sizes, which decide it for one version."
            )
        if hinted and cond.op == "==" and not by_user and self._is_long(cond):
            self.refused.append(SimplerWithoutZero(f"whether {cond} is not known where sizes may be 0"))
            raise self.refused[-1]
        self._record(cond if hinted else opposite, "decided here" if by_user else "needed by JAX", frame)
        return hinted

    def _is_long(self, cond: Cond) -> bool:
        """Whether a formula has cases, of which some are gone where no size is 0, and sizes that are not 0 now may be."""
        names = cond.lhs.free | cond.rhs.free
        may_be_empty = any(self.box.lower(sym(n)) == 0 and self.hints[n] > 0 for n in names)
        return may_be_empty and any(a.kind in (MIN, MAX) for a in (*cond.lhs.atoms, *cond.rhs.atoms))

    def _record(self, cond: Cond, why: str, frame) -> None:
        message = f"{cond} ({why}; now {{lhs}} and {{rhs}})"
        self.guards.append(Guard(cond, "version", message, call_sites.user_line(frame)))
        if is_bound(cond):
            self._assume(cond)

    def _fix(self, d: Dim, what: str, frame) -> int:
        """The size at hand of `d`, under a guard. TypeError for JAX, to which a symbolic size is no integer."""
        if call_sites.only_fits(frame) and (hint := self.hint(d.expr)) is not None and hint <= _INT32:
            self.assume(Cond(d.expr, "<=", const(_INT32)), "fits an int32")
            return hint
        if call_sites.by_us(frame):
            raise SizeNeeded(d.expr, what)
        if not call_sites.by_user(frame):
            site = call_sites.site_of(frame)
            if site is not None and site.refusal:
                raise SizeNeeded(d.expr, what)
            self.refused.append(SizeNeeded(d.expr, what, self.place(frame)))
            raise self.refused[-1]
        return self._specialise(d, what, frame)

    def _specialise(self, d: Dim, what: str, frame) -> int:
        hint = self.hint(d.expr)
        if hint is None:
            raise UndecidedDimension(
                f"the symbolic size {d.expr} is used as {what} at {call_sites.user_line(frame)}, which needs a number. "
                "Mark the dim static in shapes=, or trace with arrays or concrete sizes, which fix it for one version."
            )
        where = self.place(frame)
        who = f"`{where.expression}`" if where.expression else "the code"
        self.fix(Fixed(d.expr, hint, who, where, needs(what), remedy(where, what)))
        return hint

    def fix(self, fixed: Fixed) -> None:
        """Makes a size a number, under a guard, and keeps the reason."""
        cond = Cond(fixed.size, "==", const(fixed.value))
        if self.box.decide(cond) is True:
            return
        if not self._open:
            raise UndecidedDimension(f"the size {fixed.size} has no number: the trace that could fix it is over.")
        self.guards.append(Guard(cond, "version", f"{cond} (needed as a number; now {{lhs}} and {{rhs}})", str(fixed.place)))
        self._assume(cond)
        self.fixed.append(fixed)

    def place(self, frame=None) -> Place:
        """The user's line that `frame`, or who calls this, works for."""
        frame = frame or sys._getframe()
        while frame is not None and call_sites.owner(frame.f_code.co_filename) != "user":
            frame = frame.f_back
        return NOWHERE if frame is None else place(frame.f_code, frame.f_lasti, frame.f_lineno)

    def ask(self, cond: Cond) -> bool:
        """Whether `cond` holds, proved or under a guard, for a caller within sod2jax that asks for its own."""
        return self._ask(cond, sys._getframe(1))

    def note_array(self, sizes) -> None:
        """An array of `sizes` is traced where NumPy would make it: what the program does with it may need their numbers."""
        self.in_arrays += [SizeNeeded(e, IN_ARRAY, self.place()) for e in sizes]

    def assume(self, cond: Cond, why: str) -> None:
        """A guard of the version: what holds for the sizes at hand."""
        if self.box.decide(cond) is not True:
            self._record(cond, why, sys._getframe(1))

    def _hashed(self, d: Dim, frame) -> int:
        """The hash for a set or dict that is no memo: members that have equal hashes ask whether they are equal."""
        if (known := self.box.simplify(d.expr).value) is not None:  # by a guard: then it is this number's twin
            return hash(known)
        site = call_sites.site_of(frame)
        if site is not None and site.hashes and not call_sites.may_be_caught(frame):
            return hash(Dim)
        if not self._open:
            return d._hash
        return hash(self._specialise(d, MEMBER, frame))

    def _text(self, d: Dim, frame) -> str:
        """The number, for a program that could decide by it; else the formula."""
        if self._open and not call_sites.by_us(frame) and call_sites.by_user(frame) and self.hint(d.expr) is not None:
            return str(self._specialise(d, TEXT, frame))
        return str(d.expr)

    def minimal_guards(self) -> list[Guard]:
        """The guards that neither the constraints nor the other guards imply."""
        given = [f for f in self.box.facts if id(f) not in self._facts_of_guards]
        kept = [g for g in self.guards if g.cond.op != "!="]
        for g in list(kept):
            others = [o.cond for o in kept if o is not g]
            if Box(self.box.declared, [*given, *others]).prove(g.cond):
                kept.remove(g)
        known = Box(self.box.declared, [*given, *(g.cond for g in kept)])
        unequal = {g.cond: g for g in reversed(self.guards) if g.cond.op == "!="}
        unequal = {c: g for c, g in unequal.items() if not is_bound(c) or not known.decide(c)}
        return [g for g in self.guards if g in kept or unequal.get(g.cond) is g]


def scope_of(box: Box) -> Scope:
    """The scope whose sizes `box` knows."""
    if box.scope is None:
        raise ValueError("this box belongs to no scope, so that an expression over its symbols cannot be a size in a jaxpr")
    return box.scope
