"""Sliding windows: every output element folds over a window of one operand; positions outside of it give the fold's identity."""

from __future__ import annotations

from functools import partial

import numpy as np
from jax.extend.core import primitives as p

from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import const, floordiv, mod
from sod2jax.ir.loops import identity
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop
from sod2jax.ops.values import SOLVE

BOOL, INT = np.dtype(bool), np.dtype(np.int64)

# primitive: fold of ir.loops.FOLDS
FOLDS = {p.reduce_window_max_p: "max", p.reduce_window_min_p: "min", p.reduce_window_sum_p: "add"}


def reduce_window(
    fold, b, out, index, x, *, window_dimensions, window_strides, padding, base_dilation=None, window_dilation=None, **_
):
    rank = len(window_dimensions)
    base, dilation = base_dilation or (1,) * rank, window_dilation or (1,) * rank
    sliding = [a for a in range(rank) if expr_of(window_dimensions[a]).value != 1 or tuple(padding[a]) != (0, 0) or base[a] != 1]

    def element(window):
        source, inside = [i * expr_of(s) for i, s in zip(index, window_strides, strict=True)], None
        for axis, k in zip(sliding, window, strict=True):
            at = b.simplify(source[axis] + k * expr_of(dilation[axis]) - expr_of(padding[axis][0]))
            conds = []
            if base[axis] != 1:
                conds.append(b.op("eq", b.position(mod(at, const(base[axis])), INT), b.const(0, INT), dtype=BOOL))
                at = floordiv(at, const(base[axis]))
            if tuple(padding[axis]) != (0, 0):
                conds.append(b.op("ge", b.position(at, INT), b.const(0, INT), dtype=BOOL))
                conds.append(b.op("lt", b.position(at, INT), b.position(x.shape[axis], INT), dtype=BOOL))
            for cond in conds:
                inside = cond if inside is None else b.op("and", inside, cond, dtype=BOOL)
            source[axis] = at
        if inside is None:
            return x[source]
        return b.where(inside, lambda: x[source], b.const(identity(fold, out.dtype), out.dtype))

    return b.fold(fold, out.dtype, [expr_of(window_dimensions[a]) for a in sliding], element)


for _prim, _fold in FOLDS.items():
    defop(
        OpDef(
            _prim,
            Dyn.ISDOS,
            Mapping.MANY_TO_MANY,
            pull=partial(reduce_window, _fold),
            cost=2,
            folds=True,
            solve=SOLVE["reduce_window"],
        )
    )
