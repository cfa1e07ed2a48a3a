"""Kernels whose loops the op writes itself (`OpDef.nest`): scatter, running sums, rows put into a larger array.

* The rule opens one parallel loop, `tasks`, and loops within it; operands are pulled in as in any kernel.
* What is stored may be read again: such loads keep their place, they are neither shared nor moved.
* What is read under a condition (`when`) stays under it; folds may move out, and carry the condition with their reads.
* An output that overwrites an operand (`OpDef.overwrites`) is one buffer, read and written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jax.extend.core import Var

from sod2jax.ir.expr import Expr, const, sym
from sod2jax.ir.loops import Buffer, If, Index, Init, Kernel, Let, Load, Ref, Update, Value, stored
from sod2jax.lowering import complex as pairs
from sod2jax.lowering.body import BOOL, INT, Builder, Scope
from sod2jax.lowering.canonical import canonical
from sod2jax.lowering.loopnest import Lowered
from sod2jax.lowering.pull import OUT, Operand, Puller, offset
from sod2jax.lowering.work import work_of
from sod2jax.ops.shape import unlinear
from sod2jax.plan.fuse import Group
from sod2jax.plan.graph import Graph


class NestBuilder(Builder):
    """A `Builder` whose loops are opened by a rule (`ops.Nest`)."""

    def __init__(self, box):
        super().__init__(box)
        self.var: str | None = None
        self.count: Expr = const(1)
        self.written: set[str] = set()  # buffers whose elements change while the kernel runs
        self.held: _When | None = None  # the innermost condition

    @contextmanager
    def tasks(self, extents: Sequence[Expr]) -> Iterator[tuple[Expr, ...]]:
        if self.var is not None:
            raise ValueError("a nest has one parallel loop")
        extents = [self.simplify(e) for e in extents]
        for e in extents:
            self.count = self.count * e
        task = self.open(self.count, "parallel")
        self.var = str(task)
        index = []
        for size, position in zip(extents, unlinear(task, extents), strict=True):
            if position == task or position.value is not None:
                index.append(position)
                continue
            ref = self.define(Index(position, INT))
            self.boxes[-1] = self.box.extend({ref.name: (const(0), size - 1)})
            index.append(sym(ref.name))
        yield tuple(index)

    @contextmanager
    def loop(self, extent: Expr, kind: str = "serial") -> Iterator[Expr]:
        extent = self.simplify(extent)
        if extent.value == 1:
            yield const(0)
            return
        yield self.open(extent, kind)
        self.close()

    @contextmanager
    def elements(self, shape: Sequence[Expr]) -> Iterator[tuple[Expr, ...]]:
        """All positions of an array: tasks over all axes but the last, which runs in vectors."""
        *outer, last = shape or (const(1),)
        with self.tasks(outer) as index, self.loop(last, "vector") as i:
            yield (*index, i) if shape else ()

    @contextmanager
    def when(self, cond: Value) -> Iterator[None]:
        """What stands within happens where `cond`, which must not depend on the variable of a vector loop."""
        outer = self.held
        every = cond if outer is None else self.op("and", outer.every, cond, dtype=BOOL)
        self.held = scope = _When(None, const(1), position=len(self.scopes), cond=cond, every=every)
        self.scopes.append(scope)
        self.boxes.append(self.box)
        yield
        self.close()
        self.held = outer

    def define(self, value: Value, within: int = 0) -> Ref:
        if not isinstance(value, Load):
            return super().define(value, within)
        if value.buffer not in self.written:
            return super().define(value, within if self.held is None else max(within, self.held.position))
        name = f"_t{self.tick()}"  # here and now: elsewhere the memory may hold something else
        self.home[name], self.born[name] = self.scopes[-1], self.clock
        self.put(Let(name, value))
        return Ref(name, value.dtype)

    def in_loop(self, extents, run):
        held, pred = self.held, self.pred
        if held is not None:
            self.held, self.pred = None, held.every if pred is None else self.op("and", held.every, pred, dtype=BOOL)
        found = super().in_loop(extents, run)
        self.held, self.pred = held, pred
        return found

    @contextmanager
    def accumulator(self, op: str, dtype) -> Iterator[tuple]:
        """`with b.accumulator("add", dtype) as (update, result)`: update(value) within loops, result() after them."""
        pairs.check_fold(op, dtype)

        def init(_, dtype):
            name = f"_a{self.tick()}"
            self.home[name], self.born[name] = self.scopes[-1], self.clock
            self.put(Init(name, op, dtype))
            return Ref(name, dtype)

        sums = pairs.each(dtype, const(0), init)

        def update(value):
            for (_, acc), (_, part) in zip(pairs.parts(sums), pairs.parts(value), strict=True):
                self.put(Update(acc.name, part))

        yield update, lambda: sums


@dataclass(eq=False)
class _When(Scope):
    cond: Value | None = None
    every: Value | None = None  # and the conditions around it

    def loop(self) -> If:
        return If(self.cond, self.statements())


class Array:
    """An output of a nest (`ops.Array`)."""

    def __init__(self, builder: NestBuilder, name: str, shape: tuple[Expr, ...], dtype: np.dtype):
        self.builder, self.name, self.shape, self.dtype = builder, name, shape, dtype
        builder.written.add(name)

    def _at(self, index: Sequence[Expr]) -> Expr:
        return self.builder.simplify(offset(tuple(index), self.shape))

    def store(self, index: Sequence[Expr], value: Value, where: Value | None = None) -> None:
        self.builder.store(self.name, self._at(index), value, where)

    def load(self, index: Sequence[Expr]) -> Value:
        return self.builder.load(self.name, self._at(index), self.dtype)


def lower_nest(graph: Graph, group: Group, buffers: Collection[Var]) -> Lowered:
    """The kernel of a group whose root's eqn writes its own loops."""
    number = graph.maker[group.root] if group.whole is None else group.whole
    eqn, record = graph.eqns[number], graph.records[number]
    builder = NestBuilder(graph.box)
    puller = Puller(graph, builder, buffers)
    outs = [Array(builder, f"{OUT}{k}", graph.shape(v), graph.dtype(v)) for k, v in enumerate(eqn.outvars)]
    record.nest(builder, tuple(outs), *(Operand(puller, v) for v in eqn.invars), **eqn.params)
    body = (*builder.scopes[0].statements(), *builder.scopes[-1].statements())
    reads = tuple(puller.names)
    over = set(record.overwrites or ())
    arguments = [Buffer(puller.names[v], stored(graph.dtype(v)), "r") for v in reads]
    arguments += [Buffer(o.name, stored(o.dtype), "rw" if k in over else "w") for k, o in enumerate(outs)]
    kernel = Kernel("nest", tuple(arguments), (), (), builder.var, builder.count, body)
    return Lowered(canonical(kernel), reads, builder.count, work_of(kernel))
