"""Scatters: windows of an array, at places given by values, are combined with updates; in place.

* Where several updates meet an element they do so in the order of their indices, one after the other, each result rounded: what
  XLA does on a CPU.
* A window that would not lie within the operand is dropped, also where JAX promises that there is none, unless `mode` says that
  its place is to be clipped.
* Tasks share no element: they divide batching axes, and those axes of the window that no index moves. Each goes through all
  indices. An axis that lies side by side in memory runs in vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from jax import lax
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ir.expr import Expr, ceildiv, const, minimum
from sod2jax.ir.loops import Value
from sod2jax.ops import scalar, values
from sod2jax.ops._base import Dyn, OpDef, defop
from sod2jax.ops._base import Mapping as Edge
from sod2jax.ops.index import INT, conjunction, integer, within

ZERO = const(0)
CHUNK = 128  # elements of a window's last axis that one task takes


class Places:
    """Which axes of updates, operand and indices belong together."""

    def __init__(self, b, out, updates, d):
        self.b, self.out, self.updates, self.d = b, out, updates, d
        whole = range(len(out.shape))
        window = [a for a in whole if a not in d.inserted_window_dims and a not in d.operand_batching_dims]
        self.window: dict[int, int] = dict(zip(d.update_window_dims, window, strict=True))  # axis of updates: of the operand
        # Axes of updates along which there is an index each, in the order of the indices' axes.
        self.rows = rows = [k for k in range(len(updates.shape)) if k not in self.window]
        self.batches: dict[int, int] = {  # axis of updates: of the operand
            rows[k]: a for a, k in zip(d.operand_batching_dims, d.scatter_indices_batching_dims, strict=True)
        }

    def fills(self, k: int) -> bool:
        """Whether the window is as long as the operand along axis `k` of the updates: then it starts at 0 or lies outside."""
        return self.b.known_eq(self.updates.shape[k], self.out.shape[self.window[k]])

    def apart(self) -> list[int]:
        """Axes of the updates of which different positions never meet the same element of the operand."""
        single = all(self.updates.shape[k].value == 1 for k in self.rows if k not in self.batches)
        moved = self.d.scatter_dims_to_operand_dims
        still = [k for k, a in self.window.items() if single or a not in moved or self.fills(k)]
        return [*self.batches, *still]

    def adjacent(self) -> int | None:
        """The axis of the updates' window whose elements lie side by side in the operand."""
        for axis in reversed(range(len(self.out.shape))):
            k = next((k for k, a in self.window.items() if a == axis), None)
            if k is not None and self.updates.shape[k].value != 1:
                return k
            if self.out.shape[axis].value != 1:
                return None
        return None

    def starts(self, indices, at: Mapping[int, Expr], clip: bool) -> tuple[dict[int, Expr], Value | None]:
        """Where the window begins along each axis that indices move, and whether it lies within the operand."""
        b, start, inside = self.b, {}, None
        extents = {a: self.updates.shape[k] for k, a in self.window.items()}
        row = [at[k] for k in self.rows]
        for number, axis in enumerate(self.d.scatter_dims_to_operand_dims):
            place = integer(b, indices[[*row, const(number)]], indices.dtype)
            last = b.simplify(self.out.shape[axis] - extents.get(axis, 1))
            if clip:
                place = b.op("max", place, b.const(0, INT), dtype=INT)
                place = b.op("min", place, b.position(last, INT), dtype=INT)
            start[axis] = b.index(place)
            inside = conjunction(b, inside, within(b, place, last))
        return start, inside

    def element(self, at: Mapping[int, Expr], start: Mapping[int, Expr]) -> list[Expr]:
        """The operand's index of element `at` of the updates."""
        index = [start.get(axis, ZERO) for axis in range(len(self.out.shape))]
        for k, axis in self.batches.items():
            index[axis] = at[k]
        for k, axis in self.window.items():
            index[axis] = at[k] if self.fills(k) else index[axis] + at[k]
        return index


def scatter(b, outs, x, indices, updates, *, dimension_numbers, update_jaxpr, update_consts, mode, **_):
    (out,) = outs
    places = Places(b, out, updates, dimension_numbers)
    clip = lax.GatherScatterMode.from_any(mode) == lax.GatherScatterMode.CLIP
    shape, line = updates.shape, places.adjacent()
    apart = places.apart()
    tasks = [k for k in apart if k != line]
    chunked = line in apart
    chunks = ceildiv(shape[line], const(CHUNK)) if chunked else const(1)
    with b.tasks([*(shape[k] for k in tasks), chunks]) as (*mine, chunk), ExitStack() as loops:
        at = dict(zip(tasks, mine, strict=True))
        for k in places.rows:
            if k not in at:
                at[k] = loops.enter_context(b.loop(shape[k]))
        start, inside = places.starts(indices, at, clip)
        if inside is not None:
            loops.enter_context(b.when(inside))
        for k in places.window:
            if k not in at and k != line:
                at[k] = loops.enter_context(b.loop(shape[k]))
        if line is not None:
            first = chunk * CHUNK
            extent = minimum(const(CHUNK), shape[line] - first) if chunked else shape[line]
            at[line] = first + loops.enter_context(b.loop(extent, "vector"))
        element, update = places.element(at, start), updates[[at[k] for k in range(len(shape))]]
        if update_jaxpr is not None:
            (update,) = scalar.apply(b, update_jaxpr, update_consts, out.load(element), update)
        out.store(element, update)


for _prim in (p.scatter_p, p.scatter_add_p, p.scatter_mul_p, p.scatter_min_p, p.scatter_max_p, compat.primitive("scatter_sub")):
    defop(OpDef(_prim, Dyn.ISDOS, Edge.MANY_TO_MANY, nest=scatter, overwrites={0: 0}, cost=2, solve=values.SOLVE["scatter"]))
