"""The arena: where each buffer lies, as formulas over the sizes (SoD2 section 4.4, dynamic memory planning).

* A buffer has a size formula and a lifetime in steps. Two buffers whose lifetimes meet must not overlap, at any size.
* At a sample of the sizes, peak first: the buffers that are live at the fullest step are packed without gaps, longest lived
  lowest; then the plan grows from that step in both directions, each buffer taking the lowest gap that fits it.
* A second plan places the largest buffer first; the better one counts.
* What is kept of the sample is only the order: of two buffers that meet, which lies below the other. An offset is then the
  maximum over the buffers below it of where they end: sound at every size, and at the sample the sample's own plan.
* The arena's size is the maximum of all ends. A new shape costs the evaluation of formulas, not a search.
* A buffer that its kernel may overwrite (`inplace`) hands its place on: it and its successor count as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sod2jax.ir.expr import Expr, ceildiv, const, maximum

ALIGN = 64  # bytes; a cache line, and a whole AVX-512 vector


@dataclass(frozen=True)
class Buffer:
    """`nbytes` live from step `first` to step `last`, both included."""

    nbytes: Expr
    first: int
    last: int

    def meets(self, other: Buffer) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Placement:
    offsets: tuple[Expr, ...]  # one per buffer
    arena: Expr
    below: tuple[tuple[int, ...], ...]  # for people and the checker: which buffers each one lies directly above


def aligned(nbytes: Expr) -> Expr:
    return ceildiv(nbytes, const(ALIGN)) * ALIGN


def place(buffers: Sequence[Buffer], samples: Sequence[Mapping[str, int]]) -> Placement:
    """The plan, of two per sample, whose arena is smallest at the last of `samples`."""
    samples = samples or ({},)
    meeting = _meeting(buffers)
    sizes = [[aligned(b.nbytes).eval(dict(sample)) for b in buffers] for sample in samples]
    orders = [plan(buffers, meeting, at) for at in sizes for plan in (_peak_first, _largest_first)]
    return _formulas(buffers, meeting, min(orders, key=lambda order: _arena_of(meeting, order, sizes[-1])))


def _meeting(buffers: Sequence[Buffer]) -> list[list[int]]:
    """For each buffer, the others whose lifetimes meet its own."""
    found: list[list[int]] = [[] for _ in buffers]
    live: list[int] = []
    for i in sorted(range(len(buffers)), key=lambda i: buffers[i].first):
        live = [j for j in live if buffers[j].meets(buffers[i])]
        for j in live:
            found[j].append(i)
        found[i].extend(live)
        live.append(i)
    return found


def _peak_first(buffers: Sequence[Buffer], meeting: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[int]:
    """Buffers from the lowest to the highest offset, at a sample: the sizes there."""
    steps = range(max((b.last for b in buffers), default=-1) + 1)
    live: list[list[int]] = [[] for _ in steps]
    for i, b in enumerate(buffers):
        for t in range(b.first, b.last + 1):
            live[t].append(i)
    if not live:
        return []
    peak = max(steps, key=lambda t: sum(sizes[i] for i in live[t]))
    offset: dict[int, int] = {}
    at = 0
    for i in sorted(live[peak], key=lambda i: (buffers[i].first - buffers[i].last, -sizes[i])):
        offset[i] = at
        at += sizes[i]
    for t in (*range(peak - 1, -1, -1), *range(peak + 1, len(steps))):
        for i in sorted((i for i in live[t] if i not in offset), key=lambda i: -sizes[i]):
            offset[i] = _lowest_gap(sizes[i], meeting[i], sizes, offset)
    return sorted(offset, key=lambda i: (offset[i], i))


def _largest_first(buffers: Sequence[Buffer], meeting: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[int]:
    """The same by another rule: the largest buffer first, each in the lowest gap that fits it."""
    offset: dict[int, int] = {}
    for i in sorted(range(len(buffers)), key=lambda i: (-sizes[i], buffers[i].first)):
        offset[i] = _lowest_gap(sizes[i], meeting[i], sizes, offset)
    return sorted(offset, key=lambda i: (offset[i], i))


def _lowest_gap(nbytes: int, meeting: Sequence[int], sizes: Sequence[int], offset: Mapping[int, int]) -> int:
    """The lowest place for `nbytes` beside those of the buffers `meeting` that have theirs."""
    at = 0
    for low, j in sorted((offset[j], j) for j in meeting if j in offset):
        if low - at >= nbytes:
            break
        at = max(at, low + sizes[j])
    return at


def _arena_of(meeting: Sequence[Sequence[int]], order: Sequence[int], sizes: Sequence[int]) -> int:
    """Bytes of the arena that `_formulas` gives for an order, at these sizes."""
    ends: dict[int, int] = {}
    for i in order:
        ends[i] = max((ends[j] for j in meeting[i] if j in ends), default=0) + sizes[i]
    return max(ends.values(), default=0)


def _formulas(buffers: Sequence[Buffer], meeting: Sequence[Sequence[int]], order: Sequence[int]) -> Placement:
    rank = {i: k for k, i in enumerate(order)}
    ends: dict[int, Expr] = {}
    offsets: dict[int, Expr] = {}
    below: dict[int, tuple[int, ...]] = {}
    under: dict[int, set[int]] = {}  # everything that lies below a buffer, directly or not
    for i in order:
        lower = sorted((j for j in meeting[i] if j in ends), key=rank.__getitem__)
        # What lies below another buffer that is below this one adds nothing to the maximum.
        indirect = set().union(*(under[j] for j in lower))
        direct = [j for j in lower if j not in indirect]
        under[i] = indirect.union(lower)
        below[i] = tuple(direct)
        offsets[i] = maximum(*(ends[j] for j in direct)) if direct else const(0)
        ends[i] = offsets[i] + aligned(buffers[i].nbytes)
    covered = set().union(*under.values()) if under else set()
    tops = [ends[i] for i in order if i not in covered]
    n = range(len(buffers))
    return Placement(tuple(offsets[i] for i in n), maximum(*tops) if tops else const(0), tuple(below[i] for i in n))


def share(buffers: Sequence[Buffer], successors: Sequence[tuple[int, int]]) -> tuple[list[Buffer], list[int]]:
    """Merges pairs (old, new) where `new` is written over `old`: the merged buffers, and for each old number its new one."""
    owner = list(range(len(buffers)))

    def find(i: int) -> int:
        while owner[i] != i:
            i = owner[i]
        return i

    merged = list(buffers)
    for old, new in successors:
        a, b = find(old), find(new)
        merged[a] = replace(merged[a], first=min(merged[a].first, merged[b].first), last=max(merged[a].last, merged[b].last))
        owner[b] = a
    kept = [i for i in range(len(buffers)) if owner[i] == i]
    number = {i: k for k, i in enumerate(kept)}
    return [merged[i] for i in kept], [number[find(i)] for i in range(len(buffers))]
