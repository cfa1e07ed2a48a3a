"""Building the body of a kernel by pulling: the value of one output element, operand by operand, back to what lies in buffers.

* A scope is one loop; the path of open scopes is the loop nest around the element that is being pulled.
* Every operation becomes one `Let` in the outermost scope that has what it needs, so loop-invariant code stands outside of its
  loops from the start, and a value asked for twice is computed once (value numbering per scope).
* A fold opens scopes of its own. When its body is known, so is the outermost scope that it can stand in: the mean of a row
  moves to the row's scope although it was asked for by an element.
* A fold joins the loop of an earlier one of the same extents if nothing that it reads is computed after that loop began: the
  sum and the sum of squares of a row become one pass.
* Reads under a condition (`where`) carry the condition: nothing outside of a buffer is ever read.
* A complex value is a `Pair` of real ones; whatever becomes of it is said in `lowering.complex`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sod2jax.ir.box import Box
from sod2jax.ir.expr import Expr, as_expr, const, sym
from sod2jax.ir.loops import Const, For, If, Index, Init, Let, Load, Op, Ref, Stmt, Store, Update, Value, While
from sod2jax.lowering import complex as pairs
from sod2jax.lowering.complex import Pair, is_complex

BOOL, INT = np.dtype(bool), np.dtype(np.int64)


@dataclass(eq=False)
class Scope:
    """One loop while it is being filled; `position` is its place on the path of open scopes."""

    var: str | None
    extent: Expr
    kind: str = "serial"
    position: int = 0
    body: list[Stmt | Fold] = field(default_factory=list)
    memo: dict = field(default_factory=dict)
    folds: list[Fold] = field(default_factory=list)

    def statements(self) -> tuple[Stmt, ...]:
        return tuple(s for stmt in self.body for s in (stmt.statements() if isinstance(stmt, Fold) else (stmt,)))

    def loop(self) -> For:
        return For(self.var, self.extent, self.statements(), self.kind)


@dataclass(eq=False)
class Fold:
    """A nest of fold loops, outermost first, standing in a scope since `began`; later folds may join it."""

    extents: tuple[Expr, ...]
    scopes: list[Scope]
    began: int
    inits: list[Init] = field(default_factory=list)

    def statements(self) -> tuple[Stmt, ...]:
        inner = None
        for scope in reversed(self.scopes):
            body = scope.statements() + ((inner,) if inner is not None else ())
            inner = For(scope.var, scope.extent, body, scope.kind)
        return (*self.inits, inner)


class Builder:
    """The `ops.Body` that loop rules write into."""

    def __init__(self, box: Box):
        self.scopes = [Scope(None, const(1))]
        self.boxes = [box]
        self.home: dict[str, Scope] = {}  # of loop variables and definitions
        self.born: dict[str, int] = {}
        self.clock = 0
        self.pred: Value | None = None

    # -- loops

    @property
    def box(self) -> Box:
        return self.boxes[-1]

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def open(self, extent: Expr, kind: str = "serial") -> Expr:
        """Enters a loop; returns its variable."""
        var = f"_i{self.tick()}"
        self.home[var] = scope = Scope(var, extent, kind)
        self._push(scope)
        return sym(var)

    def close(self) -> None:
        """Leaves a loop that stands in the scope around it."""
        scope = self._pop()
        self.scopes[-1].body.append(scope.loop())

    def _push(self, scope: Scope) -> None:
        scope.position = len(self.scopes)
        self.scopes.append(scope)
        self.boxes.append(self.box.extend({scope.var: (const(0), scope.extent - 1)}))

    def _pop(self) -> Scope:
        self.boxes.pop()
        return self.scopes.pop()

    # -- statements

    def innermost(self, names: Iterable[str]) -> int:
        """Position of the innermost scope that defines one of `names`; sizes are defined outside of all."""
        return max((self.home[n].position for n in names if n in self.home), default=0)

    def put(self, stmt: Stmt) -> None:
        """Appends a statement to the innermost scope."""
        self.scopes[-1].body.append(stmt)

    def define(self, value: Value, within: int = 0) -> Ref:
        """`value` as a register, in the outermost scope that can compute it, at position `within` or further in."""
        scope = self.scopes[max(within, self.innermost(reads(value)))]
        ref = scope.memo.get(value)
        if ref is None:
            name = f"_t{self.tick()}"
            self.home[name], self.born[name] = scope, self.clock
            scope.body.append(Let(name, value))
            ref = scope.memo[value] = Ref(name, value.dtype)
        return ref

    # -- ops.Body

    def op(self, name: str, *args: Value, dtype=None) -> Value:
        dtype = np.dtype(dtype or args[0].dtype)
        if any(isinstance(a, Pair) for a in args) or is_complex(dtype):
            return pairs.apply(self, name, args, dtype)
        return self.define(Op(name, args, dtype))

    def const(self, value, dtype) -> Value:
        if is_complex(dtype):
            return pairs.constant(self, value, dtype)
        return Const(value.item() if isinstance(value, (np.ndarray, np.generic)) else value, np.dtype(dtype))

    def convert(self, value: Value, dtype) -> Value:
        dtype = np.dtype(dtype)
        if value.dtype == dtype:
            return value
        if is_complex(value.dtype) or is_complex(dtype):
            return pairs.convert(self, value, dtype)
        if isinstance(value, Index) and dtype.kind in "iu":
            return Index(value.expr, dtype)
        return self.op("convert", value, dtype=dtype)

    def position(self, expr: Expr, dtype) -> Value:
        expr, dtype = as_expr(expr), np.dtype(dtype)
        if is_complex(dtype):
            return pairs.convert(self, self.position(expr, INT), dtype)
        return Index(expr, dtype) if expr.value is None else Const(expr.value, dtype)

    def index(self, value: Value) -> Expr:
        match value:
            case Const(number):
                return const(int(number))
            case Index(expr):
                return expr
            case Ref(name):
                return sym(name)
        raise TypeError(f"{value} is no index")

    def where(self, cond: Value, then: Callable[[], Value], other: Value) -> Value:
        before = self.pred
        self.pred = cond if before is None else self.op("and", before, cond, dtype=BOOL)
        try:
            value = then()
        finally:
            self.pred = before
        return self.op("select", cond, value, other, dtype=value.dtype)

    def load(self, buffer: str, offset: Expr, dtype) -> Value:
        return pairs.each(dtype, offset, lambda at, dtype: self.define(Load(buffer, self.simplify(at), dtype, self.pred)))

    def store(self, buffer: str, offset: Expr, value: Value, where: Value | None = None) -> None:
        """Writes one element, here. Offsets count elements of the array, be they complex or not."""
        for at, part in pairs.parts(value, offset):
            self.put(Store(buffer, at, part, where))

    def simplify(self, expr: Expr) -> Expr:
        return self.box.simplify(as_expr(expr))

    def known_eq(self, a, b) -> bool:
        return self.box.known_eq(as_expr(a), as_expr(b))

    def fold(self, op: str, dtype, extents: Sequence[Expr], body: Callable[[tuple[Expr, ...]], Value]) -> Value:
        """op over all indices below `extents` of body(index); the identity where there are none."""
        extents = tuple(map(self.simplify, extents))
        loops = tuple(e for e in extents if e.value != 1)

        def element(index):
            given = iter(index)
            return body(tuple(const(0) if e.value == 1 else next(given) for e in extents))

        if not loops:
            return element(())
        pairs.check_fold(op, dtype)
        sums = pairs.each(dtype, const(0), lambda _, dtype: Ref(f"_a{self.tick()}", dtype))

        def update(index):
            for (_, acc), (_, part) in zip(pairs.parts(sums), pairs.parts(element(index)), strict=True):
                self.put(Update(acc.name, part))

        home, fold = self.in_loop(loops, update)
        for _, acc in pairs.parts(sums):
            fold.inits.append(Init(acc.name, op, acc.dtype))
            self.home[acc.name], self.born[acc.name] = home, fold.began
        return sums

    def in_loop(self, extents: tuple[Expr, ...], run: Callable) -> tuple[Scope, Fold]:
        """Runs `run(index)` inside of a nest of loops: that of an earlier fold if it may join it, or a new one."""
        for home in reversed(self.scopes):
            for fold in reversed(home.folds):
                being_joined = fold.scopes[0] in self.scopes
                if fold.extents == extents and not being_joined and self._join(home, fold, run):
                    return home, fold
        outside = len(self.scopes)
        for extent in extents:
            self.open(extent)
        fold = Fold(extents, self.scopes[outside:], 0)
        run(tuple(sym(s.var) for s in fold.scopes))
        for _ in extents:
            self._pop()
        home = self.scopes[self.innermost(self.outer(fold))]
        fold.began = self.tick()
        home.body.append(fold)
        home.folds.append(fold)
        return home, fold

    def outer(self, fold: Fold) -> set[str]:
        """The names that a fold reads of the scopes around it."""
        inside = set(_scopes(fold))
        return {n for n in free(fold) if n in self.home and self.home[n] not in inside}

    def _join(self, home: Scope, fold: Fold, run: Callable) -> bool:
        """Reopens a fold. Undone if the new statements read what the fold's place does not have: definitions after it began, or
        loops further in."""
        before = list(_states(fold))
        old = self.outer(fold)
        for scope in fold.scopes:
            self._push(scope)
        run(tuple(sym(s.var) for s in fold.scopes))
        for _ in fold.scopes:
            self._pop()
        new = self.outer(fold) - old
        if all(self.home[n].position <= home.position and self.born.get(n, 0) < fold.began for n in new):
            return True
        for changed, inits, scopes in before:
            del changed.inits[inits:]
            for scope, length, memo, folds in scopes:
                del scope.body[length:]
                scope.memo, scope.folds = memo, folds
        return False


def _states(fold: Fold):
    """What a fold and those within it hold now: others may join them while it is open."""
    yield fold, len(fold.inits), [(s, len(s.body), dict(s.memo), list(s.folds)) for s in fold.scopes]
    for scope in fold.scopes:
        for inner in scope.folds:
            yield from _states(inner)


def _scopes(fold: Fold):
    """The scopes of a fold and of the folds in it."""
    for scope in fold.scopes:
        yield scope
        for inner in scope.body:
            if isinstance(inner, Fold):
                yield from _scopes(inner)


def reads(value: Value | Expr | None):
    """The names that a value reads: sizes, loop variables, definitions."""
    match value:
        case Ref(name):
            yield name
        case Pair(re, im):
            yield from reads(re)
            yield from reads(im)
        case Index(expr):
            yield from expr.free
        case Load(_, offset, _, where):
            yield from offset.free
            yield from reads(where)
        case Op(_, args):
            for arg in args:
                yield from reads(arg)
        case Expr():
            yield from value.free


def free(node) -> set[str]:
    """All names that a statement, or a fold, reads or defines; the caller knows which are its own."""
    match node:
        case Fold(extents, scopes):
            names = {n for e in extents for n in e.free}
            return names.union(*(free(s) for scope in scopes for s in scope.body))
        case For(_, extent, body):
            return set(extent.free).union(*map(free, body))
        case Let(_, value) | Update(_, value):
            return set(reads(value))
        case Store(_, offset, value, where):
            return {*offset.free, *reads(value), *reads(where)}
        case If(cond, body):
            return set(reads(cond)).union(*map(free, body))
    return set()


def renamed(stmts, name: str, value: Expr) -> tuple[Stmt, ...]:
    """`stmts` with `value` for the loop variable `name`."""
    env = {name: value}

    def val(v):
        match v:
            case Index(expr, dtype):
                return Index(expr.subs(env), dtype)
            case Load(buffer, at, dtype, where):
                return Load(buffer, at.subs(env), dtype, val(where))
            case Op(op, args, dtype):
                return Op(op, tuple(map(val, args)), dtype)
        return v

    def one(s):
        match s:
            case For(var, extent, body, kind):
                return For(var, extent.subs(env), tuple(map(one, body)), kind)
            case Store(buffer, at, v, where):
                return Store(buffer, at.subs(env), val(v), val(where))
            case If(cond, body):
                return If(val(cond), tuple(map(one, body)))
            case While(body, cond, limit):
                return While(tuple(map(one, body)), val(cond), limit.subs(env))
            case Let(n, v) | Update(n, v):
                return type(s)(n, val(v))
        return s

    return tuple(map(one, stmts))
