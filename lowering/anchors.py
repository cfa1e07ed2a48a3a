"""Kernels of contractions: the packing of the right operand, and the macro kernel with its epilogue pulled in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from jax.extend.core import Var

from sod2jax.ir.box import Box
from sod2jax.ir.contraction import Axis, Contraction
from sod2jax.ir.expr import Expr, const, sym
from sod2jax.ir.loops import Buffer, Let, Load, Ref, Stmt, Value, stored
from sod2jax.lowering import gemm
from sod2jax.lowering.body import Builder, Scope
from sod2jax.lowering.canonical import canonical
from sod2jax.lowering.loopnest import Lowered, overwritable
from sod2jax.lowering.pull import OUT, Puller, offset
from sod2jax.lowering.targets import Target
from sod2jax.lowering.work import scratch_of, work_of
from sod2jax.plan.fuse import Anchor, Group
from sod2jax.plan.graph import Graph

A, PANELS = "a", "panels"


class NeedsBuffer(Exception):
    """The left operand `var` is not read by strides where it lies: planning must give it a buffer of its own."""

    def __init__(self, var: Var, reason: str):
        super().__init__(reason)
        self.var = var


@dataclass(frozen=True)
class Panels:
    """The packed right operand of an anchor, as a thing that lies in a buffer."""

    eqn: int


@dataclass(frozen=True)
class Described:
    """An anchor as the GEMM template sees it."""

    contraction: Contraction
    a: Var  # the buffer behind the left operand
    indices: tuple[tuple[str, ...], ...]  # names of the batch, m, n and k variables
    box: Box


def describe(graph: Graph, anchor: Anchor, buffers: Collection[Var]) -> Described:
    maps = anchor.maps
    names, axes = [], []
    for kind, extents in (("b", maps.batch), ("m", maps.m), ("n", maps.n), ("k", maps.k)):
        names.append(tuple(f"_{kind}{i}" for i in range(len(extents))))
        sized = zip(names[-1], map(graph.box.simplify, extents), strict=True)
        axes.append(tuple(Axis(name, extent) for name, extent in sized if extent.value != 1))
    variables = {a.var: sym(a.var) for group in axes for a in group}
    box = graph.box.extend({a.var: (const(0), a.extent - 1) for group in axes for a in group})
    batch, m, _, k = (positions(group, variables) for group in names)
    a, at = address(graph, anchor.a, maps.lhs(batch, m, k), box, buffers)
    contraction = Contraction(graph.dtype(anchor.a), *axes, A, at, PANELS)
    if reason := contraction.why_not(box):
        raise NeedsBuffer(anchor.a, reason)
    return Described(contraction, a, tuple(names), box)


def positions(names: tuple[str, ...], index: Mapping[str, Expr]) -> tuple[Expr, ...]:
    """An index along the axes `names`; an axis of size 1 is no axis to the template and stands at 0."""
    return tuple(index.get(name, const(0)) for name in names)


def address(graph: Graph, var: Var, index: tuple[Expr, ...], box: Box, buffers: Collection[Var]) -> tuple[Var, Expr]:
    """The buffer and the offset in it at which element `index` of `var` lies; only affine index maps stand in between."""
    builder = Builder(box)
    puller = Puller(graph, builder, buffers)
    value = puller.value(var, index)
    loads = [s.value for s in builder.scopes[0].statements() if isinstance(s, Let) and Ref(s.name, s.value.dtype) == value]
    if len(loads) != 1 or not isinstance(loads[0], Load) or loads[0].where is not None:
        raise NeedsBuffer(var, "it is computed, not moved")
    (buffer,) = puller.names
    return buffer, loads[0].offset


class _Callback:
    """Runs pulls inside of loops that the template owns; definitions keep distinct names over all calls."""

    def __init__(self, graph: Graph, buffers: Collection[Var]):
        self.builder = Builder(graph.box)
        self.puller = Puller(graph, self.builder, buffers)

    def statements(self, box: Box, run) -> tuple[tuple[Stmt, ...], Value | None]:
        self.builder.scopes, self.builder.boxes = [Scope(None, const(1))], [box]
        value = run()
        return self.builder.scopes[0].statements(), value


def lower_packing(graph: Graph, group: Group, buffers: Collection[Var], target: Target) -> tuple[Lowered, Expr]:
    """The kernel that packs an anchor's right operand, and how many elements it writes."""
    anchor = group.packs
    d = describe(graph, anchor, buffers)
    batch, _, n, k = d.indices
    callback = _Callback(graph, buffers)

    def value(index, box):
        at = anchor.maps.rhs(*(positions(names, index) for names in (batch, k, n)))
        return callback.statements(box, lambda: callback.puller.value(anchor.b, at))

    nest = gemm.pack(d.contraction, target, graph.box, value)
    reads = tuple(callback.puller.names)
    arguments = tuple(Buffer(callback.puller.names[v], stored(graph.dtype(v)), "r") for v in reads)
    kernel = nest.kernel("pack", (*arguments, Buffer(PANELS, d.contraction.dtype, "w")))
    lowered = Lowered(canonical(kernel, nest.keep, small=1), reads, nest.extent, work_of(kernel), scratch=scratch_of(kernel))
    return lowered, gemm.panel_elements(d.contraction, target)


def lower_anchor(graph: Graph, group: Group, buffers: Collection[Var], target: Target, variants: bool = True) -> Lowered:
    """The macro kernel of a contraction; what lies between the anchor and the group's root happens on the tile."""
    anchor = group.anchor
    d = describe(graph, anchor, buffers)
    batch, m, n, _ = d.indices
    out = graph.eqns[anchor.eqn].outvars[0]
    callback = _Callback(graph, buffers)
    puller = callback.puller

    def epilogue(index, acc, box):
        at = anchor.maps.out(*(positions(names, index) for names in (batch, m, n)))

        def run():
            place = graph.forward(callback.builder, group.path, at)
            puller.given[out] = lambda _: acc
            value = acc if group.root is out else puller.compute(group.root, place)
            callback.builder.store(OUT, box.simplify(offset(place, graph.shape(group.root))), value)

        return callback.statements(box, run)[0]

    nest = gemm.contract(d.contraction, target, graph.box, epilogue, variants)
    others = tuple(puller.names)
    dtype = graph.dtype(group.root)
    names = [puller.names[v] for v in others if v is not d.a and graph.dtype(v) == dtype]
    buffers_ = (
        Buffer(A, d.contraction.dtype, "r"),
        Buffer(PANELS, d.contraction.dtype, "r"),
        *(Buffer(puller.names[v], stored(graph.dtype(v)), "r") for v in others),
        Buffer(OUT, stored(dtype), "w", tuple(n for n in names if overwritable(nest.body, n, OUT))),
    )
    kernel = nest.kernel("contract", buffers_)
    reads = (d.a, Panels(anchor.eqn), *others)
    return Lowered(canonical(kernel, nest.keep, small=1), reads, nest.extent, d.contraction.flops, scratch_of(kernel))
