"""Macro kernels of contractions: loop nests around the GEMM microkernel, in the manner of oneDNN Graph Compiler's template.

* B is packed once, by its own kernel (`pack`): per batch, in panels as wide as the microkernel's, K-major, padded with zeros.
* The parallel loop runs over (batch, block of rows, panel), the panel innermost: the rows of A of a block stay in the cache while
  the panels of B stream by. A block has at most BLOCK_ROWS rows, fewer where that would leave threads without work.
* Rows that are one axis in A form blocks of that axis. Axes outside of it (a convolution's output rows) are taken several at a
  time, so that a panel read once serves them all.
* The reduction of one block is one call of the microkernel per group of rows: k axes that are one axis in A are its k, others its
  table of offsets. A very long k is cut in blocks, so that a piece of a panel stays near while all rows pass it.
* A strip of rows is computed into scratch; then the epilogue runs over it, a vector loop per row, with everything that is fused
  to the result. If it only stores, and whole vectors do, the microkernel writes the block to the output itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sod2jax.ir.box import Box
from sod2jax.ir.contraction import Axes, Contraction, Walk, size
from sod2jax.ir.expr import Expr, ceildiv, const, floordiv, maximum, minimum, mod, sym
from sod2jax.ir.loops import Buffer, Const, For, Gemm, If, Index, Kernel, Let, Load, Local, Op, Ref, Stmt, Store, Value
from sod2jax.lowering import microkernel
from sod2jax.lowering.targets import Target

Point = dict[str, Expr]  # an index per axis
LoadB = Callable[[Point, Box], tuple[tuple[Stmt, ...], Value]]
Epilogue = Callable[[Point, Value, Box], tuple[Stmt, ...]]

BLOCK_ROWS = 128  # A's block of 128 x 768 f32 fills a third of a 1 MB L2; each panel element is used for 128 rows
FEWEST_ROWS = 16  # two tiles
TASKS = 16  # parallel pieces that a contraction should have, if it has the rows: some per thread
STRIP_ROWS = 16  # rows between epilogues
BLOCK_DEPTH = 4096  # steps of k per visit: 512 KB of a 32-column f32 panel, half of L2
I64, BOOL = np.dtype(np.int64), np.dtype(bool)


@dataclass(frozen=True, slots=True)
class Nest:
    """A kernel's body over the program's symbols. `keep`: constants that shape the code (see `lowering.canonical`)."""

    var: str
    extent: Expr
    body: tuple[Stmt, ...]
    locals: tuple[Local, ...] = ()
    keep: frozenset[int] = frozenset()

    def kernel(self, name: str, buffers: tuple[Buffer, ...]) -> Kernel:
        """The kernel over the program's symbols; `lowering.canonical` gives it sizes of its own."""
        return Kernel(name, buffers, (), self.locals, self.var, self.extent, self.body)


def panel_elements(c: Contraction, target: Target) -> Expr:
    """Elements of the packed B."""
    width = microkernel.panel(target, c.dtype)
    return c.batches * ceildiv(c.columns, width) * width * c.depth


def pack(c: Contraction, target: Target, box: Box, value: LoadB) -> Nest:
    """The kernel that packs B: panels[batch, panel, k, column], columns beyond the last one zero."""
    n = _Nest("_gt", box)
    width = microkernel.panel(target, c.dtype)
    count = ceildiv(c.columns, width)
    batch, panel = n.split(sym("_gt"), (("_gb", c.batches), ("_gp", count)))
    columns, left = n.columns(c, panel, width)
    with_k = n.box.extend({"_gk": (0, c.depth - 1)})
    inner = with_k.extend({"_gj": (0, minimum(columns, left) - 1)})
    point = {
        **unflatten(c.batch, batch, inner),
        **unflatten(c.n, panel * width + sym("_gj"), inner),
        **unflatten(_order(c, box), sym("_gk"), inner),
    }
    stmts, element = value(point, inner)
    start = (sym("_gt") * c.depth + sym("_gk")) * width
    row: list[Stmt] = []
    if columns.value != width:
        # A whole row of zeros first: the cheapest way to fill what the columns leave.
        row.append(For("_gz", const(width), (Store(c.panels, start + sym("_gz"), Const(0.0, c.dtype)),), "vector"))
    row.append(For("_gj", columns, (*stmts, Store(c.panels, start + sym("_gj"), element)), "vector"))
    n.body.append(For("_gk", c.depth, tuple(row)))
    return n.done(c.batches * count, (), width)


def contract(c: Contraction, target: Target, box: Box, epilogue: Epilogue, variants: bool = True) -> Nest:
    """The kernel that multiplies A with the packed B and hands every element of the result to `epilogue`.

    Without `variants`, sizes choose neither the rows of a block nor between whole panels and others.
    """
    return _Macro(c, target, box, epilogue, variants).nest()


class _Nest:
    """A nest being written: statements, and the box with their definitions' ranges."""

    def __init__(self, var: str, box: Box):
        self.var = var
        self.body: list[Stmt] = []
        self.box = box.extend({var: (0, None)})

    def define(self, name: str, value: Expr, below: Expr) -> Expr:
        """`value`, known to be in [0, below), under a name; a constant needs none."""
        if below.value == 1:
            return const(0)
        if value.value is not None:
            return value
        self.body.append(Let(name, Index(value, I64)))
        self.box = self.box.extend({name: (0, below - 1)})
        return sym(name)

    def split(self, flat: Expr, parts: tuple[tuple[str, Expr], ...]) -> list[Expr]:
        """The indices of a flat one, outermost first."""
        out = {name: const(0) for name, _ in parts}
        varying = [(name, extent) for name, extent in parts if extent.value != 1]
        for i, (name, extent) in reversed(list(enumerate(varying))):
            out[name] = self.define(name, mod(flat, extent) if i else flat, extent)
            if i:
                flat = floordiv(flat, extent)
            if i > 1:
                self.body.append(Let(f"{name}_rest", Index(flat, I64)))
                flat = sym(f"{name}_rest")
        return list(out.values())

    def columns(self, c: Contraction, panel: Expr, width: int) -> tuple[Expr, Expr]:
        """(columns of a panel, those from its first one on)."""
        left = c.columns - panel * width
        if self.box.known_divisible(c.columns, width):
            return const(width), left
        if left.value is not None:
            return const(min(width, left.value)), left
        return minimum(width, left), left

    def done(self, extent: Expr, locals: tuple[Local, ...], *keep: int) -> Nest:
        return Nest(self.var, extent, tuple(self.body), locals, frozenset(keep))


@dataclass(frozen=True, slots=True)
class _Block:
    """What one iteration of the parallel loop computes: `rows` rows from `first` on, for `points` outer points, of one panel."""

    batch: Expr
    first_outer: Expr
    points: Expr
    first: Expr
    rows: Expr
    panel: Expr


class _Macro(_Nest):
    """The nest of one contraction."""

    def __init__(self, c: Contraction, target: Target, box: Box, epilogue: Epilogue, variants: bool):
        super().__init__("_gt", box)
        self.c, self.epilogue, self.variants = c, epilogue, variants
        self.walk: Walk = c.walk(box)
        self.width, self.lanes = microkernel.panel(target, c.dtype), target.lanes(c.dtype)
        self.locals: dict[str, Local] = {}

    def nest(self) -> Nest:
        c, w = self.c, self.walk
        outer, inner = size(w.outer_rows), size(w.rows)
        panels = ceildiv(c.columns, self.width)
        # Blocks: at most `limit` rows, of one point of the outer rows or of as many whole ones as fit.
        limit = self.limit(panels)
        few = (upper := self.box.upper(inner)) is not None and upper <= FEWEST_ROWS
        blocks = const(1) if few else ceildiv(inner, limit)
        many = const(1) if outer.value == 1 else maximum(1, floordiv(limit, maximum(1, inner)))
        chunks = ceildiv(outer, many)
        parts = (("_gb", c.batches), ("_gc", chunks), ("_gr", blocks), ("_gp", panels))
        batch, chunk, block, panel = self.split(sym("_gt"), parts)
        first = self.define("_gm", block * limit, inner)
        rows = inner if blocks.value == 1 else self.least("_gh", limit, inner - first)
        first_outer = self.define("_gf", chunk * many, outer)
        points = const(1) if outer.value == 1 else self.least("_go", many, outer - first_outer)
        self.offsets()

        block = _Block(batch, first_outer, points, first, rows, panel)
        columns, left = self.columns(c, panel, self.width)
        if columns.value is not None or not self.variants:
            self.body += self.block(block, columns)
        else:
            # Whole panels are loops of constant extent, without masks.
            for compare, n in (("le", const(self.width)), ("gt", left)):
                cond = Op(compare, (Index(const(self.width), I64), Index(left, I64)), BOOL)
                self.body.append(If(cond, tuple(self.block(block, n))))
        return self.done(c.batches * chunks * blocks * panels, tuple(self.locals.values()), self.width, STRIP_ROWS)

    def block(self, b: _Block, columns: Expr) -> list[Stmt]:
        """Products and epilogue of a block of rows and `columns` columns of a panel."""
        c, w = self.c, self.walk
        outer, inner = size(w.outer_rows), size(w.rows)
        # A strip of rows is multiplied and handed to the epilogue. Few rows: their stores then overlap with the next products
        # (attention scores of 384 x 384: 222 GFLOP/s with strips of 16 rows, 199 with 64).
        deep = (upper := self.box.upper(size(w.depth))) is not None and upper > BLOCK_DEPTH
        strip = BLOCK_ROWS if deep else STRIP_ROWS
        one_strip = b.rows.value is not None and b.rows.value <= strip
        point = b.first_outer if outer.value == 1 else sym("_gu")
        top = b.first if one_strip else sym("_gl")
        row, column = b.first if inner.value == 1 else sym("_gn"), sym("_gj")
        ranges = {"_gu": (0, outer - 1), "_gl": (0, inner - 1), "_gn": (0, inner - 1)}
        at = self.box.extend(ranges).extend({"_gy": (0, strip - 1)}).extend({"_gj": (0, columns - 1)})
        of_batch, of_outer, of_rows = (
            unflatten(axes, flat, at) for axes, flat in ((c.batch, b.batch), (w.outer_rows, point), (w.rows, row))
        )
        of_columns = unflatten(c.n, b.panel * self.width + column, at)
        single = {x.var: const(0) for x in c.m if x.extent.value == 1}
        result = Load("_gacc", sym("_gy") * self.width + column, c.dtype)
        stores = tuple(self.epilogue({**single, **of_batch, **of_outer, **of_rows, **of_columns}, result, at))

        base = at.simplify(w.base.subs({**of_batch, **of_outer}))
        b_start = (b.batch * ceildiv(c.columns, self.width) + b.panel) * c.depth * self.width
        if target := self.direct(stores, result, at, columns):
            buffer, offset, stride = target
            start = base + w.row_stride * b.first
            body = self.reduction((buffer, offset + stride * b.first, stride), start, b_start, b.rows, columns)
        else:
            self.locals["_gacc"] = Local("_gacc", c.dtype, const(strip * self.width))
            rows = b.rows if one_strip else sym("_gv")
            body = self.reduction(("_gacc", const(0), const(self.width)), base + w.row_stride * top, b_start, rows, columns)
            each = [] if inner.value == 1 else [Let("_gn", Index(top + sym("_gy"), I64))]
            body.append(For("_gy", rows, (*each, For("_gj", columns, stores, "vector"))))
            if not one_strip:
                done = sym("_gs") * strip
                height = Op("min", (Index(const(strip), I64), Index(b.rows - done, I64)), I64)
                body = [Let("_gl", Index(b.first + done, I64)), Let("_gv", height), *body]
                body = [For("_gs", ceildiv(b.rows, strip), tuple(body))]
        if outer.value == 1:
            return body
        return [For("_gx", b.points, (Let("_gu", Index(b.first_outer + sym("_gx"), I64)), *body))]

    def limit(self, panels: Expr) -> Expr:
        """Rows of a block: BLOCK_ROWS, or fewer where there are so few panels that threads would be idle."""
        if not self.variants or (panels.value is not None and panels.value >= TASKS):
            return const(BLOCK_ROWS)
        pieces = floordiv(self.c.batches * self.c.rows * panels, TASKS)
        return minimum(BLOCK_ROWS, maximum(FEWEST_ROWS, pieces))

    def least(self, name: str, a: Expr, b: Expr) -> Expr:
        """The smaller one, under a name. Not as an expression: there, nested extremes would merge, and equal kernels differ."""
        if a.value is not None and b.value is not None:
            return const(min(a.value, b.value))
        self.body.append(Let(name, Op("min", (Index(a, I64), Index(b, I64)), I64)))
        return sym(name)

    def offsets(self) -> None:
        """Fills the table of offsets of the k axes that are not one axis in A."""
        w = self.walk
        if not w.outer_depth:
            return
        count = size(w.outer_depth)
        self.locals["_gtab"] = Local("_gtab", I64, count)
        box = self.box.extend({"_gi": (0, count - 1)})
        offset = box.simplify(w.table.subs(unflatten(w.outer_depth, sym("_gi"), box)))
        self.body.append(For("_gi", count, (Store("_gtab", sym("_gi"), Index(offset, I64)),)))

    def reduction(self, target, base: Expr, b_start: Expr, rows: Expr, columns: Expr) -> list[Stmt]:
        """The calls of the microkernel for some rows of one panel."""
        w, c = self.walk, self.c
        buffer, start, ldc = target
        depth = size(w.depth)

        def call(k, a_more, b_more, accumulate):
            return Gemm(
                c=buffer, c_offset=start, ldc=ldc, a=c.a, a_offset=base + a_more, a_row=w.row_stride, a_col=w.depth_stride,
                offsets="_gtab" if w.outer_depth else None, batch=size(w.outer_depth), b=c.panels, b_offset=b_start + b_more,
                rows=rows, columns=columns, k=k, accumulate=accumulate, dtype=c.dtype,
            )  # fmt: skip

        upper = self.box.upper(depth)
        if w.outer_depth or (upper is not None and upper <= BLOCK_DEPTH):
            return [call(depth, 0, 0, const(0))]
        pieces = maximum(1, ceildiv(depth, BLOCK_DEPTH))
        piece = ceildiv(depth, pieces)
        q = sym("_gq")
        k = minimum(piece, depth - q * piece)
        return [For("_gq", pieces, (call(k, q * piece * w.depth_stride, q * piece * self.width, minimum(q, 1)),))]

    def direct(self, stores: tuple[Stmt, ...], result: Load, box: Box, columns: Expr) -> tuple[str, Expr, Expr] | None:
        """(buffer, offset, row stride) if the epilogue is nothing but a store that the microkernel can do."""
        match stores:
            case (Store(buffer, offset, value, None),) if value == result:
                pass
            case (Let(name, first), Store(buffer, offset, Ref(again), None)) if first == result and again == name:
                pass
            case _:
                return None
        linear = box.simplify(offset).linear(("_gn", "_gj"))
        if linear is None or linear[0].get("_gj") != 1 or not self.box.known_divisible(columns, self.lanes):
            return None
        strides, rest = linear
        return buffer, rest, strides.get("_gn", const(0))


def _order(c: Contraction, box: Box) -> Axes:
    """The k axes as the microkernel walks them: outer ones, then those of its k."""
    w = c.walk(box)
    single = tuple(x for x in c.k if x.extent.value == 1)
    return (*single, *w.outer_depth, *w.depth)


def unflatten(axes: Axes, flat: Expr, box: Box) -> Point:
    """The index of every axis, from the flat one over all of them."""
    point: Point = {}
    axes_left = [x for x in axes if x.extent.value != 1]
    for x in axes:
        if x.extent.value == 1:
            point[x.var] = const(0)
    for i, x in reversed(list(enumerate(axes_left))):
        point[x.var] = box.simplify(mod(flat, x.extent) if i else flat)
        if i:
            flat = box.simplify(floordiv(flat, x.extent))
    return point
