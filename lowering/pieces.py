"""From a jaxpr to pieces: each group of planning with its kernel, or with the call or the control flow that it is.

* Bodies of loops and branches become pieces of their own, by the same way.
* Planning and lowering take turns: an operand that a template cannot address, or that would be overwritten too early, gets a
  buffer or a copy, and planning starts again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jax.extend.core import ClosedJaxpr, Var

from sod2jax.ir.box import Box
from sod2jax.ir.expr import Expr
from sod2jax.ir.program import Host
from sod2jax.lowering.alike import Alike
from sod2jax.lowering.anchors import NeedsBuffer, Panels, lower_anchor, lower_packing
from sod2jax.lowering.loopnest import Lowered, lower_loops
from sod2jax.lowering.nests import lower_nest
from sod2jax.lowering.targets import Target
from sod2jax.ops import ExternCall, Out
from sod2jax.ops.control import Branch, Loop
from sod2jax.ops.outputs import separate
from sod2jax.plan.fuse import Group, fuse
from sod2jax.plan.graph import Graph
from sod2jax.plan.order import Node, ordered
from sod2jax.plan.own import own

What = Var | Panels  # what a buffer holds


@dataclass(frozen=True)
class KernelPiece:
    """A group with its kernel; `writes` are what its last buffers hold, each of so many `elements`."""

    group: Group
    lowered: Lowered
    writes: tuple[What, ...]
    elements: tuple[Expr, ...]

    @property
    def reads(self) -> Sequence[What]:
        return self.lowered.reads


@dataclass(frozen=True)
class CallPiece:
    """A kernel of the runtime's own, or a function of the process."""

    group: Group
    call: ExternCall | Host
    reads: tuple[Var, ...]
    writes: tuple[Var, ...]


@dataclass(frozen=True)
class LoopPiece:
    group: Group
    loop: Loop
    body: Lowering
    cond: Lowering | None
    reads: tuple[Var, ...]
    writes: tuple[Var, ...]


@dataclass(frozen=True)
class BranchPiece:
    group: Group
    branch: Branch
    bodies: tuple[Lowering, ...]
    states: frozenset[int]  # numbers of the results that lie in their operand's memory
    reads: tuple[Var, ...]
    writes: tuple[Var, ...]


@dataclass(frozen=True)
class ControlPiece:
    """A loop or branch whose bodies are still to be lowered."""

    group: Group
    reads: tuple[Var, ...]
    writes: tuple[Var, ...]


Piece = KernelPiece | CallPiece | LoopPiece | BranchPiece


@dataclass(frozen=True)
class Lowering:
    """A graph with its pieces, in running order. `successor[x]` takes over the memory of x."""

    graph: Graph
    pieces: tuple[Piece, ...]
    successor: dict[Var, Var]


@dataclass(frozen=True)
class Lowerer:
    box: Box
    target: Target
    disable: frozenset[str] = frozenset()
    sample: Mapping[str, int] = field(default_factory=dict)  # sizes to choose the order at
    alike: Alike = field(default_factory=Alike)

    def lower(
        self, closed: ClosedJaxpr, parameters: Collection[int] = (), states: Sequence[Var] = (), any_size: bool = False
    ) -> Lowering:
        """Pieces of `closed`. `parameters` are inputs whose values last: for calls, or for all iterations of a loop;
        `states` are inputs that may be overwritten by the outputs of the same numbers."""
        stored: frozenset[Var] = frozenset()
        copies: set[Var] = set()
        while True:
            owned = own(closed, states, copies, "memory" in self.disable)
            graph = Graph(owned.closed, self.box, parameters, any_size)
            groups = fuse(graph, self.disable, stored | owned.stored)
            buffers = {*graph.jaxpr.invars, *graph.jaxpr.constvars, *(v for g in groups if g.packs is None for v in g.outs)}
            pieces, needed = [], set()
            for group in groups:
                try:
                    pieces.append(self.piece(graph, group, buffers))
                except NeedsBuffer as need:
                    if need.var in stored:
                        raise
                    needed.add(need.var)
            if needed:
                stored |= needed
            elif late := read_too_late(pieces, owned.successor):
                copies |= late
            else:
                break
        # Bodies last, once: what is planned again above is one level of control flow.
        pieces = [self.control(graph, p.group, owned.successor) if isinstance(p, ControlPiece) else p for p in pieces]
        return Lowering(graph, self.in_order(graph, pieces, owned.successor), owned.successor)

    def in_order(self, graph: Graph, pieces: Sequence[Piece], successor: dict[Var, Var]) -> tuple[Piece, ...]:
        """The pieces, those that prepare first, in an order that needs little memory."""
        first = [p for p in pieces if p.group.prepare]
        rest = [p for p in pieces if not p.group.prepare]
        results = {x for x in successor if final(successor, x) in graph.outputs} | set(graph.outputs)
        kept = {w for p in first for w in p.writes}
        size: dict[What, int] = {}
        for p in rest:
            for w, elements in zip(p.writes, sizes(graph, p), strict=True):
                if w not in results and w not in kept and elements.free <= self.sample.keys():
                    size[w] = elements.eval(dict(self.sample)) * graph.dtype(root_of(graph, w)).itemsize
        if "order" in self.disable or not size:
            return tuple(first + rest)
        after = constraints(graph, rest, successor)
        nodes = [Node(tuple(p.reads), p.writes, a, p.group.packs is not None) for p, a in zip(rest, after, strict=True)]
        found = ordered(nodes, size)
        return (*first, *(rest[i] for i in found))

    def piece(self, graph: Graph, group: Group, buffers: set[Var]) -> Piece | ControlPiece:
        if group.whole is not None and graph.records[group.whole].nest is None:
            eqn, record = graph.eqns[group.whole], graph.records[group.whole]
            if record.control is not None:
                return ControlPiece(group, tuple(v for v in eqn.invars if isinstance(v, Var)), group.outs)
            return CallPiece(group, self.call(graph, eqn, record), tuple(eqn.invars), group.outs)
        lowered, elements = self.alike.lowered(graph, group, buffers, lambda: self.kernel(graph, group, buffers))
        writes = (Panels(group.packs.eqn),) if group.packs is not None else group.outs
        return KernelPiece(group, lowered, writes, elements)

    def kernel(self, graph: Graph, group: Group, buffers: set[Var]) -> tuple[Lowered, tuple[Expr, ...]]:
        """The kernel of a group, and how many elements it writes to each of its outputs."""
        if group.packs is not None:
            lowered, elements = lower_packing(graph, group, buffers, self.target)
            return lowered, (elements,)
        if group.anchor:
            lowered = lower_anchor(graph, group, buffers, self.target, "variants" not in self.disable)
        elif group.whole is not None:
            lowered = lower_nest(graph, group, buffers)
        else:
            looped = graph.records[graph.maker[group.root]].nest and not any(graph.records[i].folds for i in group.members)
            lowered = (lower_nest if looped else lower_loops)(graph, group, buffers)
        return lowered, tuple(map(graph.size, group.outs))

    def control(self, graph: Graph, group: Group, successor: dict[Var, Var]) -> LoopPiece | BranchPiece:
        eqn, record = graph.eqns[group.whole], graph.records[group.whole]
        form = record.control(eqn)
        reads = tuple(v for v in eqn.invars if isinstance(v, Var))
        if isinstance(form, Branch):
            taken = record.overwritten(eqn).items()
            states = {k: eqn.invars[x] for k, x in taken if successor.get(eqn.invars[x]) is eqn.outvars[k]}
            bodies = self.bodies(graph, form, states, len(eqn.outvars))
            return BranchPiece(group, form, bodies, frozenset(states), reads, group.outs)
        n = len(form.consts)
        states = form.body.jaxpr.invars[n : n + len(form.init)]
        body = separate(form.body, set(enumerate(states)))
        cond = form.cond and self.lower(separate(form.cond, ()), range(len(form.cond_consts)), any_size=True)
        return LoopPiece(group, form, self.lower(body, range(n), states, any_size=True), cond, reads, group.outs)

    def bodies(self, graph: Graph, form: Branch, states: dict[int, Var], results: int) -> tuple[Lowering, ...]:
        """The bodies of a branch; `states` are the operands that results overwrite, by the results' numbers."""
        lasting = [i for i, v in enumerate(form.operands) if v in graph.invariant]
        invars = {k: form.invars_of(v) for k, v in states.items()}
        found = []
        for number, body in enumerate(form.branches):
            own = [invars[k][number] if k in invars else None for k in range(results)]
            found.append(self.lower(separate(body, set(enumerate(own))), lasting, own, graph.any_size))
        return tuple(found)

    def call(self, graph: Graph, eqn, record) -> ExternCall | Host:
        ins, outs = ([Out(graph.shape(v), graph.dtype(v)) for v in vs] for vs in (eqn.invars, eqn.outvars))
        return record.host(**eqn.params) if record.extern is None else record.extern(outs, ins, **eqn.params)


def final(successor: dict[Var, Var], x: What) -> What:
    """What the memory of `x` holds in the end."""
    while x in successor:
        x = successor[x]
    return x


def root_of(graph: Graph, what: What) -> Var:
    """A variable of the dtype of `what`."""
    return graph.eqns[what.eqn].outvars[0] if isinstance(what, Panels) else what


def sizes(graph: Graph, piece: Piece) -> Sequence[Expr]:
    """Elements of what a piece writes."""
    return piece.elements if isinstance(piece, KernelPiece) else tuple(map(graph.size, piece.writes))


def constraints(graph: Graph, pieces: Sequence[Piece], successor: dict[Var, Var]) -> list[tuple[int, ...]]:
    """For each piece those that must come before it: makers and readers of what it overwrites, and effects before its own."""
    users: dict[What, list[int]] = {}
    for i, p in enumerate(pieces):
        for v in (*p.reads, *p.writes):
            users.setdefault(v, []).append(i)
    overwritten = {out: x for x, out in successor.items()}
    found, effect = [], None
    for i, p in enumerate(pieces):
        after = [j for w in p.writes if w in overwritten for j in users.get(overwritten[w], ()) if j != i]
        if p.group.whole is not None and graph.eqns[p.group.whole].effects:
            after += [effect] if effect is not None else []
            effect = i
        found.append(tuple(after))
    return found


def read_too_late(pieces: Iterable[Piece | ControlPiece], successor: dict[Var, Var]) -> set[Var]:
    """Operands that some piece reads after another has overwritten them."""
    gone: set[Var] = set()
    late: set[Var] = set()
    for piece in pieces:
        late.update(gone.intersection(piece.reads))
        gone.update(v for v in piece.reads if v in successor and successor[v] in piece.writes)
        gone.update(x for x, out in successor.items() if out in piece.writes)
    return late
