"""The loop IR in NumPy: what every statement and scalar function means, and the oracle of the backends.

* A vector loop runs its body once, with an array of all its indices in place of the variable; other loops run in Python.
* Every scalar function is one row of `SCALAR`; narrow floats are computed in f32 and rounded after each function, f32's
  transcendental functions in f64 and rounded, so that a backend's error is its own.
* It is strict: an access that no mask hides must lie within its buffer.
* `panel` is the width of packed panels, a property of a target's microkernel; kernels with a Gemm need it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import ml_dtypes
import numpy as np

from sod2jax.ir import loops as ir
from sod2jax.ir.expr import Expr, as_expr, postfix

INDEX = np.dtype(np.int64)


class Watch(Protocol):
    """What is told of each access to a buffer or a local: its name and the elements."""

    def read(self, buffer: str, elements: np.ndarray) -> None: ...
    def write(self, buffer: str, elements: np.ndarray) -> None: ...


def run(
    kernel: ir.Kernel,
    buffers: dict[str, np.ndarray],
    sizes: dict[str, int],
    begin: int = 0,
    end: int | None = None,
    *,
    panel: int | None = None,
    watch: Watch | None = None,
) -> None:
    """Run iterations `begin` to `end` (all by default) of a kernel on flat arrays, in place. `watch` sees every access."""
    end = kernel.extent.eval(sizes) if end is None else end
    memory = {b.name: _flat(buffers[b.name], b.dtype) for b in kernel.buffers}
    with np.errstate(all="ignore"):
        for i in range(begin, end):
            scratch = {x.name: np.zeros(x.extent.eval(sizes), x.dtype) for x in kernel.locals}
            env = {k: np.int64(v) for k, v in sizes.items()} | {kernel.var: np.int64(i)}
            _Run(memory | scratch, env, panel, watch).body(kernel.body)


def _flat(array: np.ndarray, dtype) -> np.ndarray:
    if array.dtype != dtype:
        raise TypeError(f"a buffer of {dtype} was given {array.dtype}")
    flat = array.reshape(-1)
    if array.size and not np.shares_memory(flat, array):
        raise ValueError("buffers must be contiguous")
    return flat


@dataclass
class _Acc:
    op: str
    dtype: np.dtype
    value: np.ndarray  # narrow floats in f32
    lanes: int | None  # of the vector loop it was initialised in


class _Run:
    def __init__(self, memory, env, panel, watch: Watch | None = None):
        self.memory, self.env, self.panel, self.watch = memory, env, panel, watch
        self.lanes: int | None = None

    # Statements.
    def body(self, stmts):
        for s in stmts:
            self.STATEMENTS[type(s)](self, s)

    def _for(self, s: ir.For):
        n = int(self.index(s.extent))
        if s.kind == "vector" and self.lanes is None:
            if n > 0:
                self.lanes = n
                self.env[s.var] = np.arange(n, dtype=INDEX)
                self.body(s.body)
                self.lanes = None
            return
        for i in range(n):
            self.env[s.var] = np.int64(i)
            self.body(s.body)

    def _let(self, s: ir.Let):
        self.env[s.name] = self.value(s.value)

    def _init(self, s: ir.Init):
        dtype = np.dtype(s.dtype)
        wide = _wide(dtype)
        start = np.full((self.lanes,) if self.lanes else (), ir.identity(s.op, dtype), wide)
        self.env[s.name] = _Acc(s.op, dtype, start, self.lanes)

    def _update(self, s: ir.Update):
        acc: _Acc = self.env[s.name]
        x = np.asarray(self.value(s.value)).astype(acc.value.dtype)
        if self.lanes and acc.lanes is None:
            x = _fold(acc.op).reduce(np.broadcast_to(x, (self.lanes,)))
        self.env[s.name] = _Acc(acc.op, acc.dtype, _fold(acc.op)(acc.value, x).astype(acc.value.dtype), acc.lanes)

    def _store(self, s: ir.Store):
        at, value = self.index(s.offset), self.value(s.value)
        where = True if s.where is None else self.value(s.where)
        at, value, where = np.broadcast_arrays(at, value, where)
        at, value = at[where], value[where]
        self._check(s.buffer, at)
        if self.watch is not None:
            self.watch.write(s.buffer, at)
        self.memory[s.buffer][at] = value

    def _if(self, s: ir.If):
        cond = np.asarray(self.value(s.cond))
        if cond.ndim:
            raise ValueError("the condition of an If varies over a vector loop")
        if cond:
            self.body(s.body)

    def _while(self, s: ir.While):
        for _ in range(int(self.index(s.limit))):
            self.body(s.body)
            if not self.value(s.cond):
                break

    def _gemm(self, s: ir.Gemm):
        i = lambda e: int(self.index(as_expr(e)))
        a, b, c = self.memory[s.a], self.memory[s.b], self.memory[s.c]
        batch, rows, columns, k = i(s.batch), i(s.rows), i(s.columns), i(s.k)
        starts = self.memory[s.offsets][:batch] if s.offsets else np.zeros(batch, INDEX)
        r, p, j = np.arange(rows), np.arange(k), np.arange(columns)
        out = np.zeros((rows, columns), np.float64)
        for n, start in enumerate(starts):
            from_a = i(s.a_offset) + start + r[:, None] * i(s.a_row) + p * i(s.a_col)
            from_b = i(s.b_offset) + ((n * k + p) * self.panel)[:, None] + j
            if self.watch is not None:
                self.watch.read(s.a, from_a)
                self.watch.read(s.b, from_b)
            x, y = a[from_a], b[from_b]
            out += x.astype(np.float64) @ y.astype(np.float64)
        at = i(s.c_offset) + r[:, None] * i(s.ldc) + j
        if self.watch is not None:
            if i(s.accumulate):
                self.watch.read(s.c, at)
            self.watch.write(s.c, at)
        c[at] = (out + c[at] if i(s.accumulate) else out).astype(c.dtype)

    STATEMENTS: ClassVar = {
        ir.For: _for, ir.Let: _let, ir.Init: _init, ir.Update: _update, ir.Store: _store, ir.If: _if, ir.While: _while,
        ir.Gemm: _gemm,
    }  # fmt: skip

    # Values.
    def value(self, v: ir.Value):
        match v:
            case ir.Const():
                return np.asarray(v.value).astype(v.dtype)
            case ir.Index():
                return np.asarray(self.index(v.expr)).astype(v.dtype)
            case ir.Load():
                return self._load(v)
            case ir.Ref():
                x = self.env[v.name]
                return x.value.astype(x.dtype) if isinstance(x, _Acc) else x
        return scalar(v.name, v.dtype, *map(self.value, v.args))

    def _load(self, v: ir.Load):
        at = np.asarray(self.index(v.offset))
        buffer = self.memory[v.buffer]
        if v.where is None:
            self._check(v.buffer, at)
            if self.watch is not None:
                self.watch.read(v.buffer, at)
            return buffer[at]
        at, where = np.broadcast_arrays(at, self.value(v.where))
        self._check(v.buffer, at[where])
        if self.watch is not None:
            self.watch.read(v.buffer, at[where])
        out = np.zeros(at.shape, buffer.dtype)
        out[where] = buffer[at[where]]
        return out

    def _check(self, name: str, at):
        size = self.memory[name].size
        bad = np.logical_or(at < 0, at >= size)
        if np.any(bad):
            raise IndexError(f"{name}[{np.asarray(at)[bad].reshape(-1)[0]}] is outside of its {size} elements")

    def index(self, e: Expr):
        stack: list = []
        for op, operand in _postfix(e):
            if op == "CONST":
                stack.append(np.int64(operand))
            elif op == "SYM":
                stack.append(np.asarray(self.env[operand]).astype(INDEX)[()])
            else:
                b = stack.pop()
                stack.append(INDEX_OPS[op](stack.pop(), b))
        return stack[0]


INDEX_OPS = {
    "ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "FLOORDIV": np.floor_divide, "MOD": np.mod,
    "MIN": np.minimum, "MAX": np.maximum,
}  # fmt: skip


@lru_cache(maxsize=1 << 12)
def _postfix(e: Expr):
    return postfix(e)


def _fold(op: str):
    return {
        "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
        "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "set": lambda _, new: new,
    }[op]  # fmt: skip


# Scalar functions.


def is_float(dtype) -> bool:
    return "float" in np.dtype(dtype).name


def _wide(dtype) -> np.dtype:
    """The dtype that a dtype is computed in."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float32) if is_float(dtype) and dtype.itemsize <= 2 else dtype


def scalar(name: str, dtype, *args):
    """The scalar function `name` on arrays; `dtype` is the result's."""
    args = [np.asarray(a) for a in args]
    if name == "convert":
        return convert(args[0], np.dtype(dtype))
    if name == "bitcast":
        return args[0].view(dtype)
    if name == "select":
        return np.where(*args)
    if name == "nextafter":
        return np.nextafter(*args)
    source = args[0].dtype
    args = [a.astype(_wide(a.dtype)) for a in args]
    row = SCALAR[name]
    if name in TRANSCENDENTAL and args[0].dtype == np.float32:
        out = row(*(a.astype(np.float64) for a in args)).astype(np.float32)
    else:
        out = row(*args)
    return np.asarray(out).astype(dtype if name in TESTS or is_float(source) else source)


def convert(x: np.ndarray, dtype: np.dtype):
    """Saturating from float to integer, NaN to 0; anything else as NumPy."""
    if not is_float(x.dtype) or "int" not in dtype.name:
        return x != 0 if dtype.kind == "b" else x.astype(dtype)
    info = ml_dtypes.iinfo(dtype)
    x = np.trunc(x.astype(np.float64))
    low, high = float(info.min), float(info.max)  # high may round up to the first value that is too large
    inside = (x > low) & (x < high)
    out = np.where(inside, x, 0).astype(dtype)
    out = np.where(x <= low, np.array(info.min, dtype), out)
    return np.where(x >= high, np.array(info.max, dtype), out)


def _int_div(a, b):
    """Truncating; x / 0 is all ones, INT_MIN / -1 wraps."""
    safe = np.where(b == 0, 1, b).astype(a.dtype)
    if a.dtype.kind == "u":
        return np.where(b == 0, np.array(np.iinfo(a.dtype).max, a.dtype), a // safe)
    q = np.where(safe == -1, -a, a // np.where(safe == -1, 1, safe))
    r = a - q * safe
    q = np.where((r != 0) & (safe != -1) & ((r < 0) == (safe < 0)) & ((a < 0) != (safe < 0)), q + 1, q)
    return np.where(b == 0, -1, q).astype(a.dtype)


def _int_rem(a, b):
    q = _int_div(a, b)
    return np.where(b == 0, a, a - q * b).astype(a.dtype)


def _shift(left: bool, signed: bool):
    def function(x, n):
        bits = x.dtype.itemsize * 8
        u = np.dtype(f"u{x.dtype.itemsize}")
        over = n.view(u) >= bits
        count = np.where(over, 0, n.view(u)).astype(u)
        if signed:
            s = x.view(f"i{x.dtype.itemsize}")
            return np.where(over, s >> (bits - 1), s >> count.view(s.dtype)).astype(s.dtype).view(x.dtype)
        out = x.view(u) << count if left else x.view(u) >> count
        return np.where(over, 0, out).astype(u).view(x.dtype)

    return function


def _int_pow(x, n):
    """Square and multiply; a negative exponent gives 0, or a unit's power."""
    out, base, rest = np.ones_like(x), x.copy(), n.copy()
    for _ in range(x.dtype.itemsize * 8):
        out = np.where(rest & 1, out * base, out)
        base, rest = base * base, rest.view(f"u{x.dtype.itemsize}") >> 1
    if x.dtype.kind == "u":
        return out
    unit = np.where(x == 1, 1, np.where(x == -1, np.where(n & 1, -1, 1), 0))
    return np.where(n < 0, unit, out)


def _clz(x):
    bits = x.dtype.itemsize * 8
    u = x.view(f"u{x.dtype.itemsize}")
    return sum((u >> np.array(i, u.dtype) == 0).astype(x.dtype) for i in range(bits))


def _round_away(x):
    r = np.trunc(x)
    return np.copysign(np.where(np.abs(x - r) >= 0.5, r + np.copysign(1, x), r), x)


def _sign(x):
    return np.where(np.isnan(x) | (x == 0), x, np.copysign(1, x)) if x.dtype.kind == "f" else np.sign(x)


def _fma(a, b, c):
    wide = np.float64 if a.dtype == np.float32 else np.longdouble
    return (a.astype(wide) * b + c).astype(a.dtype)


def _by(kind_f, kind_i, kind_b=None):
    """By the kind of the first operand."""
    return lambda *args: {"f": kind_f, "b": kind_b or kind_i}.get(args[0].dtype.kind, kind_i)(*args)


def _each(function):
    return lambda x: np.vectorize(function, otypes=[np.float64])(x).astype(x.dtype)


TESTS = frozenset(("is_finite", "eq", "ne", "lt", "le", "gt", "ge"))
TRANSCENDENTAL = frozenset(
    """exp exp2 expm1 log log1p tanh logistic erf erfc sqrt rsqrt cbrt sin cos tan asin acos atan sinh cosh asinh acosh atanh pow
    atan2""".split()  # noqa: SIM905
)
SCALAR = {
    "neg": np.negative,
    "abs": lambda x: x if x.dtype.kind == "b" else np.abs(x),
    "sign": _sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "round_even": np.rint,
    "round_away": _round_away,
    "not": np.invert,
    "is_finite": np.isfinite,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "logistic": lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
    "erf": _each(math.erf),
    "erfc": _each(math.erfc),
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "cbrt": np.cbrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "popcount": lambda x: np.bitwise_count(x.view(f"u{x.dtype.itemsize}")),
    "clz": _clz,
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _by(np.divide, _int_div),
    "rem": _by(np.fmod, _int_rem),
    "max": _by(lambda a, b: np.where((a == 0) & (b == 0), a + b, np.maximum(a, b)), np.maximum),
    "min": _by(lambda a, b: np.where((a == 0) & (b == 0), -(-a - b), np.minimum(a, b)), np.minimum),
    "pow": _by(np.power, _int_pow),
    "atan2": np.arctan2,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "shift_left": _shift(left=True, signed=False),
    "shift_right_logical": _shift(left=False, signed=False),
    "shift_right_arithmetic": _shift(left=False, signed=True),
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "nextafter": np.nextafter,
    "fma": _by(_fma, lambda a, b, c: a * b + c),
}
