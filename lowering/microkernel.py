"""The GEMM microkernel: LLVM text of `sod2_gemm_f32` and `sod2_gemm_f64` for a target.

    void sod2_gemm_f32(ptr a, i64 a_row, i64 a_col, ptr offsets, i64 batch, ptr b, ptr c, i64 ldc, i64 rows, i64 columns, i64 k,
                       i64 accumulate)

computes `c[r, j] (+)= sum over i < batch, p < k of a[offsets[i] + r*a_row + p*a_col] * b[(i*k + p)*panel + j]` for `r < rows` and
`j < columns`, strides in elements. A null `offsets` stands for one offset of 0. `c` is written in whole vectors.

* One function per register tile: `rows x vectors` accumulators live in registers for the whole reduction (`batch` and `k`).
  A step of k loads `vectors` vectors of B, which are contiguous, and broadcasts one element of A per row.
* `rows` is split into tiles of at most two heights that differ by one (37 rows: 8 8 7 7 7), for a tile of one or two rows waits
  for the latency of its additions. There is a tile function for every height and every number of vectors.
* A is read where it is, with any row and column stride: rows are addressed as base + index * {1, 2, 4, 8}, so that one pointer
  moves per step. Nothing of A is packed.
* An empty reduction (k or batch 0) writes zeros, or leaves c alone if it accumulates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sod2jax.errors import UnsupportedError
from sod2jax.lowering.targets import Target


@dataclass(frozen=True, slots=True)
class Tile:
    """A register tile: `rows` of A times `vectors` vectors of a panel of B."""

    rows: int
    vectors: int


# By (bits, registers) of the vector unit. Measured on Zen 5 in f32, one core, B panel in L1 or L2: 8x2, 12x2, 6x4, 8x3, 9x3 and
# 14x2 all run at 96-99 % of the peak (two 512-bit FMAs per cycle); 8x2 compiles in half the time of the others and has the
# narrowest panel (less waste where columns are few); 7x4 spills. Where loads are the narrow place (two per cycle for two
# FMAs of 128 bits), a tile must reuse more: 6x4.
_TILES = {(512, 32): Tile(8, 2), (256, 16): Tile(6, 2), (128, 32): Tile(6, 4)}


def tile(target: Target, dtype) -> Tile:
    """The largest register tile of a target."""
    suffix(dtype)
    shape = _TILES.get((target.vector_bits, target.registers))
    if shape is None:
        raise UnsupportedError(f"no GEMM tile for {target.registers} registers of {target.vector_bits} bits ({target.name})")
    return shape


def panel(target: Target, dtype) -> int:
    """Columns of a packed panel of B."""
    return tile(target, dtype).vectors * target.lanes(dtype)


def suffix(dtype) -> str:
    """The dtype in the microkernel's name."""
    dtype = np.dtype(dtype)
    if dtype not in _TYPES:
        raise UnsupportedError(f"the GEMM microkernel computes in float32 and float64, not in {dtype}; convert the operands")
    return _TYPES[dtype][0]


_TYPES = {np.dtype(np.float32): ("f32", "float", 4), np.dtype(np.float64): ("f64", "double", 8)}

# What a tile function gets besides a, c and a count; row, col and ldc in bytes.
_FIELDS = (
    ("row", "i64"), ("col", "i64"), ("offsets", "ptr"), ("batch", "i64"),
    ("b0", "ptr"), ("ldc", "i64"), ("k", "i64"), ("add", "i1"),
)  # fmt: skip


def module(target: Target, dtype) -> str:
    """LLVM IR text of the module that defines the microkernel."""
    best = tile(target, dtype)
    name, element, size = _TYPES[np.dtype(dtype)]
    lanes = target.lanes(dtype)
    v = f"<{lanes} x {element}>"
    heights, widths = range(1, best.rows + 1), range(1, best.vectors + 1)
    tiles = [_Tile(name, element, size, lanes, lanes * best.vectors, Tile(r, v)) for v in widths for r in heights]
    table = ", ".join(f"ptr {t.function}" for t in tiles)
    vector = f'"prefer-vector-width"="{target.vector_bits}" "min-legal-vector-width"="{target.vector_bits}"'
    return "\n".join(
        (
            f'target triple = "{target.triple}"',
            "%args = type { " + ", ".join(type for _, type in _FIELDS) + " }",
            f"declare {v} @llvm.fma.v{lanes}{name}({v}, {v}, {v})",
            "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
            "@no_offset = internal constant i64 0",
            f"@tiles = internal constant [{len(tiles)} x ptr] [{table}]",
            *(t.text() for t in tiles),
            _entry(name, size, lanes, best),
            f"attributes #0 = {{ nounwind {vector} }}",
            "",
        )
    )


def _entry(name: str, size: int, lanes: int, best: Tile) -> str:
    """The exported function: it splits the rows and calls tile functions."""
    return f"""
define void @sod2_gemm_{name}(ptr %a, i64 %a_row, i64 %a_col, ptr %offsets, i64 %batch, ptr %b, ptr %c, i64 %ldc, i64 %rows,
                           i64 %columns, i64 %k, i64 %accumulate) #0 {{
entry:
  %args = alloca %args, align 8
  %row_step = mul i64 %a_row, {size}
  %column_step = mul i64 %a_col, {size}
  %c_step = mul i64 %ldc, {size}
  %one_offset = icmp eq ptr %offsets, null
  %table = select i1 %one_offset, ptr @no_offset, ptr %offsets
  %add = icmp ne i64 %accumulate, 0
  %vectors.up = add i64 %columns, {lanes - 1}
  %vectors = udiv i64 %vectors.up, {lanes}
  %has_rows = icmp sgt i64 %rows, 0
  %has_columns = icmp sgt i64 %columns, 0
  %wanted = and i1 %has_rows, %has_columns
  br i1 %wanted, label %some, label %exit
some:
  %has_k = icmp sgt i64 %k, 0
  %has_batch = icmp sgt i64 %batch, 0
  %reduces = and i1 %has_k, %has_batch
  br i1 %reduces, label %split, label %empty
split:
{_record("row_step", "column_step", "table", "batch", "b", "c_step", "k", "add")}
  %rows.up = add i64 %rows, {best.rows - 1}
  %count = udiv i64 %rows.up, {best.rows}
  %height = udiv i64 %rows, %count
  %even = mul i64 %height, %count
  %taller = sub i64 %rows, %even
  %shorter = sub i64 %count, %taller
  %height.1 = add i64 %height, 1
  %before = mul i64 %vectors, {best.rows}
  %first = sub i64 %before, {best.rows}
  %index = add i64 %first, %height
  %index.0 = sub i64 %index, 1
  %slot.tall = getelementptr ptr, ptr @tiles, i64 %index
  %slot.short = getelementptr ptr, ptr @tiles, i64 %index.0
  %uneven = icmp sgt i64 %taller, 0
  br i1 %uneven, label %tall, label %short
tall:
  %tall.tile = load ptr, ptr %slot.tall, align 8
  call void %tall.tile(ptr %a, ptr %c, ptr %args, i64 %taller)
  br label %short
short:
  %short.tile = load ptr, ptr %slot.short, align 8
  %done = mul i64 %taller, %height.1
  %a.skip = mul i64 %done, %row_step
  %c.skip = mul i64 %done, %c_step
  %a.rest = getelementptr i8, ptr %a, i64 %a.skip
  %c.rest = getelementptr i8, ptr %c, i64 %c.skip
  call void %short.tile(ptr %a.rest, ptr %c.rest, ptr %args, i64 %shorter)
  br label %exit
empty:
  br i1 %add, label %exit, label %clear
clear:
  %r = phi i64 [ 0, %empty ], [ %r.next, %clear ]
  %c.offset = mul i64 %r, %c_step
  %c.row = getelementptr i8, ptr %c, i64 %c.offset
  %bytes = mul i64 %vectors, {lanes * size}
  call void @llvm.memset.p0.i64(ptr %c.row, i8 0, i64 %bytes, i1 false)
  %r.next = add i64 %r, 1
  %more = icmp slt i64 %r.next, %rows
  br i1 %more, label %clear, label %exit
exit:
  ret void
}}"""


def _record(*values: str) -> str:
    """Stores of the argument record's fields."""
    lines = []
    for i, (value, (field, type)) in enumerate(zip(values, _FIELDS, strict=True)):
        lines.append(f"  %at.{field} = getelementptr inbounds %args, ptr %args, i64 0, i32 {i}")
        lines.append(f"  store {type} %{value}, ptr %at.{field}, align {1 if type == 'i1' else 8}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Tile:
    """One tile function: `count` tiles of `shape.rows` rows below each other."""

    name: str
    element: str
    size: int
    lanes: int
    panel: int
    shape: Tile

    @property
    def function(self) -> str:
        return f"@tile_{self.shape.rows}x{self.shape.vectors}"

    def text(self) -> str:
        rows, vectors = range(self.shape.rows), range(self.shape.vectors)
        v = f"<{self.lanes} x {self.element}>"
        out = [f"\ndefine internal void {self.function}(ptr %a0, ptr %c0, ptr %args, i64 %count) #0 {{", "entry:"]
        e = out.append

        def cells(text: str):
            for r in rows:
                for j in vectors:
                    e("  " + text.format(t=f"{r}.{j}", r=r, j=j, v=v))

        for i, (field, type) in enumerate(_FIELDS):
            e(f"  %at.{field} = getelementptr inbounds %args, ptr %args, i64 0, i32 {i}")
            e(f"  %{field} = load {type}, ptr %at.{field}, align {1 if type == 'i1' else 8}")
        e(f"  %a.step = mul i64 %row, {self.shape.rows}")
        e(f"  %c.step = mul i64 %ldc, {self.shape.rows}")
        for r in rows:
            e(f"  %c.off.{r} = mul i64 %ldc, {r}")
            if r % 2:
                e(f"  %a.off.{r} = mul i64 %row, {r}")
        e("  br label %tile")
        # The tile starts from c or from zero.
        out += [
            "tile:",
            "  %t = phi i64 [ 0, %entry ], [ %t.next, %store ]",
            "  %a = phi ptr [ %a0, %entry ], [ %a.next, %store ]",
            "  %c = phi ptr [ %c0, %entry ], [ %c.next, %store ]",
            "  br i1 %add, label %old, label %start",
            "old:",
        ]
        self._row_pointers(e, "old")
        cells(f"%old.{{t}} = load {{v}}, ptr %old.c.{{t}}, align {self.size}")
        e("  br label %start")
        e("start:")
        cells("%start.{t} = phi {v} [ zeroinitializer, %tile ], [ %old.{t}, %old ]")
        e("  br label %batch.loop")
        # Every entry of the offsets table is a run of k steps; B goes on where it was.
        e("batch.loop:")
        cells("%in.{t} = phi {v} [ %start.{t}, %start ], [ %sum.{t}, %batch.next ]")
        out += [
            "  %i = phi i64 [ 0, %start ], [ %i.next, %batch.next ]",
            "  %b.run = phi ptr [ %b0, %start ], [ %b.next, %batch.next ]",
            "  %offset.at = getelementptr i64, ptr %offsets, i64 %i",
            "  %offset = load i64, ptr %offset.at, align 8",
            f"  %a.run = getelementptr {self.element}, ptr %a, i64 %offset",
            "  br label %k.loop",
            "k.loop:",
        ]
        cells("%acc.{t} = phi {v} [ %in.{t}, %batch.loop ], [ %sum.{t}, %k.loop ]")
        out += [
            "  %left = phi i64 [ %k, %batch.loop ], [ %left.next, %k.loop ]",
            "  %ap = phi ptr [ %a.run, %batch.loop ], [ %a.moved, %k.loop ]",
            "  %bp = phi ptr [ %b.run, %batch.loop ], [ %b.next, %k.loop ]",
        ]
        for j in vectors:
            e(f"  %b.at.{j} = getelementptr {self.element}, ptr %bp, i64 {j * self.lanes}")
            e(f"  %b.{j} = load {v}, ptr %b.at.{j}, align {self.size}")
        for r in rows:
            self._broadcast(e, r, v)
            for j in vectors:
                t = f"{r}.{j}"
                e(f"  %sum.{t} = call {v} @llvm.fma.v{self.lanes}{self.name}({v} %a.{r}, {v} %b.{j}, {v} %acc.{t})")
        # The empty asm hides the step from loop strength reduction, which would carry a pointer per row (spilled) and takes half
        # of the compile time to find that out.
        out += [
            "  %a.after = getelementptr i8, ptr %ap, i64 %col",
            f"  %b.after = getelementptr {self.element}, ptr %bp, i64 {self.panel}",
            '  %a.moved = call ptr asm "", "=r,0"(ptr %a.after)',
            '  %b.next = call ptr asm "", "=r,0"(ptr %b.after)',
            "  %left.next = sub i64 %left, 1",
            "  %k.more = icmp ne i64 %left.next, 0",
            "  br i1 %k.more, label %k.loop, label %batch.next",
            "batch.next:",
            "  %i.next = add i64 %i, 1",
            "  %batch.more = icmp slt i64 %i.next, %batch",
            "  br i1 %batch.more, label %batch.loop, label %store",
            "store:",
        ]
        self._row_pointers(e, "new")
        cells(f"store {{v}} %sum.{{t}}, ptr %new.c.{{t}}, align {self.size}")
        out += [
            "  %t.next = add i64 %t, 1",
            "  %a.next = getelementptr i8, ptr %a, i64 %a.step",
            "  %c.next = getelementptr i8, ptr %c, i64 %c.step",
            "  %t.more = icmp slt i64 %t.next, %count",
            "  br i1 %t.more, label %tile, label %exit",
            "exit:",
            "  ret void",
            "}",
        ]
        return "\n".join(out)

    def _row_pointers(self, e, prefix: str) -> None:
        """Addresses of the tile's vectors of c."""
        for r in range(self.shape.rows):
            e(f"  %{prefix}.row.{r} = getelementptr i8, ptr %c, i64 %c.off.{r}")
            for j in range(self.shape.vectors):
                e(f"  %{prefix}.c.{r}.{j} = getelementptr {self.element}, ptr %{prefix}.row.{r}, i64 {j * self.lanes}")

    def _broadcast(self, e, r: int, v: str) -> None:
        """One element of A in all lanes. Even rows are an odd row (or one row) scaled by 2, 4 or 8: the address does it."""
        if r % 2 == 0:
            power = r & -r
            odd = "%row" if r in (0, power) else f"%a.off.{r // power}"
            e(f"  %a.off.{r} = mul i64 {odd}, {power}")
        e(f"  %a.at.{r} = getelementptr i8, ptr %ap, i64 %a.off.{r}")
        e(f"  %a.one.{r} = load {self.element}, ptr %a.at.{r}, align {self.size}")
        e(f"  %a.in.{r} = insertelement {v} poison, {self.element} %a.one.{r}, i64 0")
        e(f"  %a.{r} = shufflevector {v} %a.in.{r}, {v} poison, <{self.lanes} x i32> zeroinitializer")
