"""Complex numbers while a kernel is being built: pairs of real values, and what the scalar functions are on them.

* The loop IR is real. A `Pair` exists between loads and stores only: an array of complex numbers is a buffer of twice as many
  reals (`ir.loops.stored`), and the sum of complex numbers is two sums.
* Offsets count elements of the array; `parts` and `each` know where the two halves of one lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sod2jax.errors import UnsupportedError
from sod2jax.ir.expr import Expr, const
from sod2jax.ir.loops import Value, stored
from sod2jax.lowering.complexfns import FUNCTIONS
from sod2jax.lowering.terms import Complex, Real

ZERO = const(0)


@dataclass(frozen=True, slots=True)
class Pair:
    """A complex value."""

    re: Value
    im: Value
    dtype: np.dtype


def is_complex(dtype) -> bool:
    return np.dtype(dtype).kind == "c"


def parts(value: Value | Pair, offset: Expr = ZERO) -> list[tuple[Expr, Value]]:
    """What a value at `offset` of an array is in its buffer: one real, or two."""
    if isinstance(value, Pair):
        return [(2 * offset, value.re), (2 * offset + 1, value.im)]
    return [(offset, value)]


def each(dtype, offset: Expr, make: Callable[[Expr, np.dtype], Value]) -> Value | Pair:
    """A value of `dtype` from make(offset in the buffer, dtype of the buffer) of its parts."""
    dtype, real = np.dtype(dtype), stored(dtype)
    if is_complex(dtype):
        return Pair(make(2 * offset, real), make(2 * offset + 1, real), dtype)
    return make(offset, real)


def constant(b, value, dtype) -> Pair:
    value, real = complex(value), stored(dtype)
    return Pair(b.const(value.real, real), b.const(value.imag, real), np.dtype(dtype))


def convert(b, value: Value | Pair, dtype: np.dtype) -> Value | Pair:
    """Between complex and real: the imaginary part appears as 0, or is dropped."""
    if not isinstance(value, Pair):
        return Pair(b.convert(value, stored(dtype)), b.const(0.0, stored(dtype)), dtype)
    if not is_complex(dtype):
        return b.convert(value.re, dtype)
    return Pair(b.convert(value.re, stored(dtype)), b.convert(value.im, stored(dtype)), dtype)


def check_fold(op: str, dtype) -> None:
    if is_complex(dtype) and op != "add":
        raise UnsupportedError(f"no machine code for folding {np.dtype(dtype)} with {op} yet; only sums of complex numbers are")


def apply(b, name: str, args: tuple[Value | Pair, ...], dtype: np.dtype) -> Value | Pair:
    """The value of scalar function `name` where an operand or the result is complex."""
    if name not in FUNCTIONS:
        raise UnsupportedError(f"no machine code for {name} of complex numbers")
    operands = (Complex(Real(b, a.re), Real(b, a.im)) if isinstance(a, Pair) else Real(b, a) for a in args)
    result = FUNCTIONS[name](*operands)
    return result.value if isinstance(result, Real) else Pair(result.re.value, result.im.value, dtype)
