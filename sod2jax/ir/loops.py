"""The loop IR: what a kernel is before it becomes machine code.

The grammar, whole::

    kernel = Kernel(name, buffers, sizes, locals, var, extent, body)
    stmt   = For(var, extent, body, kind)              kind: "serial" | "vector" | "unroll"
           | Let(name, value)                          a scalar or vector register
           | Init(name, op, dtype)                     an accumulator, at op's identity
           | Update(name, value)                       accumulator = op(accumulator, value)
           | Store(buffer, offset, value, where)
           | If(cond, body)                            cond is uniform: it depends on no vector variable
           | While(body, cond, limit)                  body once, and again while cond, at most limit times (1 at least)
           | Gemm(...)                                 one call of the batch-reduce GEMM microkernel
    value  = Const(value, dtype) | Index(expr, dtype) | Load(buffer, offset, dtype, where)
           | Op(name, args, dtype) | Ref(name, dtype)

* Offsets count elements, never bytes. They are `Expr`s over sizes, loop variables and integer `Let` names.
* A kernel runs `for var in range(begin, end)`, a slice of `range(extent)` that the runtime hands to a thread.
* `For(kind="vector")` asks for explicit vectors with a masked tail. An accumulator initialised outside of the loop and updated
  inside is reduced over the lanes when the loop ends; one initialised inside lives per lane.
* `locals` are per-thread scratch; nothing in them survives from one iteration of the parallel loop to the next.
* Everything is immutable and printable (`ir.text`), and `ir.interp` runs it in NumPy: the oracle of every backend.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from sod2jax.ir.expr import Expr


@dataclass(frozen=True, slots=True, eq=False)
class Const:
    """A literal; `value` is a Python bool, int, float or complex. Zeros of two signs differ; a NaN equals itself."""

    value: object
    dtype: np.dtype

    def _bits(self):
        ordinary = self.value == self.value and self.value != 0
        return self.value if ordinary else np.complex128(self.value).tobytes()

    def __eq__(self, other):
        return isinstance(other, Const) and self.dtype == other.dtype and self._bits() == other._bits()

    def __hash__(self):
        return hash((self._bits(), self.dtype))


@dataclass(frozen=True, slots=True)
class Index:
    """An index expression as a value of an integer dtype."""

    expr: Expr
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class Load:
    """One element. Where `where` is false nothing is read and the value is zero."""

    buffer: str
    offset: Expr
    dtype: np.dtype
    where: Value | None = None


@dataclass(frozen=True, slots=True)
class Op:
    """A scalar function of `SCALAR_OPS` applied to values; `dtype` is the result's."""

    name: str
    args: tuple[Value, ...]
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of a `Let`, or of an accumulator after its loop."""

    name: str
    dtype: np.dtype


Value = Const | Index | Load | Op | Ref


@dataclass(frozen=True, slots=True)
class For:
    var: str
    extent: Expr
    body: tuple[Stmt, ...]
    kind: str = "serial"


@dataclass(frozen=True, slots=True)
class Let:
    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Init:
    name: str
    op: str  # a key of FOLDS
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class Update:
    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Store:
    buffer: str
    offset: Expr
    value: Value
    where: Value | None = None


@dataclass(frozen=True, slots=True)
class If:
    cond: Value
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class While:
    body: tuple[Stmt, ...]
    cond: Value  # after each run of the body, with its definitions in scope
    limit: Expr


@dataclass(frozen=True, slots=True)
class Gemm:
    """c[r, j] (+)= sum over i < batch, p < k of a[offsets[i] + r*a_row + p*a_col] * b[(i*k + p)*panel + j].

    For r < rows and j < vectors * lanes. `b` is a packed panel (`panel` columns, zero-padded, K-major); `offsets` names an int64
    buffer of `batch` element offsets into `a`, or is None for a single offset of 0. `rows` may exceed what one register tile
    holds: the microkernel steps through them. `accumulate` is 0 (overwrite c) or 1.
    """

    c: str
    c_offset: Expr
    ldc: Expr
    a: str
    a_offset: Expr
    a_row: Expr
    a_col: Expr
    offsets: str | None
    batch: Expr
    b: str
    b_offset: Expr
    rows: Expr
    columns: Expr  # of the panel that are wanted, 1..panel; c may be written up to the next whole vector
    k: Expr
    accumulate: Expr
    dtype: np.dtype


Stmt = For | Let | Init | Update | Store | If | While | Gemm


@dataclass(frozen=True, slots=True)
class Buffer:
    """A pointer argument. `access` is "r", "w" (what it held before does not matter; it may be read after it is written) or "rw".

    `inplace` names buffers that this one may lie over: each of their elements is read only before this one's is written, by the
    same iteration of the parallel loop. No other two buffers of a kernel overlap.
    """

    name: str
    dtype: np.dtype
    access: str
    inplace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Local:
    """Per-thread scratch of `extent` elements, 64-byte aligned."""

    name: str
    dtype: np.dtype
    extent: Expr


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function `(buffers, sizes, begin, end, scratch)`; `sizes` are its int64 arguments."""

    name: str
    buffers: tuple[Buffer, ...]
    sizes: tuple[str, ...]
    locals: tuple[Local, ...]
    var: str
    extent: Expr
    body: tuple[Stmt, ...]


# Monoids of Init/Update, with their identity for a dtype. "set" keeps the last value: a register, outside of vector loops.
FOLDS = ("add", "mul", "max", "min", "and", "or", "xor", "set")

# The closed set of scalar functions, by arity. Semantics are XLA's (NaN and signed-zero rules of min/max, wrapping integers,
# division and remainder of integers by zero, saturating float-to-int conversion). Comparisons return bool.
SCALAR_OPS = {
    1: (
        "neg", "abs", "sign", "floor", "ceil", "round_even", "round_away", "not", "convert", "bitcast", "is_finite",
        "exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "erf", "erfc", "sqrt", "rsqrt", "cbrt", "sin", "cos", "tan",
        "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "popcount", "clz", "square", "reciprocal",
    ),
    2: (
        "add", "sub", "mul", "div", "rem", "max", "min", "pow", "atan2", "and", "or", "xor", "shift_left",
        "shift_right_logical", "shift_right_arithmetic", "eq", "ne", "lt", "le", "gt", "ge", "nextafter",
    ),
    3: ("select", "fma"),  # select(cond, if_true, if_false); fma(a, b, c) = a*b + c
}  # fmt: skip


def stored(dtype) -> np.dtype:
    """The dtype of a kernel's buffer that holds elements of `dtype`: complex numbers lie as pairs of reals."""
    dtype = np.dtype(dtype)
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


def identity(op: str, dtype: np.dtype):
    """The neutral element of fold `op` in `dtype`, as a Python scalar."""
    dtype = np.dtype(dtype)
    if op in ("add", "or", "xor", "set"):
        return False if dtype.kind == "b" else 0 if "int" in dtype.name else 0.0
    if op == "mul":
        return True if dtype.kind == "b" else 1 if "int" in dtype.name else 1.0
    if op == "and":
        return True if dtype.kind == "b" else -1 if dtype.name.startswith("int") else int(ml_dtypes.iinfo(dtype).max)
    if op not in ("max", "min"):
        raise ValueError(f"{op} is not a fold; the folds are {', '.join(FOLDS)}")
    if dtype.kind == "b":
        return op == "min"
    if "int" in dtype.name:
        info = ml_dtypes.iinfo(dtype)
        return int(info.min if op == "max" else info.max)
    most = float("inf")
    if not np.isinf(np.float32(dtype.type(most))):
        most = float(ml_dtypes.finfo(dtype).max)
    return -most if op == "max" else most
