"""Primitives that make arrays from nothing but shapes: recomputed where they are used, never stored."""

from __future__ import annotations

import math

import numpy as np
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ir.dims import dim_as_value_p, expr_of
from sod2jax.ir.ratio import size_float_p
from sod2jax.ops import values
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop


def iota(b, out, index, *_, dimension, **__):
    if out.dtype.kind in "iu":
        return b.position(index[dimension], out.dtype)
    return b.convert(b.position(index[dimension], np.dtype(np.int64)), out.dtype)


def dim_as_value(b, out, index, *, dim, **_):
    if out.dtype.kind in "iu":
        return b.position(expr_of(dim), out.dtype)
    return b.convert(b.position(expr_of(dim), np.dtype(np.int64)), out.dtype)


BOOL, F64 = np.dtype(bool), np.dtype(np.float64)


def size_float(b, out, index, *, code, wide, **sizes):
    """The formula in f64, as Python computes it, rounded once."""

    def value(code):
        match code:
            case ("size", i):
                return b.convert(b.position(expr_of(sizes[f"size{i}"]), np.dtype(np.int64)), F64)
            case ("number", x):
                return b.const(x, F64)
            case ("log2" | "log10" as name, x):
                base = b.const(math.log(2 if name == "log2" else 10), F64)
                return b.op("div", b.op("log", value(x), dtype=F64), base, dtype=F64)
            case ("floordiv" | "mod" as name, x, y):
                return divided(b, value(x), value(y))[name == "mod"]
            case (name, *args):
                return b.op(name, *map(value, args), dtype=F64)
        raise AssertionError(code)

    return b.convert(value(code), out.dtype)


def divided(b, x, y):
    """Python's `divmod` of floats: the remainder is exact and has the sign of y; the quotient is the floor of the true one."""
    op = lambda name, *args: b.op(name, *args, dtype=BOOL if name in ("lt", "gt", "ne", "and", "xor") else F64)
    zero, half, one = (b.const(v, F64) for v in (0.0, 0.5, 1.0))
    rest = op("rem", x, y)
    turn = op("and", op("ne", rest, zero), op("xor", op("lt", rest, zero), op("lt", y, zero)))
    quotient = op("div", op("sub", x, rest), y)
    rest, quotient = op("select", turn, op("add", rest, y), rest), op("select", turn, op("sub", quotient, one), quotient)
    floor = op("floor", quotient)
    above = op("gt", op("sub", quotient, floor), half)
    return op("select", above, op("add", floor, one), floor), rest


def empty(b, out, index, **_):
    return b.const(0, out.dtype)


def creates(prim, pull, value=None):
    defop(OpDef(prim, Dyn.ISDO, Mapping.SOURCE, pull=pull, cost=0.0, moves=True, values=value))


creates(p.iota_p, iota, values.SHAPE.get("iota"))
creates(dim_as_value_p, dim_as_value, values.SHAPE.get("dim_as_value"))
creates(compat.primitive("empty"), empty)
creates(compat.primitive("empty2"), empty)  # of residuals that the other branch of a `cond` has; XLA takes 0, too
defop(OpDef(size_float_p, Dyn.ISDO, Mapping.SOURCE, pull=size_float, cost=20.0))
