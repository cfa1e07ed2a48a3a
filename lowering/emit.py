"""LLVM IR as text: types, scopes of lines, and a builder of instructions over one vector.

* A `Type` says how a dtype is held: f16, bf16 and narrower floats live in registers as rounded f32 (`lowering.narrow`), bool as
  i1, a mask bit, and in memory as a byte, as integers of less than 8 bits do.
* A `Scope` is a straight list of lines that ends in an open block. Scopes nest as the loops do; appending to an outer scope while
  an inner one is being written is how an invariant is hoisted, for the outer text ends before the inner loop.
* A `Lanes` writes instructions on values of n lanes (n = 1: plain scalars) to one scope, and returns their names.
* Text, not an object model: a kernel is a few hundred lines, and LLVM's parser reads them in under a millisecond.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from functools import cache

import numpy as np

from sod2jax.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Type:
    """A dtype. `kind` is b, i, u or f; `reg` and `mem` are LLVM's types in a register and in memory; `small`: rounded f32."""

    name: str
    kind: str
    bits: int
    reg: str
    mem: str
    size: int
    small: bool = False

    @property
    def mem_bits(self) -> int:
        return self.size * 8

    @property
    def int(self) -> str:
        """The integer type as wide as the register type."""
        return {"float": "i32", "double": "i64"}.get(self.reg, self.reg)


_INTEGERS = [(f"{p}int{b}", p or "i", b) for p in ("", "u") for b in (2, 4, 8, 16, 32, 64)]
_FLOATS8 = ("e3m4", "e4m3", "e5m2", "e4m3fn", "e4m3fnuz", "e5m2fnuz", "e4m3b11fnuz", "e8m0fnu")
TYPES = {
    "bool": Type("bool", "b", 1, "i1", "i8", 1),
    **{name: Type(name, kind, bits, f"i{bits}", f"i{max(bits, 8)}", max(bits // 8, 1)) for name, kind, bits in _INTEGERS},
    **{f"float8_{name}": Type(f"float8_{name}", "f", 8, "float", "i8", 1, small=True) for name in _FLOATS8},
    "float4_e2m1fn": Type("float4_e2m1fn", "f", 4, "float", "i8", 1, small=True),
    "float16": Type("float16", "f", 16, "float", "half", 2, small=True),
    "bfloat16": Type("bfloat16", "f", 16, "float", "i16", 2, small=True),
    "float32": Type("float32", "f", 32, "float", "float", 4),
    "float64": Type("float64", "f", 64, "double", "double", 8),
}
BOOL, I32, I64, F32, F64 = (TYPES[n] for n in ("bool", "int32", "int64", "float32", "float64"))


@cache
def type_of(dtype) -> Type:
    name = np.dtype(dtype).name
    if name not in TYPES:
        raise UnsupportedError(
            f"no machine code for dtype {name} yet; the CPU back end knows {', '.join(TYPES)}. "
            "Cast it, or keep that part in jax.jit."
        )
    return TYPES[name]


def float_bits(value: float, reg: str = "float") -> str:
    """A floating constant as LLVM writes it: the bits of the double, which for `float` must be a rounded f32."""
    if reg == "float":
        with np.errstate(over="ignore"):
            value = float(np.float32(value))
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


class Scope:
    """Lines of text ending in the open block `label`; `cache` holds what has been computed here.

    `hoists`: the scope around this one is entered only if this one is, so that loads may move there.
    """

    __slots__ = ("cache", "depth", "hoists", "label", "lines")

    def __init__(self, label: str, depth: int, hoists: bool = False):
        self.hoists = hoists
        self.lines: list[str] = []
        self.label = label
        self.cache: dict = {}
        self.depth = depth

    def open(self, label: str):
        """Start the block `label`; the block before must have been ended."""
        self.lines.append(f"{label}:")
        self.label = label


class Names:
    """Fresh SSA names and labels of one function, and the internal functions it calls."""

    def __init__(self):
        self._values = itertools.count()
        self._labels = itertools.count()
        self.functions: dict[str, str] = {}

    def value(self) -> str:
        return f"%t{next(self._values)}"

    def label(self, stem: str) -> str:
        return f"{stem}{next(self._labels)}"


class Lanes:
    """Instructions on values of `n` lanes, appended to `scope`. Types are LLVM's scalar types: "float", "i32"."""

    __slots__ = ("_lines", "n", "names", "scope", "target")

    def __init__(self, names: Names, scope: Scope, n: int, target):
        self.names, self.scope, self.n, self.target = names, scope, n, target
        self._lines = scope.lines

    def vt(self, s: str) -> str:
        return s if self.n == 1 else f"<{self.n} x {s}>"

    def suffix(self, s: str) -> str:
        """The name of the type in an intrinsic's name."""
        short = {"float": "f32", "double": "f64", "half": "f16", "ptr": "p0"}.get(s, s)
        return short if self.n == 1 else f"v{self.n}{short}"

    def ins(self, text: str) -> str:
        name = self.names.value()
        self._lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str):
        self._lines.append(f"  {text}")

    # Constants: a literal of the vector type.
    def lit(self, text, s: str) -> str:
        return str(text) if self.n == 1 else f"splat ({s} {text})"

    def flt(self, value: float, s: str) -> str:
        return self.lit(float_bits(value, s), s)

    def iota(self, s: str, step: int = 1, start: int = 0) -> str:
        """start, start + step, ... wrapped to the width of the integer type `s`."""
        half = 1 << (int(s[1:]) - 1)
        lanes = [(start + i * step + half) % (2 * half) - half for i in range(self.n)]
        return str(lanes[0]) if self.n == 1 else "<" + ", ".join(f"{s} {x}" for x in lanes) + ">"

    # Instructions.
    def bin(self, op: str, s: str, a: str, b: str) -> str:
        return self.ins(f"{op} {self.vt(s)} {a}, {b}")

    def cmp(self, pred: str, s: str, a: str, b: str) -> str:
        return self.ins(f"{'fcmp' if s in ('float', 'double') else 'icmp'} {pred} {self.vt(s)} {a}, {b}")

    def select(self, cond: str, s: str, a: str, b: str) -> str:
        return self.ins(f"select {self.vt('i1')} {cond}, {self.vt(s)} {a}, {self.vt(s)} {b}")

    def cast(self, op: str, src: str, x: str, dst: str) -> str:
        return x if src == dst else self.ins(f"{op} {self.vt(src)} {x} to {self.vt(dst)}")

    def call(self, intrinsic: str, s: str, *args: str, extra: str = "") -> str:
        """An intrinsic overloaded on one type, which is its arguments' and its result's."""
        t = self.vt(s)
        return self.ins(f"call {t} @llvm.{intrinsic}.{self.suffix(s)}({', '.join(f'{t} {a}' for a in args)}{extra})")

    def fma(self, s: str, a: str, b: str, c: str) -> str:
        return self.call("fma", s, a, b, c)

    def fneg(self, s: str, x: str) -> str:
        return self.ins(f"fneg {self.vt(s)} {x}")

    def fabs(self, s: str, x: str) -> str:
        return self.call("fabs", s, x)

    def copysign(self, s: str, x: str, sign: str) -> str:
        return self.call("copysign", s, x, sign)

    def bits(self, s: str, x: str) -> str:
        return self.cast("bitcast", s, x, _INT_OF[s])

    def from_bits(self, s: str, x: str) -> str:
        return self.cast("bitcast", _INT_OF[s], x, s)

    def splat(self, s: str, x: str) -> str:
        """A scalar in every lane."""
        if self.n == 1:
            return x
        if x[0] not in "%@":
            return f"splat ({s} {x})"
        t = self.vt(s)
        one = self.ins(f"insertelement {t} poison, {s} {x}, i64 0")
        return self.ins(f"shufflevector {t} {one}, {t} poison, <{self.n} x i32> zeroinitializer")

    def extract(self, s: str, x: str, lane: int) -> str:
        return x if self.n == 1 else self.ins(f"extractelement {self.vt(s)} {x}, i64 {lane}")

    def insert(self, s: str, x: str, value: str, lane: int) -> str:
        return value if self.n == 1 else self.ins(f"insertelement {self.vt(s)} {x}, {s} {value}, i64 {lane}")

    def any(self, mask: str) -> str:
        """An i1: whether some lane of a mask is set."""
        return mask if self.n == 1 else self.ins(f"call i1 @llvm.vector.reduce.or.{self.suffix('i1')}({self.vt('i1')} {mask})")

    def branch_if(self, cond: str, types: tuple[str, ...], otherwise: tuple[str, ...], then) -> list[str]:
        """`then()` where the scalar `cond` holds, else `otherwise`: a block of its own for what is rarely needed."""
        rare, join = self.names.label("rare"), self.names.label("join")
        origin = self.scope.label
        self.do(f"br i1 {cond}, label %{rare}, label %{join}, !prof !0")
        self.scope.open(rare)
        results = then()
        last = self.scope.label
        self.do(f"br label %{join}")
        self.scope.open(join)
        return [self.ins(f"phi {self.vt(s)} [ {a}, %{origin} ], [ {b}, %{last} ]") for s, a, b in zip(types, otherwise, results)]


_INT_OF = {"float": "i32", "double": "i64", "half": "i16"}
