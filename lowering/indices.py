"""Index arithmetic in LLVM: `Expr`s as i64 scalars, addresses and lane vectors, each in the outermost scope that can have it.

* Terms of a polynomial are summed from the outermost loop inwards, so that what an inner loop adds is one `getelementptr`.
* Instructions without effects are value-numbered by their text, per scope: writing one twice gives the first one's name.
* Division floors. It may be hoisted above a loop that does not run, where a divisor can be 0, so a divisor of 0 is replaced by 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sod2jax.ir.expr import FLOORDIV, MIN, MOD, SYM, Expr
from sod2jax.lowering.emit import I64, Lanes, Names, Scope, Type


@dataclass(slots=True)
class Val:
    """A value while it is emitted: one name per part if it varies over the lanes, else one scalar.

    `depth` is the scope it is defined in. `pure`: it may be remembered, for nothing that it read can be written.
    """

    type: Type
    parts: list[str]
    depth: int
    varying: bool = False
    pure: bool = True


@dataclass(slots=True)
class Vectors:
    """The vector loop being emitted: `parts` vectors of `n` lanes from index `var` on; `mask` says which lanes there are."""

    var: str
    n: int
    parts: int
    depth: int
    mask: list[str] | None = None
    varying: set[str] = field(default_factory=set)
    across: frozenset[str] = frozenset()  # accumulators that are reduced over the lanes


class IndexEmitter:
    """Scopes, names in scope, and index arithmetic."""

    def __init__(self, target):
        self.target = target
        self.names = Names()
        self.scopes: list[Scope] = [Scope("entry", 0)]
        self.env: dict[str, object] = {}
        self.at_least_0: set[str] = set()  # sizes and loop variables
        self.pointers: dict[str, tuple[Type, str]] = {}
        self.vectors: Vectors | None = None

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    def lanes(self, n: int = 1, depth: int = -1) -> Lanes:
        return Lanes(self.names, self.scopes[depth], n, self.target)

    def pure(self, depth: int, text: str) -> str:
        scope = self.scopes[depth]
        name = scope.cache.get(text)
        if name is None:
            name = scope.cache[text] = self.names.value()
            scope.lines.append(f"  {name} = {text}")
        return name

    def splat(self, v: Val, n: int) -> str:
        """The value in all lanes, made where the scalar is."""
        x, s = v.parts[0], v.type.reg
        if n == 1 or v.varying:
            return x
        if x[0] != "%":
            return f"splat ({s} {x})"
        one = self.pure(v.depth, f"insertelement <{n} x {s}> poison, {s} {x}, i64 0")
        return self.pure(v.depth, f"shufflevector <{n} x {s}> {one}, <{n} x {s}> poison, <{n} x i32> zeroinitializer")

    def part(self, v: Val, p: int) -> str:
        return v.parts[p] if v.varying else self.splat(v, self.vectors.n)

    # Scalars.
    def index(self, e: Expr) -> tuple[str, int]:
        """(name, depth) of an expression as i64."""
        if e.value is not None:
            return str(e.value), 0
        return self._sum(e.terms)

    def level(self, monomial) -> int:
        return max((self.env[name].depth for a in monomial for name in a.free), default=0)

    def _sum(self, terms) -> tuple[str, int]:
        constant, total, depth = 0, None, 0
        for level, m, c in sorted(((self.level(m), m, c) for m, c in terms), key=lambda t: t[0]):
            if not m:
                constant = c
                continue
            x = self._term(m, c)
            depth = max(depth, level)
            total = x if total is None else self._integer("add", depth, total, x)
        if constant:
            total = self._integer("add", depth, total, str(constant)) if total is not None else str(constant)
        return total or "0", depth

    def _term(self, monomial, coefficient: int) -> str:
        atoms = sorted(((self.level((a,)), i, a) for i, a in enumerate(monomial)), key=lambda t: t[:2])
        out = str(coefficient)
        for level, _, a in atoms:
            out = self._integer("mul", level, self._atom(a, level), out)
        return out

    def _integer(self, op: str, depth: int, a: str, b: str) -> str:
        literal = a[0] not in "%@" and b[0] not in "%@"
        if literal and op in ("add", "mul"):
            return str(int(a) + int(b) if op == "add" else int(a) * int(b))
        if (op, b) in (("mul", "1"), ("add", "0")):
            return a
        return self.pure(depth, f"{op} i64 {a}, {b}")

    def _atom(self, a, depth: int) -> str:
        if a.kind == SYM:
            return self._symbol(a.name)
        (x, _), (y, _), *more = map(self.index, a.args)
        if a.kind in (FLOORDIV, MOD):
            return self._divide(a.kind, depth, x, y, all(map(self.nonnegative, a.args)))
        name = "smin" if a.kind == MIN else "smax"
        for z in (y, *(z for z, _ in more)):
            x = self.pure(depth, f"call i64 @llvm.{name}.i64(i64 {x}, i64 {z})")
        return x

    def _symbol(self, name: str) -> str:
        v: Val = self.env[name]
        if v.type is I64 or v.type.bits == 64:
            return v.parts[0]
        if v.parts[0][0] != "%":
            return v.parts[0]
        return self.pure(v.depth, f"{'sext' if v.type.kind == 'i' else 'zext'} {v.type.reg} {v.parts[0]} to i64")

    def _divide(self, kind: str, depth: int, a: str, b: str, nonnegative: bool) -> str:
        op = lambda o, x, y: self._integer(o, depth, x, y)
        n = int(b) if b[0] not in "%@" else None
        if n is not None and n > 0 and n & (n - 1) == 0:
            return op("ashr", a, str(n.bit_length() - 1)) if kind == FLOORDIV else op("and", a, str(n - 1))
        if n is None:
            zero = self.pure(depth, f"icmp eq i64 {b}, 0")
            b = self.pure(depth, f"select i1 {zero}, i64 1, i64 {b}")
        if nonnegative:
            return op("udiv" if kind == FLOORDIV else "urem", a, b)
        q = op("sdiv", a, b)
        r = op("sub", a, op("mul", q, b))
        other_sign = self.pure(depth, f"icmp slt i64 {op('xor', r, b)}, 0")
        wrong = self.pure(depth, f"select i1 {self.pure(depth, f'icmp ne i64 {r}, 0')}, i1 {other_sign}, i1 false")
        if kind == FLOORDIV:
            return op("add", q, self.pure(depth, f"sext i1 {wrong} to i64"))
        return op("add", r, self.pure(depth, f"select i1 {wrong}, i64 {b}, i64 0"))

    def nonnegative(self, e: Expr) -> bool:
        """Whether an expression is certainly not negative, as sums and products of sizes and loop variables are."""
        return all(c >= 0 and all(map(self._atom_nonnegative, m)) for m, c in e.terms)

    def _atom_nonnegative(self, a) -> bool:
        if a.kind == SYM:
            return a.name in self.at_least_0
        if a.kind == MOD:
            return self.nonnegative(a.args[1])
        return (any if a.kind == "max" else all)(map(self.nonnegative, a.args))

    def address(self, buffer: str, e: Expr) -> tuple[str, int]:
        """(pointer, depth) of element `e`."""
        type, pointer = self.pointers[buffer]
        levels: dict[int, list] = {}
        constant = 0
        for m, c in e.terms:
            if m:
                levels.setdefault(self.level(m), []).append((m, c))
            else:
                constant = c
        depth = 0
        for depth in sorted(levels):
            x, _ = self._sum(levels[depth])
            pointer = self.pure(depth, f"getelementptr {type.mem}, ptr {pointer}, i64 {x}")
        if constant:
            pointer = self.pure(depth, f"getelementptr {type.mem}, ptr {pointer}, i64 {constant}")
        return pointer, depth

    # Vectors.
    def varies(self, e: Expr) -> bool:
        return self.vectors is not None and not self.vectors.varying.isdisjoint(e.free)

    def stride(self, e: Expr) -> Expr | None:
        """The coefficient of the vector variable, if `e` is affine in it and nothing else in `e` varies."""
        v = self.vectors
        if v.varying.intersection(e.free) != {v.var}:
            return None
        linear = e.linear((v.var,))
        if linear is None or self.varies(linear[0][v.var]):
            return None
        return linear[0][v.var]

    def index_lanes(self, e: Expr, p: int, s: str = "i64") -> str:
        """Part `p` of a varying expression, as lanes of the integer type `s` (whose width it wraps to)."""
        v = self.vectors
        stride = self.stride(e)
        if stride is None:
            return self._cast_lanes(self._lanes_sum(e, p), s)
        base, depth = self.index(e)
        if s != "i64":
            base = self.pure(depth, f"trunc i64 {base} to {s}") if base[0] == "%" else base
        m = self.lanes(v.n, v.depth)
        start = self._splat_text(depth, s, base)
        if stride.value is not None:
            steps = m.iota(s, stride.value, p * v.n * stride.value)
        else:
            x, at = self.index(stride)
            if s != "i64":
                x = self.pure(at, f"trunc i64 {x} to {s}")
            steps = self.pure(at, f"mul {m.vt(s)} {self._splat_text(at, s, x)}, {m.iota(s, 1, p * v.n)}")
        return self.pure(depth, f"add {m.vt(s)} {start}, {steps}")

    def _splat_text(self, depth: int, s: str, x: str) -> str:
        n = self.vectors.n
        if x[0] != "%":
            return f"splat ({s} {x})" if n > 1 else x
        if n == 1:
            return x
        one = self.pure(depth, f"insertelement <{n} x {s}> poison, {s} {x}, i64 0")
        return self.pure(depth, f"shufflevector <{n} x {s}> {one}, <{n} x {s}> poison, <{n} x i32> zeroinitializer")

    def _cast_lanes(self, x: str, s: str) -> str:
        return x if s == "i64" else self.pure(-1, f"trunc <{self.vectors.n} x i64> {x} to <{self.vectors.n} x {s}>")

    def _lanes_sum(self, e: Expr, p: int) -> str:
        """What is not affine, lane by lane: term after term."""
        if not self.varies(e):
            x, depth = self.index(e)
            return self._splat_text(depth, "i64", x)
        if self.stride(e) is not None:
            return self.index_lanes(e, p)
        vt = f"<{self.vectors.n} x i64>"
        total = None
        for m, c in e.terms:
            term = f"splat (i64 {c})"
            for a in m:
                x = self._lanes_atom(a, p)
                term = x if term == "splat (i64 1)" else self.pure(-1, f"mul {vt} {x}, {term}")
            total = term if total is None else self.pure(-1, f"add {vt} {total}, {term}")
        return total

    def _lanes_atom(self, a, p: int) -> str:
        if not self.varies(a.expr) or (a.kind == SYM and a.name == self.vectors.var):
            return self._lanes_sum(a.expr, p)
        n = self.vectors.n
        if a.kind == SYM:
            v: Val = self.env[a.name]
            if v.type.bits == 64:
                return v.parts[p]
            return self.pure(-1, f"{'sext' if v.type.kind == 'i' else 'zext'} <{n} x {v.type.reg}> {v.parts[p]} to <{n} x i64>")
        args = [self._lanes_sum(x, p) for x in a.args]
        if a.kind in (FLOORDIV, MOD):
            return self._lanes_divide(a.kind, *args)
        x = args[0]
        for y in args[1:]:
            x = self.pure(-1, f"call <{n} x i64> @llvm.s{a.kind}.v{n}i64(<{n} x i64> {x}, <{n} x i64> {y})")
        return x

    def _lanes_divide(self, kind: str, a: str, b: str) -> str:
        """By f64: floor(a / b) is exact for |a| < 2**52, and an offset is less."""
        n = self.vectors.n
        i, d = f"<{n} x i64>", f"<{n} x double>"
        wide = [self.pure(-1, f"sitofp {i} {x} to {d}") for x in (a, b)]
        q = self.pure(-1, f"fdiv {d} {wide[0]}, {wide[1]}")
        q = self.pure(-1, f"call {d} @llvm.floor.v{n}f64({d} {q})")
        if kind == FLOORDIV:
            return self.pure(-1, f"fptosi {d} {q} to {i}")
        r = self.pure(-1, f"fsub {d} {wide[0]}, {self.pure(-1, f'fmul {d} {q}, {wide[1]}')}")
        return self.pure(-1, f"fptosi {d} {r} to {i}")
