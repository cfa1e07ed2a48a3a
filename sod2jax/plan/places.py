"""Places: where the kernel of a group computes a value, and so how often.

* A kernel computes a value once per place: an index, as a function of the output's, and the condition under which it is asked
  for. A concatenation, a padding, a sum of slices ask for one array at several places; where such follow each other, the places
  multiply from one to the next.
* How an eqn reads its operands is found by its own loop rule, run once with a body that does nothing but record the indices.
* A place is composed of the reads on the way to it from the output, axis by axis: equal slices of equal slices are one place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from jax.extend.core import Literal

from sod2jax.ir.expr import FLOORDIV, MOD, Expr, as_expr, const, sym
from sod2jax.ir.loops import Const, Ref, Value
from sod2jax.ops import Out

LOOP = -1  # stands for a fold's loop where axes are numbers


@dataclass(frozen=True, slots=True)
class Axis:
    """How the index along an axis of an operand follows from the output's: `key` says by which function, `sources` of which axes
    (or LOOP); a single axis itself if `same`."""

    key: Hashable
    sources: tuple[int, ...]
    same: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """One reading of operand number `operand` by an element of an output; `cond` tells apart what is read under a condition."""

    operand: int
    axes: tuple[Axis, ...]
    cond: Hashable
    divides: bool


@dataclass(frozen=True, slots=True)
class Place:
    """`index`: a key for each axis. `looped`: the axes along which it changes within a fold's loop. `depth`: the reads on the way
    that move something; `divisions`: those that divide."""

    index: tuple[Hashable, ...]
    cond: Hashable = None
    looped: frozenset[int] = field(default=frozenset(), compare=False)
    depth: int = field(default=0, compare=False)
    divisions: int = field(default=0, compare=False)

    def then(self, read: Read) -> Place:
        """The place that `read` reads at from here."""
        index = tuple(self.index[x.sources[0]] if x.same else self._of(x) for x in read.axes)
        cond = self.cond if read.cond is None else (self.index, self.cond, read.cond)
        looped = frozenset(a for a, x in enumerate(read.axes) if not self.looped.isdisjoint(x.sources) or LOOP in x.sources)
        moves = read.cond is not None or not all(x.same or not x.sources for x in read.axes)
        return Place(index, cond, looped, self.depth + moves, self.divisions + read.divides)

    def _of(self, axis: Axis) -> Hashable:
        sources = tuple(self.index[a] for a in axis.sources if a != LOOP)
        return (axis.key, *sources) if axis.sources else axis.key


def start(shape: Sequence[Expr]) -> Place:
    """The place of a kernel's own output."""
    return Place(tuple(0 if size.value == 1 else a for a, size in enumerate(shape)))


def reads(graph, i: int, number: int = 0) -> tuple[Read, ...]:
    """What an element of output `number` of eqn `i` reads, by the eqn's loop rule."""
    eqn, record = graph.eqns[i], graph.records[i]
    out = eqn.outvars[number]
    shape = graph.shape(out)
    if any(size.value == 0 for size in shape):
        return ()  # nothing is ever computed
    body = _Body(graph.box, i)
    operands = [_Operand(body, k, graph.shape(v), graph.dtype(v), isinstance(v, Literal)) for k, v in enumerate(eqn.invars)]
    index = tuple(sym(f"_p{a}") for a in range(len(shape)))
    for a in range(len(shape)):
        body.sources[f"_p{a}"] = frozenset((a,))
    record.pull(body, Out(shape, graph.dtype(out), number), index, *operands, **eqn.params)
    return tuple(dict.fromkeys(body.reads))


class _Body:
    """An `ops.Body` that computes nothing: of each value it knows which axes of the output it depends on."""

    def __init__(self, box, eqn: int):
        self.box, self.eqn = box, eqn
        self.sources: dict[str, frozenset[int]] = {}
        self.reads: list[Read] = []
        self.held: str | None = None

    def fresh(self, dtype, sources: frozenset[int]) -> Ref:
        name = f"_v{len(self.sources)}"
        self.sources[name] = sources
        return Ref(name, np.dtype(dtype))

    def sources_of(self, *values: Value | Expr) -> frozenset[int]:
        names = [n for v in values for n in (v.free if isinstance(v, Expr) else (v.name,) if isinstance(v, Ref) else ())]
        return frozenset().union(*(self.sources[n] for n in names if n in self.sources))

    def read(self, operand: int, index: Sequence[Expr], shape: Sequence[Expr]) -> None:
        axes, divides = [], False
        for e, size in zip(index, shape, strict=True):
            if size.value == 1 or e.value is not None:
                axes.append(Axis(0 if size.value == 1 else e, ()))
                continue
            sources = tuple(sorted(self.sources_of(e)))
            same = len(sources) == 1 and sources[0] != LOOP and e is sym(f"_p{sources[0]}")
            names = [n for n in e.free if n in self.sources]
            own = all(n.startswith("_p") for n in names)
            axes.append(Axis(e if own else (self.eqn, e), sources, same))
            divides |= bool(names) and any(a.kind in (FLOORDIV, MOD) for a in e.atoms)
        self.reads.append(Read(operand, tuple(axes), None if self.held is None else (self.eqn, self.held), divides))

    # -- ops.Body

    def op(self, name: str, *args: Value, dtype=None) -> Value:
        return self.fresh(dtype or args[0].dtype, self.sources_of(*args))

    def const(self, value, dtype) -> Value:
        return Const(value.item() if isinstance(value, (np.ndarray, np.generic)) else value, np.dtype(dtype))

    def convert(self, value: Value, dtype) -> Value:
        return value if value.dtype == np.dtype(dtype) else self.fresh(dtype, self.sources_of(value))

    def position(self, expr: Expr, dtype) -> Value:
        expr = as_expr(expr)
        return Const(expr.value, np.dtype(dtype)) if expr.value is not None else self.fresh(dtype, self.sources_of(expr))

    def index(self, value: Value) -> Expr:
        return const(int(value.value)) if isinstance(value, Const) else sym(value.name)

    def where(self, cond: Value, then: Callable[[], Value], other: Value) -> Value:
        with self.under(cond):
            value = then()
        return self.op("select", cond, value, other, dtype=value.dtype)

    @contextmanager
    def under(self, cond: Value):
        before, name = self.held, getattr(cond, "name", "")
        self.held = name if before is None else f"{before} {name}"
        yield
        self.held = before

    def fold(self, op: str, dtype, extents: Sequence[Expr], body: Callable) -> Value:
        loops = [const(0) if e.value == 1 else sym(self.fresh(np.int64, frozenset((LOOP,))).name) for e in map(as_expr, extents)]
        return self.fresh(dtype, self.sources_of(body(tuple(loops))) - {LOOP})

    def simplify(self, expr) -> Expr:
        return as_expr(expr)

    def known_eq(self, a, b) -> bool:
        return self.box.known_eq(as_expr(a), as_expr(b))


class _Operand:
    """An operand whose readings are recorded (`ops.Tensor`)."""

    def __init__(self, body: _Body, number: int, shape: tuple[Expr, ...], dtype: np.dtype, is_literal: bool):
        self.body, self.number, self.shape, self.dtype, self.is_literal = body, number, shape, dtype, is_literal

    def __getitem__(self, index: Sequence[Expr]) -> Value:
        index = tuple(map(as_expr, index))
        if not self.is_literal:
            self.body.read(self.number, index, self.shape)
        return self.body.fresh(self.dtype, self.body.sources_of(*index))
