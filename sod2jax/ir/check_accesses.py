"""Where a kernel reads and writes: the offsets of its loads and stores at drawn iterations, on drawn data.

* The Program checker holds them against the sizes of buffers, so a kernel whose index comes from data must bound it: data are
  drawn to be far out of bounds.
* Integers and truth values that a kernel computes are computed here, too, by the interpreter's functions. What depends on
  anything else (an accumulator, the second run of a `While`) is left out, and so is what a mask decides that is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sod2jax.ir.expr import Expr
from sod2jax.ir.interp import scalar
from sod2jax.ir.loops import Const, For, Gemm, If, Index, Kernel, Let, Load, Op, Ref, Stmt, Store, Update, Value, While

Access = tuple[str, Expr, np.ndarray, np.ndarray]


def accesses(
    kernel: Kernel, sizes, rng: np.random.Generator, counters: Mapping[str, np.ndarray] | None = None
) -> Iterator[Access]:
    """(buffer, offset, its values, where the access happens) of every access, at one random iteration per sample.

    `sizes` is a `check.Values` over the kernel's sizes; first and last iterations come often. `counters`: buffers that hold the
    counter of a loop around the kernel, and how often each loop runs.
    """
    runs = np.all([np.ones(sizes.count, bool), *(trips > 0 for trips in (counters or {}).values())], axis=0)
    start = _Point(sizes, {}, runs)
    yield from _Walk(rng, counters or {}).into(kernel.var, kernel.extent, start, kernel.body)


@dataclass(frozen=True)
class _Point:
    """What is known at a place of a kernel: sizes, loop variables and integer names; other names; which samples come there."""

    values: object  # check.Values
    names: Mapping[str, np.ndarray]
    runs: np.ndarray

    def knows(self, e: Expr) -> bool:
        return e.free <= self.values.sizes.keys()

    def with_name(self, name: str, value: np.ndarray) -> _Point:
        value = np.broadcast_to(value, self.runs.shape)
        if value.dtype.kind not in "iu":
            return replace(self, names={**self.names, name: value})
        sizes = {**self.values.sizes, name: value.astype(np.int64)}
        return replace(self, values=type(self.values)(sizes, self.values.count), names={**self.names, name: value})


class _Walk:
    def __init__(self, rng: np.random.Generator, counters: Mapping[str, np.ndarray]):
        self.rng = rng
        self.counters = {name: self.iteration(trips) for name, trips in counters.items()}

    def into(self, var: str, extent: Expr, at: _Point, body: tuple[Stmt, ...]) -> Iterator[Access]:
        trips = at.values(extent)
        inner = at.with_name(var, self.iteration(trips))
        yield from self.block(body, replace(inner, runs=at.runs & (trips > 0)))

    def iteration(self, extent: np.ndarray) -> np.ndarray:
        last = np.maximum(extent - 1, 0)
        kind = self.rng.integers(0, 4, len(extent))
        return np.where(kind == 0, 0, np.where(kind == 1, last, self.rng.integers(0, last + 1)))

    def data(self, dtype: np.dtype, count: int) -> np.ndarray | None:
        """Elements of a buffer: small numbers, and the ends of their dtype."""
        if dtype.kind == "b":
            return self.rng.integers(0, 2, count) > 0
        if dtype.kind not in "iu":
            return None
        info = np.iinfo(dtype)
        small = self.rng.integers(max(info.min, -40), 40, count)
        ends = self.rng.choice(np.array([info.min, info.max], dtype), count)
        return np.where(self.rng.integers(0, 4, count) > 0, small.astype(dtype), ends)

    def block(self, stmts: tuple[Stmt, ...], at: _Point) -> Iterator[Access]:
        for s in stmts:
            match s:
                case For() if at.knows(s.extent):
                    yield from self.into(s.var, s.extent, at, s.body)
                case If():
                    if (runs := self.value(s.cond, at)) is not None:
                        yield from self.block(s.body, replace(at, runs=at.runs & runs))
                case While():
                    yield from self.block(s.body, at)
                case Store():
                    yield from self.masked(s.buffer, s.offset, s.where, at)
                    yield from self.loads(s.value, at)
                case Let():
                    yield from self.loads(s.value, at)
                    if (value := self.value(s.value, at)) is not None:
                        at = at.with_name(s.name, value)
                case Update():
                    yield from self.loads(s.value, at)
                case Gemm():
                    yield from self.product(s, at)

    def value(self, v: Value, at: _Point) -> np.ndarray | None:
        """A truth value or integer at each sample; None where it is not known."""
        if v.dtype.kind not in "biu":
            return None
        match v:
            case Const():
                return np.full(at.values.count, v.value, v.dtype)
            case Index():
                return at.values(v.expr).astype(v.dtype) if at.knows(v.expr) else None
            case Load():
                counted = self.counters.get(v.buffer)
                return self.data(v.dtype, at.values.count) if counted is None else counted.astype(v.dtype)
            case Ref():
                return at.names.get(v.name)
            case Op():
                args = [self.value(x, at) for x in v.args]
                if any(x is None for x in args):
                    return None
                with np.errstate(all="ignore"):
                    return scalar(v.name, v.dtype, *args)

    def one(self, buffer: str, offset: Expr, at: _Point) -> Iterator[Access]:
        if at.knows(offset):
            yield buffer, offset, at.values(offset), at.runs

    def masked(self, buffer: str, offset: Expr, where: Value | None, at: _Point) -> Iterator[Access]:
        runs = True if where is None else self.value(where, at)
        if runs is not None:
            yield from self.one(buffer, offset, replace(at, runs=at.runs & runs))

    def loads(self, v: Value, at: _Point) -> Iterator[Access]:
        if isinstance(v, Load):
            yield from self.masked(v.buffer, v.offset, v.where, at)
        elif isinstance(v, Op):
            # A select guards what its cases read, in loops that cannot mask a load; reading is harmless only within the buffer.
            for x in v.args:
                yield from self.loads(x, at)

    def product(self, g: Gemm, at: _Point) -> Iterator[Access]:
        if not all(map(at.knows, (g.rows, g.k, g.columns, g.batch))):
            return
        values = at.values
        some = replace(at, runs=at.runs & (values(g.rows) > 0) & (values(g.columns) > 0))
        yield from self.one(g.c, g.c_offset, some)
        yield from self.one(g.c, g.c_offset + (g.rows - 1) * g.ldc + g.columns - 1, some)
        if g.offsets is None:
            some = replace(some, runs=some.runs & (values(g.k) > 0) & (values(g.batch) > 0))
            yield from self.one(g.a, g.a_offset, some)
            yield from self.one(g.a, g.a_offset + (g.rows - 1) * g.a_row + (g.k - 1) * g.a_col, some)
