"""Kernels of groups without an anchor: which loops, which of them in parallel, which in vectors.

Three shapes of nest, tried in this order; the first that fits is taken:

* flat: the root as one line of elements, where every operand is read along it (or at one place). Blocks of it run in parallel.
* rows: the last axis in vectors, all others in parallel. Folds over rows stand before the row's loop and are vectors themselves;
  folds per element (pooling, depthwise convolutions, sums over leading axes) run inside of the vector loop, lane by lane.
* elements: every element in parallel and the folds in vectors, where an element folds what lies side by side (sums of rows).

A costly value that a row's fold and the row itself both need (a softmax's `exp`) is kept in the root's own buffer in between.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from jax.extend.core import Var

from sod2jax.ir.expr import Expr, ceildiv, const, floordiv, maximum, minimum, mod, sym
from sod2jax.ir.loops import Buffer, For, Gemm, If, Index, Kernel, Let, Load, Op, Stmt, Store, Update, Value, While, stored
from sod2jax.lowering.body import INT, Builder, Fold, Scope, renamed
from sod2jax.lowering.canonical import Bound, canonical
from sod2jax.lowering.cascade import cascade
from sod2jax.lowering.pull import OUT, Puller, offset
from sod2jax.lowering.work import work_of
from sod2jax.ops.shape import unlinear
from sod2jax.plan.fuse import COSTLY, Group
from sod2jax.plan.graph import Graph

ZERO = const(0)
BLOCK = 2048  # elements of a line that one task takes
COLUMNS = 64  # elements of a row that one task takes, where each of them folds on its own
UNROLLED = 8  # fold loops up to this long disappear


@dataclass(frozen=True)
class Lowered:
    """A kernel, what its buffers are, and what a step needs to know."""

    bound: Bound
    reads: tuple[Var, ...]  # buffers x0, x1, ...; the last buffer of the kernel is what it writes
    extent: Expr
    work: Expr
    scratch: Expr = ZERO  # bytes per thread


def lower_loops(graph: Graph, group: Group, buffers: Collection[Var]) -> Lowered:
    """The kernel of a group without an anchor."""
    nest = None
    if not any(graph.records[i].folds for i in group.members):
        nest = _Nest(graph, group, buffers).flat()
    return (nest or _Nest(graph, group, buffers).rows() or _Nest(graph, group, buffers).elements()).lowered()


class _Nest:
    def __init__(self, graph: Graph, group: Group, buffers: Collection[Var]):
        self.graph, self.group = graph, group
        self.builder = Builder(graph.box)
        self.puller = Puller(graph, self.builder, buffers)
        self.shape = graph.shape(group.root)
        self.dtype = graph.dtype(group.root)
        self.axes = [a for a, size in enumerate(self.shape) if size.value != 1]

    # -- the three shapes

    def flat(self) -> _Nest | None:
        b = self.builder
        total = offset([size - 1 for size in self.shape], self.shape) + 1 if self.shape else const(1)
        at = b.open(b.simplify(total), "vector")
        self.store(unlinear(at, self.shape), at)
        line = b.scopes[-1]
        if _divides(line, at):
            return None
        b.close()
        # One line: tasks of BLOCK elements, a vector loop in each.
        var, task, element = str(at), "_task", "_at"
        blocks = ceildiv(total, const(BLOCK))
        index = sym(task) * BLOCK + sym(element)
        (loop,) = b.scopes[0].statements()[-1:]
        outside = b.scopes[0].statements()[:-1]
        inner = For(element, minimum(const(BLOCK), total - sym(task) * BLOCK), renamed(loop.body, var, index), "vector")
        return self.done(task, blocks, (*outside, inner))

    def rows(self) -> _Nest | None:
        b = self.builder
        if not self.axes:
            return None
        *outer, last = self.axes
        task, index, rows = self.open_tasks(outer)
        row = b.scopes[-1]
        column = b.open(self.shape[last], "vector")
        index[last] = column
        self.stash(index, last)
        at = offset(index, self.shape)
        self.store(tuple(index), b.simplify(at))
        line = b.scopes[-1]
        before = [f for scope in b.scopes[:-1] for f in scope.body if isinstance(f, Fold)]
        inside = [f for f in line.body if isinstance(f, Fold)]
        if any(_prefers_fold(f, column) for f in inside):
            return None
        for fold in before:
            fold.scopes[-1].kind = "vector"
        for fold in inside:
            _unroll(fold)
        b.close()
        if before or not inside:
            return self.finish(task, rows)
        # Every element folds on its own: tasks take a part of the row, so that short outer axes do not starve threads.
        *head, loop = row.statements()
        parts = maximum(const(1), ceildiv(self.shape[last], const(COLUMNS)))
        part, element = "_part", "_at"
        body = renamed(loop.body, str(column), sym(part) * COLUMNS + sym(element))
        inner = For(element, minimum(const(COLUMNS), self.shape[last] - sym(part) * COLUMNS), body, "vector")
        nest = renamed((*head, inner), str(task), floordiv(sym("_task"), parts))
        split = Let(part, Index(mod(sym("_task"), parts), INT))
        return self.done("_task", rows * parts, (*self.outside(), split, *nest))

    def elements(self) -> _Nest:
        b = self.builder
        task, index, count = self.open_tasks(self.axes)
        self.store(tuple(index), b.simplify(offset(index, self.shape)))
        for fold in (f for scope in b.scopes for f in scope.body if isinstance(f, Fold)):
            fold.scopes[-1].kind = "vector"
        return self.finish(task, count)

    # -- pieces

    def open_tasks(self, axes) -> tuple[Expr, list[Expr], Expr]:
        """The parallel loop over `axes`, and an index with those axes taken from it."""
        b = self.builder
        sizes = [self.shape[a] for a in axes]
        count = const(1)
        for size in sizes:
            count = count * size
        task = b.open(count, "parallel")
        index = [const(0)] * len(self.shape)
        for axis, position in zip(axes, unlinear(task, sizes), strict=True):
            if position == task or position.value is not None:  # a number: where sizes are 0
                index[axis] = position
                continue
            ref = b.define(Index(position, INT))
            b.boxes[-1] = b.box.extend({ref.name: (const(0), self.shape[axis] - 1)})
            index[axis] = sym(ref.name)
        return task, index, count

    def stash(self, index: list[Expr], last: int) -> None:
        """Arranges for costly values of whole rows to be computed once (see the module's docstring)."""
        b, graph = self.builder, self.graph
        for number in self.group.members:
            eqn, record = graph.eqns[number], graph.records[number]
            v = eqn.outvars[0]
            users = graph.users.get(v, ())
            folded = [u for u in users if u in self.group.members and graph.records[u].folds]
            kept = record.cost >= COSTLY and not record.folds and folded and len(users) > len(folded)
            if not kept or v is self.group.root or graph.dtype(v) != self.dtype or not graph.same_shape(v, self.group.root):
                continue
            home = tuple(index)

            def value(at, v=v, home=home):
                if at != home or b.pred is not None:
                    return self.puller.compute(v, at)

                def keep(k):
                    place = [*home[:last], k[0], *home[last + 1 :]]
                    b.store(OUT, b.simplify(offset(place, self.shape)), self.puller.compute(v, tuple(place)))

                if (key := ("kept", v)) not in b.scopes[0].memo:
                    b.scopes[0].memo[key] = True
                    b.in_loop((b.simplify(self.shape[last]),), keep)
                return b.load(OUT, offset(home, self.shape), self.dtype)

            self.puller.given[v] = value
            return

    def store(self, index: tuple[Expr, ...], at: Expr) -> None:
        root = self.group.root
        self.builder.store(OUT, at, self.puller.compute(root, index))

    def outside(self) -> tuple[Stmt, ...]:
        return self.builder.scopes[0].statements()

    def finish(self, task: Expr, count: Expr) -> _Nest:
        body = self.builder.scopes[-1].statements()
        return self.done(str(task), count, (*self.outside(), *body))

    def done(self, var: str, extent: Expr, body: tuple[Stmt, ...]) -> _Nest:
        self.var, self.extent, self.body = var, extent, body
        return self

    def lowered(self) -> Lowered:
        reads = tuple(self.puller.names)
        arguments = [Buffer(self.puller.names[v], stored(self.graph.dtype(v)), "r") for v in reads]
        names = [self.puller.names[v] for v in reads if self.graph.dtype(v) == self.dtype]
        out = Buffer(OUT, stored(self.dtype), "w", tuple(n for n in names if overwritable(self.body, n, OUT)))
        kernel = Kernel("loops", (*arguments, out), (), (), self.var, self.extent, self.body)
        blocked = replace(kernel, body=cascade(self.body, self.graph.box))
        return Lowered(canonical(blocked), reads, self.extent, work_of(kernel))


def _walk(stmts):
    for s in stmts:
        yield s
        if isinstance(s, Fold):
            yield from _walk(s.statements())
        elif isinstance(s, For):
            yield from _walk(s.body)


def _loads(value: Value | None):
    match value:
        case Load(_, _, _, where):
            yield value
            yield from _loads(where)
        case Op(_, args):
            for a in args:
                yield from _loads(a)


def _exprs(stmt):
    match stmt:
        case Let(_, Index(expr)):
            yield expr
        case Let(_, value):
            yield from (load.offset for load in _loads(value))
            if isinstance(value, Op):
                yield from (a.expr for a in value.args if isinstance(a, Index))
        case Store(_, at):
            yield at


def _divides(scope: Scope, var: Expr) -> bool:
    """Whether an index of the scope needs a quotient or remainder of `var`: then it is no straight line."""
    name = str(var)
    return any(name in a.free for s in _walk(scope.statements()) for e in _exprs(s) for a in e.atoms if a.args)


def _prefers_fold(fold: Fold, column: Expr) -> bool:
    """Whether the fold reads side by side along itself what it would read with strides along `column`."""
    name, inner = str(column), fold.scopes[-1].var
    for s in _walk((fold,)):
        for load in _loads(s.value) if isinstance(s, Let) else ():
            along = load.offset.linear({name, inner})
            if along is None:
                continue
            step, own = (along[0].get(var, const(0)).value for var in (name, inner))
            if step not in (0, 1, own) and own in (1, 2):  # 2: parts of complex numbers
                return True
    return False


def _unroll(fold: Fold) -> None:
    for scope in fold.scopes:
        if scope.extent.value is not None and scope.extent.value <= UNROLLED:
            scope.kind = "unroll"


def overwritable(body: tuple[Stmt, ...], name: str, out: str) -> bool:
    """Whether `out` may lie where buffer `name` lies: `name` is read only where, or before, the same element of `out` is written
    by the same task. The body stores each element of `out` once.

    So every read must come before every store to its element: earlier in the same loop, or in an earlier loop over the same row.
    What another branch stores are other elements. The two parts of a complex number count as one element. What a product reads or
    writes itself is not followed.
    """
    places = [(time, *place) for time, place in enumerate(_places(body))]
    stores = [place for place in places if isinstance(place[-1], Store) and place[-1].buffer == out]

    def before(read, at, store) -> bool:
        (time, around, _, _), (then, loops, _, s) = read, store
        if time > then:
            return False
        if around == loops:
            return at == s.offset or _whole(at) == _whole(s.offset)
        same_row = around and loops and loops[-1] not in around and around[:-1] == loops[:-1]
        return bool(same_row) and _whole(at.subs({around[-1]: sym(loops[-1])})) == _whole(s.offset)

    def is_early(read, at) -> bool:
        branch = read[2]
        # `zip` ends with the shorter path: a read around branches is related to what stands in them.
        here = [store for store in stores if all(x == y for x, y in zip(branch, store[2]))]
        return bool(here) and all(before(read, at, store) for store in here)

    loads = [(place, load) for place in places for value in _values(place[-1]) for load in _loads(value)]
    unknown = any(
        isinstance(s, While) or (isinstance(s, Gemm) and {name, out} & {s.a, s.b, s.c, s.offsets}) for *_, s in places
    )
    return not unknown and all(is_early(place, load.offset) for place, load in loads if load.buffer == name)


def _whole(offset: Expr) -> Expr:
    """The even offset of a pair that `offset` belongs to, where the loops go by pairs."""
    number = sum(c for monomial, c in offset.terms if not monomial)
    return offset - number % 2 if all(c % 2 == 0 for monomial, c in offset.terms if monomial) else offset


def _places(stmts, loops: tuple[str, ...] = (), branch: tuple = ()):
    """Every statement with the loop variables around it, and the branches that it stands in."""
    for number, s in enumerate(stmts):
        yield loops, branch, s
        match s:
            case For(var, _, body):
                yield from _places(body, (*loops, var), branch)
            case If(_, body):
                yield from _places(body, loops, (*branch, (loops, number)))


def _values(stmt):
    """The values that a statement computes."""
    match stmt:
        case Store(_, _, value, where):
            yield from (value, where)
        case Let(_, value) | Update(_, value):
            yield value
        case If(cond):
            yield cond
