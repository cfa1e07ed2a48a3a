"""Reductions: named axes of an operand folded with a monoid, from which everything else follows; or of several operands with any
computation."""

from __future__ import annotations

from functools import partial

import numpy as np
from jax import lax
from jax.extend.core import primitives as p

from sod2jax.ops import computation as computations
from sod2jax.ops import values
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop

# primitive: fold of ir.loops.FOLDS
FOLDS = {
    p.reduce_sum_p: "add", p.reduce_prod_p: "mul", p.reduce_max_p: "max", p.reduce_min_p: "min",
    p.reduce_and_p: "and", p.reduce_or_p: "or", p.reduce_xor_p: "xor",
}  # fmt: skip
# fold: the JAX function of an array and axes
FUNCTIONS = {
    "add": lax.reduce_sum, "mul": lax.reduce_prod, "max": lax.reduce_max, "min": lax.reduce_min,
    "and": lax.reduce_and, "or": lax.reduce_or, "xor": lax.reduce_xor,
}  # fmt: skip
BOOL = np.dtype(bool)


def merge(kept, folded, axes):
    """The operand's index: `folded` at `axes`, `kept` elsewhere."""
    result = list(kept)
    for axis, i in zip(sorted(axes), folded, strict=True):
        result.insert(axis, i)
    return result


def reduce(fold, b, out, index, x, *, axes, **_):
    """out[kept] = fold over `axes` of x[kept and folded, in x's order]."""
    extents = [x.shape[a] for a in sorted(axes)]
    return b.fold(fold, out.dtype, extents, lambda folded: x[merge(index, folded, axes)])


def arg_extreme(fold, b, out, index, x, *, axes, index_dtype, **_):
    """The first position of the extreme value; NaN counts as the extreme, as XLA has it.

    Two folds: the extreme itself, then the least position that holds it (if it is NaN, the least position of a NaN).
    """
    (axis,), dtype = axes, np.dtype(index_dtype)
    size = x.shape[axis]
    extreme = b.fold(fold, x.dtype, [size], lambda k: x[merge(index, k, axes)])

    def candidate(k):
        value = x[merge(index, k, axes)]
        here = b.op("eq", value, extreme, dtype=BOOL)
        if x.dtype.kind not in "biu":
            here = b.op("or", here, b.op("ne", value, value, dtype=BOOL), dtype=BOOL)
        return b.op("select", here, b.position(k[0], dtype), b.const(np.iinfo(dtype).max, dtype), dtype=dtype)

    return b.fold("min", dtype, [size], candidate)


def of_complex(fold, x, *, axes, **_):
    """Products and extremes of complex numbers are no folds of kernels, but computations like any other."""
    start = computations.complex_start(fold, x.dtype)
    return NotImplemented if start is None else lax.reduce(x, start, lambda a, c: computations.FUNCTIONS[fold](a, c), axes)


def as_monoid(*operands, jaxpr, dimensions, **_):
    """`lax.reduce` by the reduction of the monoid that its computation is."""
    fold = computations.monoid(jaxpr)
    if fold is None:
        return NotImplemented
    x, start = operands
    return [computations.FUNCTIONS[fold](start, FUNCTIONS[fold](x, dimensions))]


def running_reduce(b, outs, *operands, jaxpr, dimensions, **_):
    xs, starts = operands[: len(outs)], operands[len(outs) :]
    extents = [xs[0].shape[a] for a in sorted(dimensions)]

    def element(index, k):
        return None, [x[merge(index, k, dimensions)] for x in xs]

    computations.running_fold(b, outs, extents, [s[()] for s in starts], element, jaxpr)


for _prim, _fold in FOLDS.items():
    defop(
        OpDef(
            _prim, Dyn.ISDOS, Mapping.MANY_TO_MANY, pull=partial(reduce, _fold), folds=True,
            decompose=partial(of_complex, _fold), values=values.REDUCE.get(_fold), solve=values.SOLVE["reduce"],
        )
    )  # fmt: skip
for _prim, _fold in ((p.argmax_p, "max"), (p.argmin_p, "min")):
    defop(
        OpDef(
            _prim, Dyn.ISDOS, Mapping.MANY_TO_MANY, pull=partial(arg_extreme, _fold), cost=3, folds=True,
            values=values.SHAPE[f"arg{_fold}"], solve=values.SOLVE["reduce"],
        )
    )  # fmt: skip
defop(OpDef(p.reduce_p, Dyn.ISDOS, Mapping.MANY_TO_MANY, decompose=as_monoid, nest=running_reduce, cost=4, folds=True))
