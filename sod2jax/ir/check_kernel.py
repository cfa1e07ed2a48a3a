"""The kernel checker: a loop-IR function refers only to what it declares, with the right dtypes and arities.

* Names are scoped: a loop variable within its loop, a `Let` from its statement to the end of the block, an accumulator likewise.
* Buffers are read and written as their access says: "w" is read only after it is written. Locals are used freely.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sod2jax.ir.expr import Expr
from sod2jax.ir.loops import (
    FOLDS,
    SCALAR_OPS,
    Const,
    For,
    Gemm,
    If,
    Index,
    Init,
    Kernel,
    Let,
    Load,
    Op,
    Ref,
    Store,
    Update,
    While,
)

LOOPS = ("serial", "vector", "unroll")
BOOL = np.dtype(bool)
ARITY = {name: arity for arity, names in SCALAR_OPS.items() for name in names}


def kernel_problems(kernel: Kernel) -> Iterator[str]:
    """What is wrong with a kernel, in words."""
    names = [b.name for b in kernel.buffers] + [x.name for x in kernel.locals]
    yield from (f"two buffers are named {n}" for n in sorted({n for n in names if names.count(n) > 1}))
    yield from (f"two sizes are named {n}" for n in sorted({n for n in kernel.sizes if kernel.sizes.count(n) > 1}))
    for b in kernel.buffers:
        if b.access not in ("r", "w", "rw"):
            yield f"buffer {b.name} has access {b.access!r}"
        for n in b.inplace:
            if n not in names or n == b.name or b.access == "r":
                yield f"buffer {b.name} cannot be in place of {n}"
    sizes = frozenset(kernel.sizes)
    for what, e in [("extent", kernel.extent), *((f"local {x.name}", x.extent) for x in kernel.locals)]:
        if not e.free <= sizes:
            yield f"{what} uses {', '.join(sorted(e.free - sizes))}, which is no size"
    if kernel.var in sizes:
        yield f"the parallel variable {kernel.var} is a size, too"
    yield from _Scope(kernel).block(kernel.body, sizes | {kernel.var}, {})
    yield from (
        f"buffer {b.name} has access 'w' and is read before it is written"
        for b in kernel.buffers
        if b.access == "w" and first_touch(kernel, b.name) == "read"
    )


class _Scope:
    def __init__(self, kernel: Kernel):
        self.dtypes = {x.name: np.dtype(x.dtype) for x in (*kernel.buffers, *kernel.locals)}
        # What a kernel only writes it may read back: a softmax keeps its exponentials where its result goes.
        self.readable = {b.name for b in kernel.buffers} | {x.name for x in kernel.locals}
        self.writable = {b.name for b in kernel.buffers if b.access != "r"} | {x.name for x in kernel.locals}

    def block(self, stmts, indices: frozenset[str], registers: dict[str, np.dtype]) -> Iterator[str]:
        """`indices`: names that offsets may use; `registers`: Lets and accumulators, with their dtypes."""
        registers = dict(registers)
        for s in stmts:
            match s:
                case For():
                    yield from self.expr(s.extent, indices, f"extent of loop {s.var}")
                    if s.kind not in LOOPS:
                        yield f"loop {s.var} has kind {s.kind!r}"
                    if s.var in indices:
                        yield f"loop variable {s.var} hides another name"
                    yield from self.block(s.body, indices | {s.var}, registers)
                case Let():
                    yield from self.value(s.value, indices, registers)
                    registers[s.name] = np.dtype(s.value.dtype)
                    if registers[s.name].kind in "iu":
                        indices = indices | {s.name}
                case Init():
                    if s.op not in FOLDS:
                        yield f"accumulator {s.name} folds with {s.op!r}"
                    registers[s.name] = np.dtype(s.dtype)
                case Update():
                    if s.name not in registers:
                        yield f"accumulator {s.name} is updated without Init"
                    elif registers[s.name] != np.dtype(s.value.dtype):
                        yield f"accumulator {s.name} is {registers[s.name]} and is given {s.value.dtype}"
                    yield from self.value(s.value, indices, registers)
                case Store():
                    yield from self.access(s.buffer, s.value.dtype, s.offset, indices, self.writable, "stores to")
                    yield from self.value(s.value, indices, registers)
                    yield from self.mask(s.where, indices, registers)
                case If():
                    yield from self.mask(s.cond, indices, registers)
                    yield from self.block(s.body, indices, registers)
                case While():
                    yield from self.expr(s.limit, indices, "limit of a while")
                    yield from self.block(s.body, indices, registers)
                    inside = {x.name: np.dtype(x.value.dtype) for x in s.body if isinstance(x, Let)}
                    yield from self.mask(s.cond, indices, registers | inside)
                case Gemm():
                    yield from self.gemm(s, indices)
                case _:
                    yield f"no such statement: {type(s).__name__}"

    def expr(self, e: Expr, indices, what: str) -> Iterator[str]:
        if not e.free <= indices:
            yield f"{what} uses {', '.join(sorted(e.free - indices))}, which is not in scope: {e}"

    def access(self, buffer: str, dtype, offset: Expr, indices, allowed, verb: str) -> Iterator[str]:
        if buffer not in self.dtypes:
            yield f"{verb} {buffer}, which is no buffer"
            return
        if buffer not in allowed:
            yield f"{verb} {buffer} against its access"
        if self.dtypes[buffer] != np.dtype(dtype):
            yield f"{verb} {buffer} as {dtype}, but it holds {self.dtypes[buffer]}"
        yield from self.expr(offset, indices, f"offset into {buffer}")

    def mask(self, cond, indices, registers) -> Iterator[str]:
        if cond is not None:
            if np.dtype(cond.dtype) != BOOL:
                yield f"a condition is {cond.dtype}, not bool"
            yield from self.value(cond, indices, registers)

    def value(self, v, indices, registers) -> Iterator[str]:
        match v:
            case Const():
                pass
            case Index():
                yield from self.expr(v.expr, indices, "an index value")
            case Load():
                yield from self.access(v.buffer, v.dtype, v.offset, indices, self.readable, "loads from")
                yield from self.mask(v.where, indices, registers)
            case Op():
                if ARITY.get(v.name) != len(v.args):
                    yield f"{v.name} of {len(v.args)} arguments is no scalar function"
                for x in v.args:
                    yield from self.value(x, indices, registers)
            case Ref():
                if v.name not in registers:
                    yield f"{v.name} is read before it has a value"
                elif registers[v.name] != np.dtype(v.dtype):
                    yield f"{v.name} is {registers[v.name]} and read as {v.dtype}"
            case _:
                yield f"no such value: {type(v).__name__}"

    def gemm(self, g: Gemm, indices) -> Iterator[str]:
        yield from self.access(g.c, g.dtype, g.c_offset, indices, self.writable, "multiplies into")
        yield from self.access(g.a, g.dtype, g.a_offset, indices, self.readable, "multiplies")
        yield from self.access(g.b, g.dtype, g.b_offset, indices, self.readable, "multiplies by")
        if g.offsets is not None and self.dtypes.get(g.offsets) != np.dtype(np.int64):
            yield f"offsets {g.offsets} are no int64 buffer"
        for name in ("ldc", "a_row", "a_col", "batch", "rows", "columns", "k", "accumulate"):
            yield from self.expr(getattr(g, name), indices, f"{name} of a gemm")


# -- order


def first_touch(kernel: Kernel, buffer: str) -> str | None:
    """What the first statement that touches `buffer` does: "read" it (too), or only "write" it, so that it may be fresh."""

    def first(stmts) -> str | None:
        for s in stmts:
            found = None
            match s:
                case For() | If():
                    found = ("read" if isinstance(s, If) and reads(s.cond) else None) or first(s.body)
                case While():
                    found = first(s.body) or ("read" if reads(s.cond) else None)
                case Let() | Update():
                    found = "read" if reads(s.value) else None
                case Store():
                    found = "read" if reads(s.value) or reads(s.where) else "write" if s.buffer == buffer else None
                case Gemm():
                    fresh = s.c == buffer and s.accumulate.value in (0, None)
                    found = "read" if buffer in (s.a, s.b, s.offsets) else "write" if fresh else "read" if s.c == buffer else None
            if found:
                return found
        return None

    def reads(v) -> bool:
        if isinstance(v, Load):
            # A read under a mask may be of what an earlier iteration wrote: a running sum begins without it.
            return (v.buffer == buffer and v.where is None) or reads(v.where)
        return isinstance(v, Op) and any(map(reads, v.args))

    return first(kernel.body)


# -- random iterations
