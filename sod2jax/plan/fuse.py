"""Fusion: which values get a buffer, and which eqns run inside of the kernel that fills it.

A group is one kernel to be: its `root` is the var that it writes; everything between the root and the next buffers is pulled in.
After DNNFusion (section 4) and oneDNN Graph Compiler (fine-grain fusion):

* Anchors (many-to-many: dot_general, convolutions) get a group each. Its epilogue grows along post-dominators as long as
  everything between is one-to-one in the anchor's own shape (or an index map that can be followed forward): no element is
  computed twice, and the group is convex by construction.
* The other eqns are visited from the outputs back. An eqn whose consumers all lie in one group joins that group (green cells of
  DNNFusion's table 3). Index maps join every consumer: they are never worth a buffer (SmartMem), unless of many operands.
* A reduction joins a group that works row by row on the shape that it reduces, or on its result's shape, so that the rows are
  folded once; otherwise it gets a buffer (red cell: many-to-many into many-to-many).
* One-to-many: a costly value that its consumer would recompute along other axes gets a buffer (yellow cell); index maps that read
  each element once recompute nothing.
* A value is computed once per place that its kernel asks for it at (`plan.places`), and places multiply from eqn to eqn: what
  would be computed too often, or move too far, gets a buffer. So the code grows with the eqns, not faster.
* Values of parameters alone (batch norm's scale) get a buffer that is filled when the parameters change.
* An eqn that computes all its outputs at once (`OpDef.whole`: loops of its own, kernels of the runtime, libraries, control flow)
  is a group. What a nest reads may join it; the others read buffers.
* An anchor's right operand goes through packing, whose loops take in what lies before it; its left operand is addressed by
  strides, so only affine index maps may stand between it and a buffer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jax.extend.core import Literal, Var

from sod2jax.ir.expr import const, sym
from sod2jax.ops._base import Mapping as MappingType
from sod2jax.ops._base import OpDef
from sod2jax.ops.contract import ContractionMap
from sod2jax.plan import places
from sod2jax.plan.graph import Graph
from sod2jax.plan.places import Place

COSTLY = 4.0  # scalar operations from which recomputing along a broadcast axis is worse than a buffer
LARGEST = 48  # eqns of a group: beyond, registers spill, and pulling recurses deep
MARGIN = 32  # elements that a pad adds along an axis, for which a costly value is computed in vain
PIECES = 4  # operands of an index map beyond which each element asks too many of them whether it is theirs
OFTEN = 8  # scalar operations for one value at several places, next to each other
SPREAD = 32  # places at which a kernel may ask for what is only moved
FAR = 16  # moves between the output and a value: beyond, all that read the value would follow the way anew
DIVISIONS = 6  # divisions on the way of an index
CODE = 512  # values that a kernel computes, all places counted
SHARED = 8  # scalars that a kernel computes although another one does, too
WORK = 512  # scalar operations for an element, from which LLVM's time counts and that of another pass over memory does not
NARROW = 8  # columns below which the GEMM template wastes most of a vector


@dataclass(frozen=True)
class Anchor:
    """A contraction with its roles: `a` is addressed by strides, `b` is packed; `maps` has lhs for a and rhs for b."""

    eqn: int
    a: Var
    b: Var
    maps: ContractionMap
    swapped: bool = False  # `a` is the eqn's second operand


@dataclass(eq=False)
class Group:
    """One kernel to be. `members` are eqn numbers, in order; `path` leads from the anchor's output to the root."""

    root: Var | None  # the first of `outs`, if there is one
    members: list[int] = field(default_factory=list)
    anchor: Anchor | None = None
    path: tuple[int, ...] = ()
    packs: Anchor | None = None  # the group packs this anchor's `b` (its root is then b)
    prepare: bool = False  # depends on parameters alone and is no output: runs when they change
    whole: int | None = None  # the eqn that computes all of its outputs here
    outs: tuple[Var, ...] = ()
    code: int = 0  # values that the kernel computes, all places counted
    work: float = 0  # scalar operations for an element of the root
    shared: int = 0  # scalars that another group computes, too

    def __post_init__(self):
        if self.root is not None:
            self.outs = self.outs or (self.root,)


@dataclass(frozen=True)
class _Address:
    """The consumer of an anchor's left operand."""

    anchor: int


@dataclass(frozen=True)
class _Memory:
    """A consumer that reads buffers: eqn number."""

    eqn: int


def fuse(graph: Graph, disable: frozenset[str] = frozenset(), stored: frozenset[Var] = frozenset()) -> list[Group]:
    """Groups in an order in which they can run. The vars of `stored` get buffers whatever the rules say."""
    fusing = "fusion" not in disable
    groups: list[Group] = []
    claimed: dict[int, Group] = {}
    anchors: dict[int, Group] = {}
    for i in reversed(range(len(graph.eqns))):
        if (maps := contraction_of(graph, i)) is None:
            continue
        path, region = epilogue(graph, i, claimed, stored) if fusing else ((), set())
        root = graph.eqns[path[-1] if path else i].outvars[0]
        prepare = root in graph.invariant and root not in graph.outputs
        group = Group(root, sorted({i, *region}), roles(graph, i, maps, path), path, prepare=prepare)
        anchors[i] = group
        groups.append(group)
        claimed.update(dict.fromkeys(group.members, group))

    consumers: dict[Var, dict[object, set[Place]]] = {}

    def feed(v, group, at: Iterable[Place] = ()) -> None:
        if isinstance(v, Var):
            consumers.setdefault(v, {}).setdefault(group, set()).update(at)

    def follow(i: int, group: Group, v: Var, at: Collection[Place]) -> None:
        """Feeds what eqn `i` reads for its output `v` at the places `at` in a group."""
        eqn, record = graph.eqns[i], graph.records[i]
        group.code += len(at)
        group.work += len(at) * record.cost
        for read in graph.reads(i, eqn.outvars.index(v)):
            feed(eqn.invars[read.operand], group, {p.then(read) for p in at})

    outputs = set(graph.outputs)
    for i in reversed(range(len(graph.eqns))):
        eqn = graph.eqns[i]
        if i in claimed:
            group = claimed[i]
            if i in anchors:
                packing = Group(group.anchor.b, packs=group.anchor, prepare=group.anchor.b in graph.invariant)
                groups.append(packing)
                feed(group.anchor.a, _Address(i))
                feed(group.anchor.b, packing, {places.start(graph.shape(group.anchor.b))})
                continue
            for v in eqn.outvars:
                at = {places.start(graph.shape(v))} if v is group.root else consumers.get(v, {}).get(group, ())
                follow(i, group, v, at)
            continue
        record = graph.records[i]
        if record is not None and record.whole:
            if eqn.effects or any(v in consumers or v in outputs for v in eqn.outvars):
                constant = bool(eqn.outvars) and all(v in graph.invariant and v not in outputs for v in eqn.outvars)
                group = Group(eqn.outvars[0] if eqn.outvars else None, [i], whole=i, outs=tuple(eqn.outvars), prepare=constant)
                groups.append(group)
                overwritten = graph.overwrites(i).values()
                for k, operand in enumerate(eqn.invars):
                    pulled = record.nest is not None and k not in overwritten
                    feed(operand, *((group, {places.start(graph.shape(operand))}) if pulled else (_Memory(i),)))
            continue
        for v in eqn.outvars:
            wanted = consumers.get(v, {})
            if not wanted and v not in outputs:
                continue
            if v not in outputs and v not in stored and joins(graph, i, v, wanted, fusing):
                for group, at in wanted.items():
                    if isinstance(group, Group):
                        group.members.append(i)
                        group.shared += len(wanted) > 1 and not record.moves
                        follow(i, group, v, at)
                    else:
                        for operand in eqn.invars:
                            feed(operand, group)
            else:
                group = Group(v, [i], prepare=v in graph.invariant and v not in outputs)
                groups.append(group)
                follow(i, group, v, {places.start(graph.shape(v))})

    for group in groups:
        group.members = sorted(set(group.members))
    order = {id(g): _when(graph, g, anchors) for g in groups}
    groups.sort(key=lambda g: order[id(g)])
    _settle(graph, groups)
    return groups


def _when(graph: Graph, group: Group, anchors: dict[int, Group]) -> tuple[int, int]:
    """A root's eqn comes after everything that its group reads; packing comes right before its anchor's kernel."""
    if group.packs is not None:
        return graph.maker[anchors[group.packs.eqn].root], 0
    return group.whole if group.whole is not None else graph.maker[group.root], 1


def _settle(graph: Graph, groups: Sequence[Group]) -> None:
    """Prepare steps run before all others: one that would read what is written at each call must wait for it."""
    stored = {v for g in groups if g.packs is None for v in g.outs}
    late: set[Var] = set()
    for group in groups:
        if group.packs is None:
            number = group.whole if group.whole is not None else graph.maker[group.root]
            group.prepare &= late.isdisjoint(_sources(graph, graph.eqns[number].invars, stored))
            if not group.prepare:
                late.update(group.outs)
        else:
            group.prepare &= late.isdisjoint(_sources(graph, [group.root], stored))


def _sources(graph: Graph, wanted: Iterable[Var | Literal], stored: set[Var]) -> Iterator[Var]:
    """The vars of `stored` that computing `wanted` reads."""
    todo, seen = [v for v in wanted if isinstance(v, Var)], set()
    while todo:
        if (v := todo.pop()) in seen:
            continue
        seen.add(v)
        if v in stored:
            yield v
        elif v in graph.maker:
            todo += (u for u in graph.eqns[graph.maker[v]].invars if isinstance(u, Var))


def contraction_of(graph: Graph, i: int) -> ContractionMap | None:
    """The index maps of eqn `i`, if the GEMM template serves it well."""
    record, eqn = graph.records[i], graph.eqns[i]
    if record is None or record.contraction is None:
        return None
    (out,), (x, y) = eqn.outvars, eqn.invars
    dtype = graph.dtype(out)
    if dtype not in (np.float32, np.float64) or any(graph.dtype(v) != dtype or isinstance(v, Literal) for v in (x, y)):
        return None
    maps = record.contraction(graph.shape(out), graph.shape(x), graph.shape(y), **eqn.params)
    if maps is None or not maps.k or any(e.value == 0 for e in (*maps.batch, *maps.m, *maps.n, *maps.k)):
        return None

    def known(extents):
        product = 1
        for e in extents:
            if e.value is None:
                return None
            product *= e.value
        return product

    m, n, k = map(known, (maps.m, maps.n, maps.k))
    if k == 1 or (n is not None and n < NARROW and ((m is not None and m < NARROW) or x in graph.invariant)):
        return None
    if n is not None and n < NARROW and len(maps.m) > 1:
        return None  # depthwise and nearly so
    return maps


def roles(graph: Graph, i: int, maps: ContractionMap, path: tuple[int, ...]) -> Anchor:
    """Which operand is packed: a parameter if one is; else the one whose free axis is innermost where the root is stored."""
    eqn = graph.eqns[i]
    x, y = eqn.invars[:2]
    swapped = ContractionMap(
        maps.batch, maps.n, maps.m, maps.k,
        lhs=lambda batch, m, k: maps.rhs(batch, k, m),
        rhs=lambda batch, k, n: maps.lhs(batch, n, k),
        out=lambda batch, m, n: maps.out(batch, n, m),
    )  # fmt: skip
    if (y in graph.invariant) == (x in graph.invariant):
        swap = bool(maps.m) and _innermost_is_m(graph, maps, path)
    else:
        swap = x in graph.invariant
    return Anchor(i, y, x, swapped, True) if swap else Anchor(i, x, y, maps)


def _innermost_is_m(graph: Graph, maps: ContractionMap, path: tuple[int, ...]) -> bool:
    """Whether the last axis of the root runs along axes of m alone."""
    kinds = {"b": maps.batch, "m": maps.m, "n": maps.n}
    extents = {f"_{kind}{k}": e for kind, axes in kinds.items() for k, e in enumerate(axes)}
    box = graph.box.extend({name: (const(0), e - 1) for name, e in extents.items()})
    index = maps.out(*(tuple(sym(f"_{kind}{k}") for k in range(len(axes))) for kind, axes in kinds.items()))
    last = graph.forward(box, path, index)[-1]
    return not maps.n or (bool(last.free) and all(name.startswith("_m") for name in last.free))


def epilogue(
    graph: Graph, i: int, claimed: dict[int, Group], stored: frozenset[Var] = frozenset()
) -> tuple[tuple[int, ...], set[int]]:
    """The chain of post-dominators that the anchor's kernel may compute, and all eqns that this takes in."""
    path: list[int] = []
    region: set[int] = set()
    at = i
    while (then := graph.post_dominators[at]) is not None and stored.isdisjoint(graph.eqns[at].outvars):
        between = list(_between(graph, at, then))
        if (
            len(region) + len(between) > LARGEST
            or any(k in claimed for k in between)
            or not all(stored.isdisjoint(graph.eqns[k].outvars) for k in between if k != then)
            or not all(_follows(graph, k, at, between) for k in between)
        ):
            break
        moved = [k for k in between if graph.records[k].moves]
        if moved and len(between) > 1:
            break
        region.update(between)
        path.append(then)
        at = then
    # An index map at the end of the path saves its consumers nothing that they could not do themselves, but a permutation that
    # ends there lets the kernel store rows where they belong.
    while path and graph.records[path[-1]].moves and graph.records[path[-1]].mapping is not MappingType.SHUFFLE:
        region.discard(path.pop())
    return tuple(path), region


def _between(graph: Graph, start: int, stop: int) -> Iterator[int]:
    """The eqns on paths from `start` to `stop`, `stop` included, `start` not."""
    seen, todo = set(), [start]
    while todo:
        for v in graph.eqns[todo.pop()].outvars:
            for u in graph.users.get(v, ()):
                if u not in seen:
                    seen.add(u)
                    yield u
                    if u != stop:
                        todo.append(u)


def _follows(graph: Graph, k: int, start: int, between: list[int]) -> bool:
    """Whether eqn `k` keeps the shape of the values that it gets from the region, or moves a single one by a forward map."""
    record, eqn = graph.records[k], graph.eqns[k]
    if record is None or len(eqn.outvars) != 1:
        return False
    inside = {v for e in (start, *between) for v in graph.eqns[e].outvars}
    values = [v for v in eqn.invars if isinstance(v, Var) and v in inside]
    if record.forward is not None:
        return len(eqn.invars) == 1
    if record.mapping is not MappingType.ONE_TO_ONE or record.moves or record.folds or record.pull is None:
        return False
    return all(graph.same_shape(v, eqn.outvars[0]) for v in values)


def joins(graph: Graph, i: int, v: Var, wanted: Mapping[object, set[Place]], fusing: bool) -> bool:
    """Whether eqn `i` runs inside of all the groups that want its output `v`, rather than filling a buffer."""
    record, eqn = graph.records[i], graph.eqns[i]
    if record is None or record.pull is None:
        return False
    if not all(_has_room(group, record, at) for group, at in wanted.items() if isinstance(group, Group)):
        return False
    if any(isinstance(g, _Memory) for g in wanted):
        return False
    addressed = any(isinstance(g, _Address) for g in wanted)
    if record.moves:
        return record.affine or (not addressed and len(eqn.invars) <= PIECES)
    if addressed or any(len(g.members) >= LARGEST for g in wanted):
        return False
    if all(d.value == 1 for d in graph.shape(v)) and not record.folds and v not in graph.invariant:
        return len(wanted) == 1 or (record.cost <= 1 and all(g.shared < SHARED for g in wanted))
    if not fusing:
        return False
    if v in graph.invariant and not all(g.prepare for g in wanted):
        return False
    if len(wanted) > 1:
        return False
    (group,) = wanted
    if record.folds:
        return group.anchor is None and group.packs is None and group.whole is None and _by_rows(graph, eqn, v, group)
    if group.whole is not None:
        return record.cost < COSTLY or not _is_repeated(graph, group, v)
    if record.cost >= COSTLY and not group.packs and not graph.same_shape(v, group.root):
        return _is_prefix(graph, v, group) or _is_read_once(graph, v, group)
    return True


def _has_room(group: Group, record: OpDef, at: set[Place]) -> bool:
    """Whether a group may compute a value at these places: not too often, not too far from its output, and not in another fold's
    loop what folds itself."""
    here = sum(not p.looped for p in at)  # the others are in passes of their own over what they fold
    if len(at) > 1 and (record.folds or len(at) > SPREAD):
        return False
    if here > 1 and here * record.cost > OFTEN:
        return False
    if record.folds and any(p.looped for p in at):
        return False
    if any(p.depth > FAR or p.divisions > DIVISIONS for p in at) or len(group.members) >= (2 if record.moves else 1) * LARGEST:
        return False
    return group.code + len(at) <= CODE and group.work + len(at) * record.cost <= WORK


def _is_repeated(graph: Graph, group: Group, v: Var) -> bool:
    """Whether the loops of a whole eqn may read an element of `v` more than once: only an operand as large as what is written, or
    as another operand, is taken to be read once."""
    eqn = graph.eqns[group.whole]
    return not any(graph.same_shape(v, other) for other in (*eqn.outvars, *eqn.invars) if other is not v)


def _stripped(graph: Graph, v) -> list:
    return [d for d in graph.shape(v) if d.value != 1]


def _is_prefix(graph: Graph, v: Var, group: Group) -> bool:
    """Whether v's axes lead those of the group's root: then it is a value of the outer loops."""
    mine, theirs = _stripped(graph, v), _stripped(graph, group.root)
    return len(mine) <= len(theirs) and all(map(graph.box.known_eq, mine, theirs))


def _is_read_once(graph: Graph, v: Var, group: Group) -> bool:
    """Whether the group reads no element of `v` twice, though its root has another shape: on the way there are elementwise eqns
    and, one at a time, index maps of one array that repeat nothing."""
    at, last = graph.maker[v], graph.maker[group.root]
    while at != last:
        if (then := graph.post_dominators[at]) is None:
            return False
        between = list(_between(graph, at, then))
        if any(graph.records[k].moves for k in between):
            if len(between) > 1 or not _moves_once(graph, then, then == last):
                return False
        elif not all(_follows(graph, k, at, between) for k in between):
            return False
        at = then
    return True


def _moves_once(graph: Graph, k: int, is_root: bool) -> bool:
    """Whether index map `k` asks for each element of one array at most once. A pad asks for elements outside too: where it is the
    root, and its margin narrow, they cost less than a buffer."""
    record, eqn = graph.records[k], graph.eqns[k]
    arrays = [v for v in eqn.invars if graph.shape(v)]
    if len(arrays) != 1 or record.mapping is MappingType.ONE_TO_MANY:
        return False
    margins = ((after - before).value for before, after in zip(graph.shape(arrays[0]), graph.shape(eqn.outvars[0])))
    return record.affine or (is_root and all(n is not None and n <= MARGIN for n in margins))


def _like(graph: Graph, operand, shape: list) -> bool:
    other = _stripped(graph, operand)
    return len(other) == len(shape) and all(map(graph.box.known_eq, other, shape))


def _by_rows(graph: Graph, eqn, v: Var, group: Group) -> bool:
    """A fold joins where its result's axes are all of the root's, or where the root is made of the rows that it folds."""
    if not _is_prefix(graph, v, group):
        return False
    mine, theirs = _stripped(graph, v), _stripped(graph, group.root)
    if len(mine) == len(theirs):
        # Each of the group's own folds over values like this one would fold it anew.
        return not any(graph.records[i].folds and _like(graph, graph.eqns[i].invars[0], mine) for i in group.members)
    return len(theirs) == len(mine) + 1 and _like(graph, eqn.invars[0], theirs) and _folds_innermost(graph, eqn)


def _folds_innermost(graph: Graph, eqn) -> bool:
    """Whether the axes that the eqn folds come last, as far as it says which: the columns of a square are as long as its rows."""
    axes = eqn.params.get("axes", ())
    sized = [a in axes for a, d in enumerate(graph.shape(eqn.invars[0])) if d.value != 1]
    return not axes or sized == sorted(sized)
