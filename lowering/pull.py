"""From a group of eqns to the value of one element: reads buffers, and runs loop rules for everything between them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from jax.extend.core import Literal, Var

from sod2jax.ir.expr import Expr, as_expr, const
from sod2jax.ir.loops import Value
from sod2jax.lowering.body import Builder, reads
from sod2jax.ops import Out
from sod2jax.plan.graph import Graph

OUT = "out"


class Operand:
    """What a loop rule gets for an operand (`ops.Tensor`)."""

    def __init__(self, puller: Puller, var):
        self.puller, self.var = puller, var
        self.shape, self.dtype = puller.graph.shape(var), puller.graph.dtype(var)

    def __getitem__(self, index: Sequence[Expr]) -> Value:
        return self.puller.value(self.var, tuple(map(as_expr, index)))


class Puller:
    """`value(var, index)`, with `buffers` the vars that lie in memory and `given` the vars whose values the caller has."""

    def __init__(self, graph: Graph, builder: Builder, buffers: Collection[Var]):
        self.graph, self.builder, self.buffers = graph, builder, buffers
        self.names: dict[Var, str] = {}  # of the buffers that are read, in order of first use
        self.given: dict[Var, Callable[[tuple[Expr, ...]], Value]] = {}

    def name(self, var: Var) -> str:
        return self.names.setdefault(var, f"x{len(self.names)}")

    def value(self, var, index: tuple[Expr, ...]) -> Value:
        b = self.builder
        if isinstance(var, Literal):
            return b.const(var.val, var.aval.dtype)
        if var in self.given:
            return self.given[var](index)
        if var in self.graph.consts and self.graph.consts[var].size == 1:
            return b.const(np.asarray(self.graph.consts[var]).reshape(()).item(), self.graph.dtype(var))
        if var in self.buffers:
            return b.load(self.name(var), offset(index, self.graph.shape(var)), self.graph.dtype(var))
        return self.compute(var, index)

    def compute(self, var: Var, index: tuple[Expr, ...]) -> Value:
        """The element by its eqn's loop rule, once per place and condition."""
        b = self.builder
        if any(size.value == 0 for size in self.graph.shape(var)):
            return b.const(0, self.graph.dtype(var))  # no such element: what asks for it never runs
        index = tuple(b.simplify(i) for i in index)
        key = (var, index, b.pred)
        for scope in reversed(b.scopes):
            if key in scope.memo:
                return scope.memo[key]
        number = self.graph.maker[var]
        eqn, record = self.graph.eqns[number], self.graph.records[number]
        out = Out(self.graph.shape(var), self.graph.dtype(var), eqn.outvars.index(var))
        value = record.pull(b, out, index, *(Operand(self, v) for v in eqn.invars), **eqn.params)
        home = b.scopes[max(b.innermost(n for i in index for n in i.free), b.innermost(reads(value)))]
        home.memo[key] = value
        return value


def offset(index: Sequence[Expr], shape: Sequence[Expr]) -> Expr:
    """Row-major position."""
    at = const(0)
    for i, size in zip(index, shape, strict=True):
        at = at * size + i
    return at
