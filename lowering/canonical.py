"""Kernels that differ only in names and sizes become one kernel: machine code is made once per structure.

* Loop variables and definitions are renamed in the order in which they appear.
* What an index expression holds of sizes becomes int64 arguments of the kernel: in `i*(s*768) + j` the coefficient of `i` is a
  size. So are large constants (768), so that layers of other widths share the code; small ones (strides, window extents) stay,
  for they shape the code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sod2jax.ir.expr import Atom, Expr, const, rebuild, sym
from sod2jax.ir.loops import (
    Buffer,
    Const,
    For,
    Gemm,
    If,
    Index,
    Init,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    Ref,
    Stmt,
    Store,
    Update,
    Value,
    While,
)  # fmt: skip

SMALL = 16  # constants up to this stay in the code


@dataclass(frozen=True)
class Bound:
    """A kernel and what its size arguments are in terms of the program's symbols."""

    kernel: Kernel
    sizes: tuple[Expr, ...]


def canonical(kernel: Kernel, keep: frozenset[int] = frozenset(), small: int = SMALL) -> Bound:
    """`kernel`, whose expressions hold program symbols, as a kernel over its own sizes. Constants up to `small`, and those in
    `keep`, stay in the code."""
    return _Canonical(kernel, keep, small).run()


class _Canonical:
    def __init__(self, kernel: Kernel, keep: frozenset[int], small: int):
        self.kernel, self.keep, self.small = kernel, keep, small
        self.names: dict[str, str] = {}
        self.sizes: dict[Expr, Expr] = {}
        self.memo: dict[Expr, Expr] = {}
        self.counts: dict[str, int] = {}

    def run(self) -> Bound:
        k = self.kernel
        extent = self.expr(k.extent)
        var = self.rename(k.var, "i")
        body = self.body(k.body)
        buffers = tuple(Buffer(self.buffer(b.name), b.dtype, b.access, tuple(map(self.buffer, b.inplace))) for b in k.buffers)
        local = tuple(Local(self.buffer(x.name), x.dtype, self.expr(x.extent)) for x in k.locals)
        names = tuple(str(s) for s in self.sizes.values())
        return Bound(Kernel(k.name, buffers, names, local, var, extent, body), tuple(self.sizes))

    # Buffers and locals are named by whoever builds the kernel: x0, x1, ... and out.
    @staticmethod
    def buffer(name: str) -> str:
        return name

    def rename(self, name: str, letter: str) -> str:
        if name not in self.names:
            number = self.counts.get(letter, 0)
            self.counts[letter] = number + 1
            self.names[name] = f"{letter}{number}"
        return self.names[name]

    def size(self, e: Expr) -> Expr:
        if e.value is not None and (abs(e.value) <= self.small or e.value in self.keep):
            return e
        if e not in self.sizes:
            self.sizes[e] = sym(f"n{len(self.sizes)}")
        return self.sizes[e]

    def expr(self, e: Expr) -> Expr:
        found = self.memo.get(e)
        if found is None:
            found = self.memo[e] = self._expr(e)
        return found

    def _expr(self, e: Expr) -> Expr:
        names = self.names
        if names.keys().isdisjoint(e.free):
            return self.size(e)
        groups: dict[tuple[Atom, ...], Expr] = {}
        for monomial, coefficient in e.terms:
            inner = tuple(a for a in monomial if not names.keys().isdisjoint(a.free))
            outer = const(coefficient)
            for a in monomial:
                if a not in inner:
                    outer = outer * a.expr
            groups[inner] = groups.get(inner, const(0)) + outer
        total = const(0)
        for inner, outer in groups.items():
            term = self.size(outer)
            for a in inner:
                term = term * self.atom(a)
            total = total + term
        return total

    def atom(self, a: Atom) -> Expr:
        if not a.args:
            return sym(self.names[a.name])
        return rebuild(a, tuple(self.expr(x) for x in a.args))

    def value(self, v: Value | None) -> Value | None:
        match v:
            case Ref(name, dtype):
                return Ref(self.names[name], dtype)
            case Index(expr, dtype):
                expr = self.expr(expr)
                return Index(expr, dtype)
            case Load(buffer, offset, dtype, where):
                return Load(self.buffer(buffer), self.expr(offset), dtype, self.value(where))
            case Op(name, args, dtype):
                return Op(name, tuple(map(self.value, args)), dtype)
            case Const() | None:
                return v
        raise TypeError(f"no value: {v}")

    def body(self, stmts) -> tuple[Stmt, ...]:
        return tuple(map(self.stmt, stmts))

    def stmt(self, s: Stmt) -> Stmt:
        e: Callable[[Expr], Expr] = self.expr
        match s:
            case For(var, extent, body, kind):
                extent = e(extent)
                return For(self.rename(var, "i"), extent, self.body(body), kind)
            case Let(name, value):
                value = self.value(value)
                return Let(self.rename(name, "t"), value)
            case Init(name, op, dtype):
                return Init(self.rename(name, "a"), op, dtype)
            case Update(name, value):
                return Update(self.names[name], self.value(value))
            case Store(buffer, offset, value, where):
                return Store(self.buffer(buffer), e(offset), self.value(value), self.value(where))
            case If(cond, body):
                return If(self.value(cond), self.body(body))
            case While(body, cond, limit):
                body = self.body(body)
                return While(body, self.value(cond), e(limit))
            case Gemm():
                return Gemm(
                    s.c, e(s.c_offset), e(s.ldc), s.a, e(s.a_offset), e(s.a_row), e(s.a_col), s.offsets, e(s.batch), s.b,
                    e(s.b_offset), e(s.rows), e(s.columns), e(s.k), e(s.accumulate), s.dtype,
                )  # fmt: skip
        raise TypeError(f"no statement: {s}")
