"""Loads and stores of vectors, by how the offset moves with the lanes.

* Stride 1: one vector load or store; -1: the same, reversed; 0: a scalar, splatted; any other: gather and scatter.
* Stride 2 of a whole vector is two loads and a shuffle; two stores side by side at stride 2, parts of complex numbers, are one.
* The mask of a partial vector and a varying `where` are and-ed into one mask; masked-off lanes touch no memory and load zero.
* An access under a `where` that holds for all lanes or none goes to a harmless address instead of branching: a constant of zeros,
  or a sink on the stack. So does a vector of which no lane is wanted: processors are slow to find that an address outside of all
  pages is not meant.
* An invariant load of a buffer that the kernel never writes is placed before the innermost loop, which then runs at least once.
"""

from __future__ import annotations

from sod2jax.ir.expr import Expr
from sod2jax.ir.loops import Const, Ref, Store
from sod2jax.lowering.emit import Lanes, Type
from sod2jax.lowering.indices import IndexEmitter, Val
from sod2jax.lowering.scalar_ops import decode, encode

TRUE = "splat (i1 true)"


class MemoryEmitter(IndexEmitter):
    """Memory access on top of index arithmetic."""

    def __init__(self, target):
        super().__init__(target)
        self.mutable: set[str] = set()  # buffers that the kernel writes, and those that share their memory
        self.uses_sink = False

    # Loads.
    def load(self, buffer: str, offset: Expr, where: Val | None) -> Val:
        v = self.vectors
        type, _ = self.pointers[buffer]
        pure = buffer not in self.mutable
        if v is None or not (self.varies(offset) or (where is not None and where.varying)):
            return self._load_scalar(type, buffer, offset, where, pure)
        parts = []
        for p in range(v.parts):
            m = self.lanes(v.n)
            parts.append(decode(m, type, self._load_part(m, type, buffer, offset, p, where)))
        return Val(type, parts, len(self.scopes) - 1, varying=True, pure=pure)

    def _load_scalar(self, type: Type, buffer: str, offset: Expr, where: Val | None, pure: bool) -> Val:
        pointer, depth = self.address(buffer, offset)
        here = len(self.scopes) - 1
        if where is None and pure and depth < here and self.scopes[-1].hoists:
            here -= 1  # the block between the test of the trip count and the loop
        m = self.lanes(1, here)
        if where is not None:
            pointer = m.ins(f"select i1 {where.parts[0]}, ptr {pointer}, ptr @zeros")
        x = decode(m, type, m.ins(f"load {type.mem}, ptr {pointer}, align {type.size}"))
        return Val(type, [x], here, pure=pure and (where is None or where.pure))

    def _load_part(self, m: Lanes, type: Type, buffer: str, offset: Expr, p: int, where: Val | None) -> str:
        vt, stride = m.vt(type.mem), self._constant_stride(offset)
        if stride == 1:
            return self._load_line(m, type, buffer, offset, p, where)
        mask = self._mask(m, p, where)
        if stride == 0:
            return self._load_one(m, type, buffer, offset, mask)
        if stride == -1 and mask == TRUE:
            pointer, _ = self.address(buffer, offset - (p * m.n + m.n - 1))
            x = m.ins(f"load {vt}, ptr {pointer}, align {type.size}")
            return m.ins(f"shufflevector {vt} {x}, {vt} poison, <{m.n} x i32> {m.iota('i32', -1, m.n - 1)}")
        if stride == 2 and mask == TRUE:
            return self._load_every_second(m, type, buffer, offset + 2 * p * m.n)
        pointers = self._pointers(m, type, buffer, offset, p)
        return m.ins(
            f"call {vt} @llvm.masked.gather.{m.suffix(type.mem)}.{m.suffix('ptr')}({m.vt('ptr')} align {type.size} {pointers}, "
            f"{m.vt('i1')} {mask}, {vt} zeroinitializer)"
        )

    def _load_line(self, m: Lanes, type: Type, buffer: str, offset: Expr, p: int, where: Val | None) -> str:
        """Elements side by side."""
        vt = m.vt(type.mem)
        pointer, _ = self.address(buffer, offset + p * m.n)
        each = where is not None and where.varying
        mask = self._mask(m, p, where if each else None)
        if where is not None:
            wanted = m.any(mask) if each else where.parts[0]
            pointer = m.ins(f"select i1 {wanted}, ptr {pointer}, ptr @zeros")
        if mask == TRUE:
            return m.ins(f"load {vt}, ptr {pointer}, align {type.size}")
        return m.ins(
            f"call {vt} @llvm.masked.load.{m.suffix(type.mem)}.p0(ptr align {type.size} {pointer}, "
            f"{m.vt('i1')} {mask}, {vt} zeroinitializer)"
        )

    def _load_every_second(self, m: Lanes, type: Type, buffer: str, offset: Expr) -> str:
        """By two vectors, the second of which ends with the last element: nothing behind that is read."""
        vt, n = m.vt(type.mem), m.n
        low, high = (
            m.ins(f"load {vt}, ptr {self.address(buffer, at)[0]}, align {type.size}") for at in (offset, offset + (n - 1))
        )
        lanes = ", ".join(f"i32 {k if k < n else k + 1}" for k in range(0, 2 * n, 2))
        return m.ins(f"shufflevector {vt} {low}, {vt} {high}, <{n} x i32> <{lanes}>")

    def _load_one(self, m: Lanes, type: Type, buffer: str, offset: Expr, mask: str) -> str:
        """The same element for all lanes that want it."""
        pointer, _ = self.address(buffer, offset)
        one = Lanes(m.names, m.scope, 1, m.target)
        if mask != TRUE:
            pointer = one.ins(f"select i1 {m.any(mask)}, ptr {pointer}, ptr @zeros")
        x = m.splat(type.mem, one.ins(f"load {type.mem}, ptr {pointer}, align {type.size}"))
        return x if mask == TRUE else m.ins(f"select {m.vt('i1')} {mask}, {m.vt(type.mem)} {x}, {m.vt(type.mem)} zeroinitializer")

    # Stores.
    def store(self, buffer: str, offset: Expr, value: Val, where: Val | None):
        v = self.vectors
        type, _ = self.pointers[buffer]
        uniform = not (self.varies(offset) or value.varying or (where is not None and where.varying))
        if v is None or uniform:
            self._store_scalar(type, buffer, offset, value, where)
            return
        for p in range(v.parts):
            m = self.lanes(v.n)
            self._store_part(m, type, buffer, offset, p, encode(m, type, self.part(value, p)), self._mask(m, p, where))

    def side_by_side(self, first: Store, second: Store) -> bool:
        """Whether two stores fill every place of a line of a vector loop between them."""
        return (
            self.vectors is not None
            and first.buffer == second.buffer
            and first.where == second.where
            and second.offset == first.offset + 1
            and self._constant_stride(first.offset) == 2
            and all(isinstance(s.value, (Ref, Const)) for s in (first, second))
        )

    def store_both(self, buffer: str, offset: Expr, low: Val, high: Val, where: Val | None):
        """Two values at `offset` and behind it."""
        type, _ = self.pointers[buffer]
        for p in range(self.vectors.parts):
            m = self.lanes(self.vectors.n)
            a, b = (encode(m, type, self.part(x, p)) for x in (low, high))
            both, mask = self._zip(m, type.mem, a, b), self._mask(m, p, where)
            wide = Lanes(m.names, m.scope, 2 * m.n, m.target)
            pointer, _ = self.address(buffer, offset + 2 * p * m.n)
            self._store_line(wide, type, both, pointer, mask if mask == TRUE else self._zip(m, "i1", mask, mask))

    def _zip(self, m: Lanes, s: str, a: str, b: str) -> str:
        """a0, b0, a1, b1, ..."""
        lanes = ", ".join(f"i32 {k}, i32 {k + m.n}" for k in range(m.n))
        return m.ins(f"shufflevector {m.vt(s)} {a}, {m.vt(s)} {b}, <{2 * m.n} x i32> <{lanes}>")

    def _store_line(self, m: Lanes, type: Type, x: str, pointer: str, mask: str):
        vt = m.vt(type.mem)
        if mask == TRUE:
            m.do(f"store {vt} {x}, ptr {pointer}, align {type.size}")
            return
        m.do(
            f"call void @llvm.masked.store.{m.suffix(type.mem)}.p0({vt} {x}, ptr align {type.size} {pointer}, "
            f"{m.vt('i1')} {mask})"
        )

    def _store_scalar(self, type: Type, buffer: str, offset: Expr, value: Val, where: Val | None):
        m = self.lanes()
        pointer, _ = self.address(buffer, offset)
        if where is not None:
            self.uses_sink = True
            pointer = m.ins(f"select i1 {where.parts[0]}, ptr {pointer}, ptr %sink")
        m.do(f"store {type.mem} {encode(m, type, value.parts[0])}, ptr {pointer}, align {type.size}")

    def _store_part(self, m: Lanes, type: Type, buffer: str, offset: Expr, p: int, x: str, mask: str):
        vt = m.vt(type.mem)
        if self._constant_stride(offset) == 1:
            self._store_line(m, type, x, self.address(buffer, offset + p * m.n)[0], mask)
            return
        pointers = self._pointers(m, type, buffer, offset, p)
        m.do(
            f"call void @llvm.masked.scatter.{m.suffix(type.mem)}.{m.suffix('ptr')}({vt} {x}, {m.vt('ptr')} align {type.size} "
            f"{pointers}, {m.vt('i1')} {mask})"
        )

    # Both.
    def _mask(self, m: Lanes, p: int, where: Val | None) -> str:
        mask = self.vectors.mask
        if where is None:
            return mask[p] if mask else TRUE
        w = self.part(where, p)
        return m.bin("and", "i1", mask[p], w) if mask else w

    def _constant_stride(self, offset: Expr) -> int | None:
        if not self.varies(offset):
            return 0
        stride = self.stride(offset)
        return None if stride is None else stride.value

    def _pointers(self, m: Lanes, type: Type, buffer: str, offset: Expr, p: int) -> str:
        """One pointer per lane. Short constant steps are i32, for which the gather instructions have twice the lanes."""
        v = self.vectors
        stride = self.stride(offset) if self.varies(offset) else None
        if self.varies(offset) and stride is None:
            _, pointer = self.pointers[buffer]
            return m.ins(f"getelementptr {type.mem}, ptr {pointer}, {m.vt('i64')} {self.index_lanes(offset, p)}")
        if stride is None:
            pointer, depth = self.address(buffer, offset)
            return m.splat("ptr", pointer)
        if stride.value is not None:
            pointer, _ = self.address(buffer, offset + p * m.n * stride.value)
            s = "i32" if abs(stride.value) * type.size * m.n < 1 << 31 else "i64"
            return m.ins(f"getelementptr {type.mem}, ptr {pointer}, {m.vt(s)} {m.iota(s, stride.value)}")
        pointer, _ = self.address(buffer, offset)
        x, depth = self.index(stride)
        steps = self.pure(depth, f"mul {m.vt('i64')} {self._splat_text(depth, 'i64', x)}, {m.iota('i64', 1, p * v.n)}")
        return m.ins(f"getelementptr {type.mem}, ptr {pointer}, {m.vt('i64')} {steps}")
