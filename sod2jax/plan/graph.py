"""A jaxpr as a graph that planning can ask: who makes a var, who uses it, its shape, what depends on parameters alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, Var

from sod2jax import ops
from sod2jax.ir.box import Box
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import Expr, const
from sod2jax.plan import places


class Graph:
    """Read-only views of `closed_jaxpr`. `parameters` are the numbers of inputs that are expected to be the same arrays call
    after call (weights): what depends on nothing else is computed when they change, not at each call."""

    def __init__(self, closed_jaxpr: ClosedJaxpr, box: Box, parameters: Collection[int] = (), any_size: bool = False):
        self.closed_jaxpr, self.box = closed_jaxpr, box
        self.jaxpr = closed_jaxpr.jaxpr
        self.eqns = self.jaxpr.eqns
        self.consts = dict(zip(self.jaxpr.constvars, closed_jaxpr.consts, strict=True))
        self.outputs = [v for v in self.jaxpr.outvars if isinstance(v, Var)]
        self.records = [ops.of(e.primitive) for e in self.eqns]
        self.maker: dict[Var, int] = {v: i for i, e in enumerate(self.eqns) for v in e.outvars}
        self.users: dict[Var, list[int]] = {}
        for i, e in enumerate(self.eqns):
            for v in dict.fromkeys(v for v in e.invars if isinstance(v, Var)):
                self.users.setdefault(v, []).append(i)
        self._shapes: dict[Var, tuple[Expr, ...]] = {}
        self._reads: dict[tuple[int, int], tuple[places.Read, ...]] = {}
        self.parameters = frozenset(parameters)
        self.any_size = any_size

    def shape(self, v) -> tuple[Expr, ...]:
        if isinstance(v, Literal):
            return ()
        shape = self._shapes.get(v)
        if shape is None:
            shape = self._shapes[v] = tuple(self.box.simplify(expr_of(d)) for d in v.aval.shape)
        return shape

    def dtype(self, v) -> np.dtype:
        return np.dtype(v.aval.dtype)

    def size(self, v) -> Expr:
        total = const(1)
        for d in self.shape(v):
            total = total * d
        return total

    def same_shape(self, a, b) -> bool:
        x, y = self.shape(a), self.shape(b)
        return len(x) == len(y) and all(map(self.box.known_eq, x, y))

    def reads(self, i: int, number: int = 0) -> tuple[places.Read, ...]:
        """How an element of output `number` of eqn `i`, which has a `pull`, reads the operands."""
        if (found := self._reads.get((i, number))) is None:
            found = self._reads[i, number] = places.reads(self, i, number)
        return found

    def overwrites(self, i: int) -> Mapping[int, int]:
        """{output: operand} of eqn `i`: whose memory it updates in place."""
        record = self.records[i]
        return {} if record is None else record.overwritten(self.eqns[i])

    def forward(self, b, path: Sequence[int], index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """Where element `index` of the input of `path` (eqn numbers) lies in its result; `b` simplifies: a Box, or a Body."""
        for number in path:
            eqn, record = self.eqns[number], self.records[number]
            if record.forward is not None:
                out = ops.Out(self.shape(eqn.outvars[0]), self.dtype(eqn.outvars[0]))
                index = tuple(record.forward(b, out, index, self.shape(eqn.invars[0]), **eqn.params))
        return index

    @cached_property
    def invariant(self) -> set[Var]:
        """The vars that depend on parameters and on nothing else that a call brings, sizes included (unless `any_size`).

        What is updated in place later is none of them: its memory lasts for one call."""
        known = {v for i, v in enumerate(self.jaxpr.invars) if i in self.parameters}
        free = set(self.consts)
        spent = {v for i, e in enumerate(self.eqns) for k in self.overwrites(i).values() if isinstance(v := e.invars[k], Var)}
        for e, record in zip(self.eqns, self.records, strict=True):
            operands = [v for v in e.invars if isinstance(v, Var)]
            if e.effects or record is None or record.host or record.control or record.overwrites:
                continue
            if not self.any_size and any(d.value is None for v in e.outvars for d in self.shape(v)):
                continue
            if all(v in known or v in free for v in operands) and spent.isdisjoint(e.outvars):
                (known if any(v in known for v in operands) else free).update(e.outvars)
        return known

    @cached_property
    def post_dominators(self) -> list[int | None]:
        """For each eqn the next one that every path from it to an output goes through; None at the outputs."""
        n = len(self.eqns)
        exits = set(self.outputs)
        parent: list[int | None] = [None] * n
        depth = [0] * n
        for i in range(n - 1, -1, -1):
            users = {u for v in self.eqns[i].outvars for u in self.users.get(v, ())}
            if not users or any(v in exits for v in self.eqns[i].outvars):
                continue
            meet: int | None = None
            for k, u in enumerate(users):
                meet = u if k == 0 else self._meet(meet, u, parent)
            parent[i] = meet
            depth[i] = 0 if meet is None else depth[meet] + 1
        return parent

    @staticmethod
    def _meet(a: int | None, b: int | None, parent: list[int | None]) -> int | None:
        """The first common eqn of two chains of post-dominators; eqn numbers grow along a chain."""
        while a is not None and b is not None and a != b:
            if a < b:
                a = parent[a]
            else:
                b = parent[b]
        return a if a == b else None
