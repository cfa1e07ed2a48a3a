"""LLVM IR of a kernel: the statements of the loop IR, with explicit vectors.

* A vector loop is two: whole vectors, `parts` of them per step (2 or 4 where the body is short: independent work for the
  pipelines, and as many accumulators), then the rest: one masked vector at a time, or scalars where the target has no masks.
* Every varying value is a list of `parts` vectors, statement by statement, so a loop inside of it is jammed, not repeated.
* Accumulators are SSA values; a loop or `If` joins those it updates with phis. One that is reduced over the lanes starts at the
  identity in every lane, and folds into the scalar one after the loop.
* A loop is guarded by its trip count, and the block behind the guard takes its invariant loads.
* `emit` names everything by position, so equal kernels give equal texts: the key of the JIT's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from sod2jax.errors import UnsupportedError
from sod2jax.ir import loops as ir
from sod2jax.ir.expr import Expr, as_expr
from sod2jax.lowering.emit import I64, Scope, Type, float_bits, type_of
from sod2jax.lowering.indices import Val, Vectors
from sod2jax.lowering.scalar_ops import COSTS, apply, fold, round_to
from sod2jax.lowering.targets import Target, compute_bits
from sod2jax.lowering.vector import MemoryEmitter

SIGNATURE = "(ptr noalias %buffers, ptr noalias %sizes, i64 %begin, i64 %end, ptr noalias %scratch)"
GEMM_ARGUMENTS = "ptr, i64, i64, ptr, i64, ptr, ptr, i64, i64, i64, i64, i64"


@dataclass(frozen=True, slots=True)
class Acc:
    """An accumulator: its current value, one name per part, or one scalar; `start` is the identity."""

    op: str
    type: Type
    start: str
    parts: tuple[str, ...]
    depth: int
    varying: bool = False


def emit(kernel: ir.Kernel, target: Target, name: str | None = None) -> str:
    """LLVM IR text of a module with one function, called `name` or as the kernel is."""
    return Emitter(target).kernel(kernel, kernel.name if name is None else name)


class Emitter(MemoryEmitter):
    """One kernel."""

    def kernel(self, k: ir.Kernel, name: str) -> str:
        self.summaries: dict[int, Summary] = {}
        self.gemms: set[str] = set()
        self._arguments(k)
        self._counted("%begin", "%end", 1, k.var, (), lambda: self.body(k.body))
        lines = self.scope.lines
        sink = ["  %sink = alloca [16 x i8], align 16"] if self.uses_sink else []
        gemms = [f"declare void @{g}({GEMM_ARGUMENTS})" for g in sorted(self.gemms)]
        vector = f'"prefer-vector-width"="{self.target.vector_bits}" "min-legal-vector-width"="{self.target.vector_bits}"'
        return "\n".join(
            [
                f'target triple = "{self.target.triple}"',
                "@zeros = private unnamed_addr constant [64 x i8] zeroinitializer, align 64",
                *gemms,
                *self.names.functions.values(),
                f'define void @"{name}"{SIGNATURE} #0 {{',
                "entry:",
                *sink,
                *lines,
                "  ret void",
                "}",
                f"attributes #0 = {{ nounwind {vector} }}",
                "attributes #1 = { nounwind noinline memory(none) }",
                '!0 = !{!"branch_weights", i32 1, i32 2000}',
                "",
            ]
        )

    def _arguments(self, k: ir.Kernel):
        m = self.lanes()
        self.mutable = _written(k)
        for i, name in enumerate(k.sizes):
            pointer = m.ins(f"getelementptr i64, ptr %sizes, i64 {i}") if i else "%sizes"
            self._define(name, m.ins(f"load i64, ptr {pointer}, align 8"), 0)
        for i, b in enumerate(k.buffers):
            pointer = m.ins(f"getelementptr ptr, ptr %buffers, i64 {i}") if i else "%buffers"
            self.pointers[b.name] = type_of(b.dtype), m.ins(f"load ptr, ptr {pointer}, align 8")
        start = as_expr(0)
        for local in k.locals:
            t = type_of(local.dtype)
            offset, _ = self.index(start)
            self.pointers[local.name] = t, self.pure(0, f"getelementptr i8, ptr %scratch, i64 {offset}")
            start = start + (local.extent * t.size + 63) // 64 * 64

    def _define(self, name: str, ssa: str, depth: int):
        self.env[name] = Val(I64, [ssa], depth)
        self.at_least_0.add(name)

    # Statements.
    def body(self, stmts):
        left = list(reversed(stmts))
        while left:
            s = left.pop()
            if left and isinstance(s, ir.Store) and isinstance(left[-1], ir.Store) and self.side_by_side(s, left[-1]):
                where = None if s.where is None else self.value(s.where)
                self.store_both(s.buffer, s.offset, self.value(s.value), self.value(left.pop().value), where)
            else:
                self.STATEMENTS[type(s)](self, s)

    def _for(self, s: ir.For):
        if self.varies(s.extent):
            raise UnsupportedError(f"the extent of loop {s.var}, {s.extent}, varies over the lanes of {self.vectors.var}")
        if s.kind == "vector" and self.vectors is None:
            self._vector_loop(s)
        elif s.kind == "unroll" and s.extent.value is not None:
            for i in range(s.extent.value):
                self._straight(lambda i=i: (self._define(s.var, str(i), len(self.scopes) - 1), self.body(s.body)))
        else:
            stop, _ = self.index(s.extent)
            self._counted("0", stop, 1, s.var, self._carried(s.body), lambda: self.body(s.body))

    def _let(self, s: ir.Let):
        v = self.value(s.value)
        self.env[s.name] = v
        if v.varying:
            self.vectors.varying.add(s.name)

    def _init(self, s: ir.Init):
        t = type_of(s.dtype)
        start = _literal(ir.identity(s.op, s.dtype), t)
        v = self.vectors
        parts = (start,) if v is None else (self.lanes(v.n).lit(start, t.reg),) * v.parts
        self.env[s.name] = Acc(s.op, t, start, parts, len(self.scopes) - 1, varying=v is not None)

    def _update(self, s: ir.Update):
        acc: Acc = self.env[s.name]
        x = self.value(s.value)
        if not acc.varying:
            if x.varying:
                raise UnsupportedError(
                    f"accumulator {s.name} is updated per lane of {self.vectors.var}, which does not reduce it"
                )
            new = (fold(self.lanes(), acc.op, acc.type, acc.parts[0], x.parts[0]),)
        else:
            v, m = self.vectors, self.lanes(self.vectors.n)
            new = tuple(fold(m, acc.op, acc.type, a, self.part(x, p)) for p, a in enumerate(acc.parts))
            if v.mask and s.name in v.across:
                new = tuple(m.select(k, acc.type.reg, n, a) for k, n, a in zip(v.mask, new, acc.parts))
        self.env[s.name] = replace(acc, parts=new, depth=len(self.scopes) - 1)

    def _store(self, s: ir.Store):
        where = None if s.where is None else self.value(s.where)
        self.store(s.buffer, s.offset, self.value(s.value), where)

    def _if(self, s: ir.If):
        cond = self.value(s.cond)
        if cond.varying:
            raise UnsupportedError(f"the condition of an If varies over the lanes of {self.vectors.var}; use `where` or select")
        carried = self._carried(s.body)
        before = {n: self.env[n] for n in carried}
        outer, env = self.scope, dict(self.env)
        then, join = self.names.label("then"), self.names.label("join")
        self.scopes.append(Scope(then, outer.depth + 1))
        self.body(s.body)
        after = {n: self.env[n] for n in carried}
        inner = self.scopes.pop()
        self.env = env
        origin = outer.label
        outer.lines.append(f"  br i1 {cond.parts[0]}, label %{then}, label %{join}")
        outer.lines += [f"{then}:", *inner.lines, f"  br label %{join}"]
        outer.open(join)
        for n in carried:
            self._join(n, before[n].parts, origin, after[n].parts, inner.label)

    def _while(self, s: ir.While):
        if self.vectors is not None:
            raise UnsupportedError("a While inside of a vector loop")
        limit, _ = self.index(s.limit)
        outer, env = self.scope, dict(self.env)
        before, loop, exit_ = (self.names.label(stem) for stem in ("enter", "loop", "exit"))
        self.scopes += [Scope(before, outer.depth + 1), Scope(loop, outer.depth + 2, hoists=True)]
        initial = {n: env[n].parts for n in self._carried(s.body)}
        for n in initial:
            self.env[n] = replace(env[n], parts=(self.names.value(),), depth=outer.depth + 2)
        phis = {n: self.env[n].parts for n in initial}
        self.body(s.body)
        again = self.value(s.cond).parts[0]
        final = {n: self.env[n].parts for n in initial}
        inner, enter = self.scopes.pop(), self.scopes.pop()
        self.env = env
        i, following, within, both = (self.names.value() for _ in range(4))
        outer.lines += [f"  br label %{before}", f"{before}:", *enter.lines, f"  br label %{loop}", f"{loop}:"]
        outer.lines.append(f"  {i} = phi i64 [ 0, %{enter.label} ], [ {following}, %{inner.label} ]")
        for n, (name,) in phis.items():
            ends = f"[ {initial[n][0]}, %{enter.label} ], [ {final[n][0]}, %{inner.label} ]"
            outer.lines.append(f"  {name} = phi {env[n].type.reg} {ends}")
        outer.lines += inner.lines
        outer.lines += [f"  {following} = add nsw i64 {i}, 1", f"  {within} = icmp slt i64 {following}, {limit}"]
        outer.lines += [f"  {both} = and i1 {within}, {again}", f"  br i1 {both}, label %{loop}, label %{exit_}"]
        outer.open(exit_)
        for n, parts in final.items():
            self.env[n] = replace(env[n], parts=parts, depth=outer.depth)

    def _gemm(self, s: ir.Gemm):
        if self.vectors is not None:
            raise UnsupportedError("a Gemm inside of a vector loop")
        t = type_of(s.dtype)
        name = f"sod2_gemm_{ {'float32': 'f32', 'float64': 'f64'}.get(t.name, t.name) }"
        self.gemms.add(name)
        a, b, c = (self.address(*x)[0] for x in ((s.a, s.a_offset), (s.b, s.b_offset), (s.c, s.c_offset)))
        offsets = "null" if s.offsets is None else self.pointers[s.offsets][1]
        i = lambda e: f"i64 {self.index(as_expr(e))[0]}"
        self.lanes().do(
            f"call void @{name}(ptr {a}, {i(s.a_row)}, {i(s.a_col)}, ptr {offsets}, {i(s.batch)}, ptr {b}, ptr {c}, {i(s.ldc)}, "
            f"{i(s.rows)}, {i(s.columns)}, {i(s.k)}, {i(s.accumulate)})"
        )

    STATEMENTS: ClassVar = {
        ir.For: _for, ir.Let: _let, ir.Init: _init, ir.Update: _update, ir.Store: _store, ir.If: _if, ir.While: _while,
        ir.Gemm: _gemm,
    }  # fmt: skip

    # Values.
    def value(self, v: ir.Value) -> Val:
        for scope in reversed(self.scopes):
            if (known := scope.cache.get(id(v))) is not None:
                return known
        out = self.VALUES[type(v)](self, v)
        if out.pure and type(v) is not ir.Ref:
            self.scopes[out.depth].cache[id(v)] = out
        return out

    def _const(self, v: ir.Const) -> Val:
        t = type_of(v.dtype)
        value = v.value
        if t.small:
            value = float(v.dtype.type(value))
        return Val(t, [_literal(value, t)], 0)

    def _index(self, v: ir.Index) -> Val:
        t = type_of(v.dtype)
        if self.varies(v.expr):
            s = t.reg if t.kind in "iu" else "i64"
            parts = [self.index_lanes(v.expr, p, s) for p in range(self.vectors.parts)]
            out = Val(t if s == t.reg else I64, parts, len(self.scopes) - 1, varying=True)
        else:
            x, depth = self.index(v.expr)
            if t.kind in "iu" and t.bits < 64:
                if x[0] != "%":
                    x = str((int(x) + (1 << t.bits - 1)) % (1 << t.bits) - (1 << t.bits - 1))
                else:
                    x = self.pure(depth, f"trunc i64 {x} to {t.reg}")
            out = Val(t if t.kind in "iu" else I64, [x], depth)
        return out if out.type is t else self._apply("convert", t, [out])

    def _load(self, v: ir.Load) -> Val:
        return self.load(v.buffer, v.offset, None if v.where is None else self.value(v.where))

    def _op(self, v: ir.Op) -> Val:
        return self._apply(v.name, type_of(v.dtype), [self.value(a) for a in v.args])

    def _apply(self, name: str, result: Type, args: list[Val]) -> Val:
        depth = max(a.depth for a in args)
        types = [a.type for a in args]
        pure = all(a.pure for a in args)
        if not any(a.varying for a in args):
            return Val(result, [apply(self.lanes(1, depth), name, result, [a.parts[0] for a in args], types)], depth, pure=pure)
        m = self.lanes(self.vectors.n, depth)
        parts = [apply(m, name, result, [self.part(a, p) for a in args], types) for p in range(self.vectors.parts)]
        return Val(result, parts, depth, varying=True, pure=pure)

    def _ref(self, v: ir.Ref) -> Val:
        x = self.env[v.name]
        if isinstance(x, Val):
            return x
        parts = list(x.parts)
        if x.type.small:
            m = self.lanes(self.vectors.n if x.varying else 1)
            parts = [round_to(m, x.type, p) for p in parts]
        return Val(x.type, parts, len(self.scopes) - 1, varying=x.varying, pure=False)

    VALUES: ClassVar = {ir.Const: _const, ir.Index: _index, ir.Load: _load, ir.Op: _op, ir.Ref: _ref}

    # Loops.
    def _carried(self, stmts) -> tuple[str, ...]:
        """Accumulators of outside that `stmts` update."""
        return tuple(n for n in self.summary(stmts).updated if n in self.env)

    def _counted(self, start: str, stop: str, step: int, var: str, carried, body: Callable[[], None], once=False):
        """`for var in range(start, stop, step)`, guarded; with `once` the body runs at most once."""
        outer, env = self.scope, dict(self.env)
        before, loop, exit_ = (self.names.label(s) for s in ("enter", "loop", "exit"))
        self.scopes.append(Scope(before, outer.depth + 1))
        inner = Scope(loop, outer.depth + 2, hoists=True)
        self.scopes.append(inner)
        i = start if once else self.names.value()
        self._define(var, i, inner.depth)
        initial = {n: env[n].parts for n in carried}
        if not once:
            for n in carried:
                self.env[n] = replace(env[n], parts=tuple(self.names.value() for _ in initial[n]), depth=inner.depth)
        phis = {n: self.env[n].parts for n in carried}
        body()
        final = {n: self.env[n].parts for n in carried}
        self.scopes.pop()
        enter = self.scopes.pop()
        self.env = env

        m = self.lanes()
        origin = outer.label
        m.do(f"br i1 {m.ins(f'icmp slt i64 {start}, {stop}')}, label %{before}, label %{exit_}")
        outer.lines += [f"{before}:", *enter.lines, f"  br label %{loop}", f"{loop}:"]
        if once:
            outer.lines += [*inner.lines, f"  br label %{exit_}"]
        else:
            following = self.names.value()
            outer.lines.append(f"  {i} = phi i64 [ {start}, %{enter.label} ], [ {following}, %{inner.label} ]")
            for n in carried:
                t = self._acc_type(env[n])
                for name, a, b in zip(phis[n], initial[n], final[n]):
                    outer.lines.append(f"  {name} = phi {t} [ {a}, %{enter.label} ], [ {b}, %{inner.label} ]")
            outer.lines += inner.lines
            outer.lines.append(f"  {following} = add nsw i64 {i}, {step}")
            m.do(f"br i1 {m.ins(f'icmp slt i64 {following}, {stop}')}, label %{loop}, label %{exit_}")
        outer.open(exit_)
        for n in carried:
            self._join(n, initial[n], origin, final[n], inner.label)

    def _straight(self, body: Callable[[], None]):
        """A scope without a block of its own: one iteration of an unrolled loop."""
        outer, env = self.scope, dict(self.env)
        inner = Scope(outer.label, outer.depth + 1)
        self.scopes.append(inner)
        body()
        self.scopes.pop()
        for n in env:
            if isinstance(env[n], Acc):
                env[n] = replace(self.env[n], depth=outer.depth)
        self.env = env
        outer.lines += inner.lines
        outer.label = inner.label

    def _acc_type(self, acc: Acc) -> str:
        return f"<{self.vectors.n} x {acc.type.reg}>" if acc.varying else acc.type.reg

    def _join(self, name: str, a_parts, a_label: str, b_parts, b_label: str):
        acc = self.env[name]
        t, m = self._acc_type(acc), self.lanes()
        parts = tuple(m.ins(f"phi {t} [ {a}, %{a_label} ], [ {b}, %{b_label} ]") for a, b in zip(a_parts, b_parts))
        self.env[name] = replace(acc, parts=parts, depth=self.scope.depth)

    def _vector_loop(self, s: ir.For):
        n, parts, tail = self._plan(s)
        carried = self._carried(s.body)
        outer = {name: self.env[name] for name in carried}
        stop, depth = self.index(s.extent)
        step, extent = n * parts, s.extent.value
        whole = all(c % step == 0 for _, c in s.extent.terms)
        main = stop if whole else str(extent // step * step) if extent is not None else self._op2("and", depth, stop, -step)
        v = Vectors(s.var, n, parts, len(self.scopes) + 1, varying={s.var}, across=frozenset(carried))
        self.vectors = v
        for name in carried:
            start = self.lanes(n).lit(outer[name].start, outer[name].type.reg)
            self.env[name] = replace(outer[name], parts=(start,) * parts, varying=True)
        if extent is None or extent >= step:
            self._counted("0", main, step, s.var, carried, lambda: self.body(s.body))
        for name in carried:
            acc = self.env[name]
            self.env[name] = replace(acc, parts=(self._tree(acc, list(acc.parts), n),))
        if tail == "mask" and not whole:
            self.vectors = replace(v, parts=1, varying={s.var})
            once = parts == 1 or (extent is not None and extent % step <= n)
            self._counted(main, stop, n, s.var, carried, lambda: self._masked(s, stop), once=once)
        for name in carried:
            self.env[name] = self._over_lanes(outer[name], self.env[name], n)
        self.vectors = None
        if tail == "scalar" and not whole:
            self._counted(main, stop, 1, s.var, carried, lambda: self.body(s.body))

    def _masked(self, s: ir.For, stop: str):
        i = self.env[s.var].parts[0]
        m = self.lanes()
        left = m.ins(f"sub i64 {stop}, {i}")
        self.vectors.mask = [self._first_lanes(left)]
        self.body(s.body)

    def _first_lanes(self, count: str) -> str:
        """The mask of lanes 0..count-1."""
        n = self.vectors.n
        m, v = self.lanes(), self.lanes(n)
        count = m.call("umin", "i64", count, str(n))
        if self.target.tail == "mask":
            width = max(n, 8)
            bits = m.ins(f"shl nsw i64 -1, {count}") if n < 64 else None
            if bits is None:
                bits = m.ins(f"lshr i64 -1, {m.ins(f'sub i64 64, {count}')}")
            else:
                bits = m.ins(f"xor i64 {bits}, -1")
            bits = m.cast("trunc", "i64", bits, f"i{n}")
            return m.ins(f"bitcast i{n} {bits} to <{n} x i1>") if width >= n else bits
        lane = f"i{self.target.vector_bits // n}"
        left = m.cast("trunc", "i64", count, lane)
        return v.cmp("slt", lane, v.iota(lane), v.splat(lane, left))

    def _op2(self, op: str, depth: int, a: str, b: int) -> str:
        return self.pure(depth, f"{op} i64 {a}, {b}")

    def _tree(self, acc: Acc, xs: list[str], n: int) -> str:
        m = self.lanes(n)
        while len(xs) > 1:
            xs = [fold(m, acc.op, acc.type, *pair) for pair in zip(xs[::2], xs[1::2])] + ([xs[-1]] if len(xs) % 2 else [])
        return xs[0]

    def _over_lanes(self, outer: Acc, acc: Acc, n: int) -> Acc:
        """Fold halves on halves down to a scalar, and that into the accumulator of outside."""
        x, s = acc.parts[0], acc.type.reg
        while n > 1:
            n //= 2
            lo, hi = (
                self.lanes(2 * n).ins(
                    f"shufflevector <{2 * n} x {s}> {x}, <{2 * n} x {s}> poison, <{n} x i32> "
                    + ("<" + ", ".join(f"i32 {i + k}" for i in range(n)) + ">")
                )
                if n > 1
                else self.lanes(2).extract(s, x, k)
                for k in (0, n)
            )
            x = fold(self.lanes(n), acc.op, acc.type, lo, hi)
        x = fold(self.lanes(), acc.op, acc.type, outer.parts[0], x)
        return replace(outer, parts=(x,), depth=self.scope.depth)

    def _plan(self, s: ir.For) -> tuple[int, int, str]:
        """(lanes, vectors per step, kind of tail) of a vector loop."""
        info = self.summary(s.body)
        n = max(2, self.target.vector_bits // info.bits)
        extent = s.extent.value
        if extent is not None:
            while n > 2 and n // 2 >= extent:
                n //= 2
        accumulators = max(1, len(info.initialised) + len(self._carried(s.body)))
        parts = 4 if info.cost <= 8 else 2 if info.cost <= 24 else 1
        while parts > 1 and (parts * accumulators > self.target.registers // 2 or (extent is not None and n * parts > extent)):
            parts //= 2
        tail = self.target.tail
        if tail == "maskmov":
            tail = "mask" if self._maskmov(s, info, n) else "scalar"
        return n, parts, tail

    def _maskmov(self, s: ir.For, info: Summary, n: int) -> bool:
        """AVX2 masks loads and stores of 4 and 8 bytes, at unit stride."""
        if not info.widths <= {4, 8} or self.target.vector_bits // n not in (32, 64):
            return False
        for offset in info.offsets:
            linear = offset.linear((s.var,))
            if linear is None or linear[0].get(s.var, as_expr(0)).value not in (0, 1) or not info.lets.isdisjoint(offset.free):
                return False
        return True

    def summary(self, stmts) -> Summary:
        out = self.summaries.get(id(stmts))
        if out is None:
            out = self.summaries[id(stmts)] = Summary.of(stmts)
        return out


class Summary:
    """What a list of statements holds: decides lanes, unrolling and phis."""

    def __init__(self):
        self.updated: dict[str, None] = {}
        self.initialised: set[str] = set()
        self.lets: set[str] = set()
        self.offsets: list[Expr] = []
        self.widths: set[int] = set()
        self.bits = 8
        self.cost = 0
        self._seen: set[int] = set()

    @staticmethod
    def of(stmts) -> Summary:
        out = Summary()
        out._body(stmts)
        return out

    def _body(self, stmts):
        for s in stmts:
            match s:
                case ir.For() | ir.If():
                    self._body(s.body)
                    if isinstance(s, ir.If):
                        self._value(s.cond)
                case ir.While():
                    self._body(s.body)
                    self._value(s.cond)
                case ir.Let():
                    self.lets.add(s.name)
                    self._value(s.value)
                case ir.Init():
                    self.initialised.add(s.name)
                    self.bits = max(self.bits, compute_bits(s.dtype))
                case ir.Update():
                    self.updated[s.name] = None
                    self.cost += 1
                    self._value(s.value)
                case ir.Store():
                    self._access(s.offset, type_of_value(s.value), s.where)
                    self._value(s.value)

    def _access(self, offset: Expr, dtype, where):
        self.offsets.append(offset)
        self.widths.add(type_of(dtype).size)
        self.cost += 1
        if where is not None:
            self._value(where)

    def _value(self, v):
        if id(v) in self._seen:
            return
        self._seen.add(id(v))
        if isinstance(v, ir.Const):
            return
        self.bits = max(self.bits, compute_bits(v.dtype))
        if isinstance(v, ir.Load):
            self._access(v.offset, v.dtype, v.where)
        elif isinstance(v, ir.Op):
            self.cost += COSTS.get(v.name, 1)
            for a in v.args:
                self._value(a)


def type_of_value(v: ir.Value):
    return v.dtype


def _written(k: ir.Kernel) -> set[str]:
    """Buffers and locals whose memory the kernel writes."""
    out = {b.name for b in k.buffers if b.access != "r"} | {x.name for x in k.locals}
    return out.union(*(b.inplace for b in k.buffers))


def _literal(value, t: Type) -> str:
    if t.kind == "b":
        return "true" if value else "false"
    if t.kind in "iu":
        return str(int(value))
    return float_bits(float(value), t.reg)
