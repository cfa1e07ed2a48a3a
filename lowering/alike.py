"""Groups that are alike get one kernel: that of layer 1 is that of layer 12, on other buffers.

* Two groups are alike if everything that their kernels are made of is: the eqns from the roots back to the buffers, with params,
  shapes and dtypes, and which operand is which. Vars count by the order in which they are found.
* Params are compared by value where that is safe, else by identity. A size is compared by its expression: comparing it as a
  size would be a question.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from jax.extend.core import Literal, Var

from sod2jax.ir.dims import Dim, expr_of
from sod2jax.lowering.anchors import Panels
from sod2jax.lowering.loopnest import Lowered
from sod2jax.plan.fuse import Group
from sod2jax.plan.graph import Graph


@dataclass
class Alike:
    """The kernels of the groups of one compilation."""

    found: dict[Hashable, tuple] = field(default_factory=dict)
    alive: list = field(default_factory=list)  # whose identities are in keys

    def lowered(
        self,
        graph: Graph,
        group: Group,
        buffers: Collection[Var],
        lower: Callable[[], tuple[Lowered, object]],
    ) -> tuple[Lowered, object]:
        """`lower()` for the first of the groups that are alike; for others the same, reading what they read."""
        signature = Signature(graph, buffers, self.alive)
        key = signature.of(group)
        if key not in self.found:
            lowered, more = lower()
            self.found[key] = lowered, more, signature.vars
            return lowered, more
        lowered, more, names = self.found[key]
        mine = dict(zip(names, signature.vars, strict=True))
        anchor = group.anchor or group.packs

        def own(what):
            return Panels(anchor.eqn) if isinstance(what, Panels) else mine[what]

        return replace(lowered, reads=tuple(map(own, lowered.reads))), more


class Signature:
    """Walks a group from its outputs to the buffers; `vars` are those that it finds, in order."""

    def __init__(self, graph: Graph, buffers: Collection[Var], alive: list):
        self.graph, self.buffers, self.alive = graph, buffers, alive
        self.vars: list[Var] = []
        self.number: dict[Var, int] = {}
        self.eqns: list[Hashable] = []
        self.seen: set[int] = set()

    def of(self, group: Group) -> Hashable:
        graph, anchor = self.graph, group.anchor or group.packs
        todo = [anchor.eqn] if group.packs else [graph.maker[v] for v in group.outs]
        while todo:
            i = todo.pop()
            if i in self.seen:
                continue
            self.seen.add(i)
            eqn = graph.eqns[i]
            operands, results = tuple(map(self.operand, eqn.invars)), tuple(map(self.operand, eqn.outvars))
            self.eqns.append((eqn.primitive, self.params(eqn.params), operands, results))
            todo += (graph.maker[v] for v in eqn.invars if isinstance(v, Var) and v in graph.maker and v not in self.buffers)

        def numbers(eqns: Iterable[int]) -> tuple[int, ...]:
            return tuple(self.number[graph.eqns[i].outvars[0]] for i in eqns if i in self.seen)

        contraction = anchor and (numbers([anchor.eqn]), self.number[anchor.a], self.number[anchor.b], anchor.swapped)
        outs = tuple(self.number[v] for v in group.outs)
        form = outs, group.whole is None, bool(group.packs), contraction, numbers(group.path), numbers(group.members)
        return form, tuple(self.eqns)

    def operand(self, v) -> Hashable:
        graph = self.graph
        if isinstance(v, Literal):
            return "literal", np.asarray(v.val).tobytes(), v.aval.dtype
        number = self.number.get(v)
        if number is None:
            number = self.number[v] = len(self.vars)
            self.vars.append(v)
        constant = graph.consts.get(v)
        value = None if constant is None or constant.size != 1 else np.asarray(constant).tobytes()
        users = None if v in self.buffers else len(graph.users.get(v, ()))
        return number, users, graph.shape(v), graph.dtype(v), value

    def params(self, x) -> Hashable:
        """What of params tells kernels apart, hashable."""
        match x:
            case None | bool() | str() | Enum():
                return type(x), x
            case int() | np.integer():
                return int, int(x)
            case float():
                return float, x.hex()
            case Dim():
                return Dim, expr_of(x)
            case np.dtype():
                return np.dtype, x
            case dict():
                return dict, tuple((k, self.params(v)) for k, v in x.items())
            case tuple() | list():
                return type(x), tuple(map(self.params, x))
        self.alive.append(x)
        return "is", id(x)
