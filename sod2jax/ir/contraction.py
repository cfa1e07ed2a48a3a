"""A contraction: sums of products over shared axes, as the macro kernel sees it.

* dot_general and convolutions of every layout are this: `out[batch, m, n] = sum over k of A[batch, m, k] * B[batch, k, n]`, each
  of the four a list of axes, outer to inner.
* A is read where it lies: `a_offset` gives the element for the axes' symbols. B is packed, in its own kernel. The result goes
  wherever the epilogue puts it, so neither B nor the result appears here.
* `walk` says how A can be read: which m and k axes form one axis with one stride (a convolution's (kw, ci) without dilation, a
  reshaped (heads, d)), and which ones remain outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from sod2jax.ir.box import Box
from sod2jax.ir.expr import Expr, const


@dataclass(frozen=True, slots=True)
class Axis:
    """A symbol that counts from 0 to `extent - 1`."""

    var: str
    extent: Expr


Axes = tuple[Axis, ...]


def size(axes: Axes) -> Expr:
    """How many points there are."""
    return prod((x.extent for x in axes), start=const(1))


@dataclass(frozen=True, slots=True)
class Walk:
    """How A is read: `rows` and `depth` are one axis each, of one stride; the outer axes are walked point by point."""

    outer_rows: Axes
    rows: Axes
    row_stride: Expr
    outer_depth: Axes
    depth: Axes
    depth_stride: Expr
    base: Expr  # offset at depth 0, row 0; over batch and outer_rows
    table: Expr  # what outer_depth adds to it


@dataclass(frozen=True, slots=True)
class Contraction:
    """`a` and `panels` name buffers; `a_offset` counts elements and is over the axes' symbols and sizes."""

    dtype: np.dtype
    batch: Axes
    m: Axes
    n: Axes
    k: Axes
    a: str
    a_offset: Expr
    panels: str

    @property
    def batches(self) -> Expr:
        return size(self.batch)

    @property
    def rows(self) -> Expr:
        return size(self.m)

    @property
    def columns(self) -> Expr:
        return size(self.n)

    @property
    def depth(self) -> Expr:
        return size(self.k)

    @property
    def flops(self) -> Expr:
        return 2 * self.batches * self.rows * self.columns * self.depth

    def why_not(self, box: Box) -> str | None:
        """Why A cannot be read in place, if so; it must be copied then."""
        linear = box.simplify(self.a_offset).linear(x.var for x in self.k)
        if linear is None:
            return f"the offset of {self.a} is not affine in the contracted axes: {self.a_offset}"
        loops = {x.var for x in (*self.batch, *self.m)}
        for var, stride in linear[0].items():
            if not loops.isdisjoint(stride.free):
                return f"the stride of {self.a} along {var} changes from row to row: {stride}"
        return None

    def walk(self, box: Box) -> Walk:
        """The longest single axes of rows and depth. ValueError where `why_not` has a reason."""
        if reason := self.why_not(box):
            raise ValueError(reason)
        offset = box.simplify(self.a_offset)
        outer_depth, depth, depth_stride = _merge(self.k, offset, box, ())
        outer_rows, rows, row_stride = _merge(self.m, offset, box, tuple(x.var for x in self.k))
        base = offset.subs({x.var: 0 for x in (*self.m, *self.k) if x not in outer_rows})
        start = offset.subs({x.var: 0 for x in (*self.batch, *self.m)})
        table = start.subs({x.var: 0 for x in self.k if x not in outer_depth}) - start.subs({x.var: 0 for x in self.k})
        return Walk(outer_rows, rows, row_stride, outer_depth, depth, depth_stride, base, table)


def _merge(axes: Axes, offset: Expr, box: Box, besides: tuple[str, ...]) -> tuple[Axes, Axes, Expr]:
    """(outer, inner, stride): the longest suffix of `axes` along which `offset` has one stride, but for axes of one point."""
    axes = tuple(x for x in axes if x.extent.value != 1)
    stride, points, start = const(0), const(1), len(axes)
    for i in reversed(range(len(axes))):
        linear = offset.linear((*(x.var for x in axes[i:]), *besides))
        if linear is None:
            break
        step = linear[0].get(axes[i].var, const(0))
        if start < len(axes) and not box.known_eq(step, stride * points):
            break
        if start == len(axes):
            stride = step
        points = points * axes[i].extent
        start = i
    return axes[:start], axes[start:], stride
