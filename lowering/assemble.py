"""From groups to the Program: a kernel and a step per group, slots with lifetimes, the arena's plan.

* Equal kernels are kept once.
* What depends on parameters alone lies in cached slots and is filled by prepare steps, which come first.
* An output overwrites a buffer that dies in its step, where its kernel allows it (`Lowered.inplace`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jax.extend.core import Var

from sod2jax.analyse.liveness import lives
from sod2jax.ir.expr import Expr, const
from sod2jax.ir.loops import Kernel
from sod2jax.ir.program import Input, Output, Program, Slot, Step
from sod2jax.lowering.anchors import NeedsBuffer, Panels, lower_anchor, lower_packing
from sod2jax.lowering.loopnest import Lowered, lower_loops
from sod2jax.lowering.targets import Target
from sod2jax.plan import memory
from sod2jax.plan.fuse import Group, fuse
from sod2jax.plan.graph import Graph


@dataclass(frozen=True)
class Piece:
    """A group with its kernel; `writes` is what its last buffer holds."""

    group: Group
    lowered: Lowered
    writes: Var | Panels
    elements: Expr


def lower(graph: Graph, target: Target, disable: frozenset[str] = frozenset()) -> list[Piece]:
    """Kernels of all groups, in running order."""
    stored: frozenset[Var] = frozenset()
    while True:
        groups = fuse(graph, disable, stored)
        try:
            return [_piece(graph, g, _buffers(graph, groups), target) for g in groups]
        except NeedsBuffer as need:
            if need.var in stored:
                raise
            stored |= {need.var}


def _buffers(graph: Graph, groups: Sequence[Group]) -> set[Var]:
    return {*graph.jaxpr.invars, *graph.jaxpr.constvars, *(g.root for g in groups if g.packs is None)}


def _piece(graph: Graph, group: Group, buffers: set[Var], target: Target) -> Piece:
    if group.packs is not None:
        lowered, elements = lower_packing(graph, group, buffers, target)
        return Piece(group, lowered, Panels(group.packs.eqn), elements)
    lowered = lower_anchor(graph, group, buffers, target) if group.anchor else lower_loops(graph, group, buffers)
    return Piece(group, lowered, group.root, graph.size(group.root))


class _Slots:
    """Slots by what they hold, while steps are laid out."""

    def __init__(self, graph: Graph, pieces: Sequence[Piece]):
        self.graph, self.pieces = graph, pieces
        self.slots: list[Slot] = []
        self.of: dict[object, int] = {}
        self.constants: list[np.ndarray] = []
        self.counts: dict[str, int] = {}
        self.outputs = {v: i for i, v in reversed(list(enumerate(graph.jaxpr.outvars))) if isinstance(v, Var)}

    def add(self, what, kind: str, dtype, shape, elements: Expr, name: str, index: int | None = None) -> int:
        if index is None:
            index = self.counts.get(kind, 0)
            self.counts[kind] = index + 1
        self.of[what] = len(self.slots)
        self.slots.append(Slot(kind, index, dtype, shape, elements * dtype.itemsize, name=name))
        return self.of[what]

    def get(self, what) -> int:
        """The slot of something that is read: made already, or an input or constant."""
        if what in self.of:
            return self.of[what]
        graph = self.graph
        shape, dtype = graph.shape(what), graph.dtype(what)
        if what in graph.consts:
            self.constants.append(np.ascontiguousarray(graph.consts[what]))
            return self.add(what, "constant", dtype, shape, graph.size(what), f"const{len(self.constants) - 1}")
        number = graph.jaxpr.invars.index(what)
        return self.add(what, "input", dtype, shape, graph.size(what), f"arg{number}", number)

    def make(self, piece: Piece) -> int:
        """The slot that a step writes."""
        what, group = piece.writes, piece.group
        if isinstance(what, Panels):
            dtype, shape, name = self.graph.dtype(group.root), (piece.elements,), f"packed{what.eqn}"
        else:
            dtype, shape, name = self.graph.dtype(what), self.graph.shape(what), f"v{self.graph.maker[what]}"
        if what in self.outputs:
            return self.add(what, "output", dtype, shape, piece.elements, name, self.outputs[what])
        return self.add(what, "cached" if group.prepare else "arena", dtype, shape, piece.elements, name)


def assemble(
    name: str,
    graph: Graph,
    pieces: Sequence[Piece],
    inputs: Sequence[Input],
    samples: Sequence[Mapping[str, int]],
    disable: frozenset[str] = frozenset(),
    **rest,
) -> Program:
    """The Program of `pieces`; `samples` are sizes to plan the arena for, the most important one last."""
    pieces = sorted(_once(pieces), key=lambda p: not p.group.prepare)
    table = _Slots(graph, pieces)
    kernels: dict[Kernel, int] = {}
    steps: list[Step] = []
    roots: dict[object, frozenset[int]] = {v: frozenset({i}) for i, v in enumerate(graph.jaxpr.invars)}
    for piece in pieces:
        lowered = piece.lowered
        reads = tuple(map(table.get, lowered.reads))
        needs = frozenset().union(*(roots.get(r, frozenset()) for r in lowered.reads))
        written = table.make(piece)
        if piece.group.prepare:
            roots[piece.writes] = needs
        number = kernels.setdefault(lowered.bound.kernel, len(kernels))
        prepare = tuple(sorted(needs)) if piece.group.prepare else ()
        steps.append(
            Step(
                number,
                (*reads, written),
                lowered.bound.sizes,
                lowered.extent,
                lowered.work,
                lowered.scratch,
                prepare,
                describe(graph, piece),
            )
        )
    slots = _lifetimes(table.slots, steps)
    slots, steps, kernels_, arena = _arena(slots, steps, list(kernels), pieces, samples, "memory" in disable)
    return Program(
        name=name,
        inputs=tuple(inputs),
        outputs=tuple(_output(graph, table, v) for v in graph.jaxpr.outvars),
        slots=tuple(slots),
        steps=tuple(steps),
        kernels=tuple(replace(k, name=f"{k.name}_{i}") for i, k in enumerate(kernels_)),
        constants=tuple(table.constants),
        arena=arena,
        **rest,
    )


def _once(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces, where an operand that several anchors pack alike is packed once."""
    packed: dict[object, Panels] = {}
    same: dict[object, Panels] = {}
    kept = []
    for piece in pieces:
        lowered = piece.lowered
        if any(r in same for r in lowered.reads):
            piece = replace(piece, lowered=replace(lowered, reads=tuple(same.get(r, r) for r in lowered.reads)))
        if isinstance(piece.writes, Panels):
            key = lowered.bound, lowered.reads
            if key in packed:
                same[piece.writes] = packed[key]
                continue
            packed[key] = piece.writes
        kept.append(piece)
    return kept


def _output(graph: Graph, table: _Slots, v) -> Output:
    shape, dtype = graph.shape(v), graph.dtype(v)
    if v in table.of and table.slots[table.of[v]].kind == "output":
        return Output(dtype, shape, table.of[v])
    return Output(dtype, shape, None, forward=graph.jaxpr.invars.index(v))


def describe(graph: Graph, piece: Piece) -> str:
    """The eqns of a group, for people."""
    if piece.group.packs is not None:
        return f"pack {graph.eqns[piece.group.packs.eqn].primitive} operand"
    return " ".join(str(graph.eqns[i].primitive) for i in piece.group.members)


def _lifetimes(slots: Sequence[Slot], steps: Sequence[Step]) -> list[Slot]:
    given = [i for i, slot in enumerate(slots) if slot.kind in ("input", "constant")]
    found = lives([(step.slots[:-1], step.slots[-1:]) for step in steps], given)
    return [replace(slot, first=found[i].first, last=found[i].last) for i, slot in enumerate(slots)]


def _arena(slots, steps, kernels, pieces, samples, plain: bool):
    """Places the arena slots; with `plain` (memory planning disabled) each gets a place of its own."""
    numbers = [i for i, s in enumerate(slots) if s.kind == "arena"]
    position = {s: k for k, s in enumerate(numbers)}
    heirs: list[tuple[int, int]] = []
    if not plain:
        taken: set[int] = set()
        for t, (step, piece) in enumerate(zip(steps, pieces, strict=True)):
            written = step.slots[-1]
            if written not in position:
                continue
            for what, s in zip(piece.lowered.reads, step.slots[:-1], strict=True):
                dies = s in position and slots[s].last == t and s not in taken and slots[s].nbytes == slots[written].nbytes
                if dies and what in piece.lowered.inplace and step.slots.count(s) == 1:
                    heirs.append((position[s], position[written]))
                    taken.add(s)
                    break
    over = {(numbers[a], numbers[b]) for a, b in heirs}
    end = len(steps)
    buffers = [memory.Buffer(slots[i].nbytes, 0 if plain else slots[i].first, end if plain else slots[i].last) for i in numbers]
    merged, owner = memory.share(buffers, heirs)
    placement = memory.place(merged, samples)
    slots = list(slots)
    for k, i in enumerate(numbers):
        slots[i] = replace(slots[i], offset=placement.offsets[owner[k]])
    steps, kernels = _mark_inplace(steps, kernels, over)
    return slots, steps, kernels, placement.arena if numbers else const(0)


def _mark_inplace(steps, kernels, over):
    """Kernels whose output lies over an input say so, since others assume that buffers do not overlap."""
    table: dict[Kernel, int] = {}
    result = []
    for step in steps:
        kernel = kernels[step.kernel]
        written = step.slots[-1]
        names = {b.name for b, s in zip(kernel.buffers, step.slots, strict=True) if (s, written) in over}
        if names:
            *reads, out = kernel.buffers
            kernel = replace(kernel, buffers=(*reads, replace(out, inplace=names.pop())))
        result.append(replace(step, kernel=table.setdefault(kernel, len(table))))
    return result, list(table)
