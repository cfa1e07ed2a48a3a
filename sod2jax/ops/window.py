"""Sliding windows: every output element folds over a window of the operand; positions outside of it take no part.

* The folds of `ir.loops` are one loop rule. `lax.reduce_window` with any computation becomes one of them if it can, and else a
  nest that keeps its running values in the outputs.
* Max pooling's derivative (`select_and_gather_add`) folds over pairs. Its transpose (`select_and_scatter`) takes two steps: which
  position does each window choose; then every position folds over the windows around it that chose it. So no two threads add to
  one element.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.extend.core import primitives as p

from sod2jax.compat import ShapedArray
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import floordiv, mod
from sod2jax.ir.loops import identity
from sod2jax.ops import computation as computations
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop
from sod2jax.ops.shape import linear
from sod2jax.ops.values import SOLVE

BOOL, INT, INT32 = np.dtype(bool), np.dtype(np.int64), np.dtype(np.int32)

# primitive: fold of ir.loops.FOLDS
FOLDS = {p.reduce_window_max_p: "max", p.reduce_window_min_p: "min", p.reduce_window_sum_p: "add"}
fold_windows_p = Primitive("fold_windows")  # as those, of any `fold`
chosen_p = Primitive("fold_chosen")  # chosen, source -> out[at] = fold of source[w] over the windows w with chosen[w] = at
chosen_by_p = Primitive("reduce_chosen")  # the same with any computation: chosen, source, start -> out


def exprs(sizes):
    return [expr_of(size) for size in sizes]


class Windows:
    """Where windows lie."""

    def __init__(self, window_dimensions, window_strides, padding, base_dilation=None, window_dilation=None, **_):
        rank = len(window_dimensions)
        self.sizes, self.strides, self.low = exprs(window_dimensions), exprs(window_strides), exprs(low for low, _ in padding)
        self.base, self.dilation = exprs(base_dilation or (1,) * rank), exprs(window_dilation or (1,) * rank)
        self.padded = [not all(expr_of(n).value == 0 for n in pads) for pads in padding]
        self.sliding = [a for a in range(rank) if self.sizes[a].value != 1 or self.padded[a] or self.base[a].value != 1]
        self.extents = [self.sizes[a] for a in self.sliding]

    def source(self, b, index, k, shape):
        """The operand's index at place `k` of window `index`, and where that is inside of the operand (None: everywhere)."""
        at, conds = [i * s for i, s in zip(index, self.strides, strict=True)], []
        for axis, step in zip(self.sliding, k, strict=True):
            at[axis] = b.simplify(at[axis] + step * self.dilation[axis] - self.low[axis])
            if self.base[axis].value != 1:
                conds.append(is_zero(b, mod(at[axis], self.base[axis])))
                at[axis] = floordiv(at[axis], self.base[axis])
            if self.padded[axis]:
                conds += within(b, at[axis], shape[axis])
        return at, conjunction(b, conds)

    def around(self, b, index, k, shape):
        """The window in whose place `k` the operand's `index` lies, and where there is such a one among `shape` windows."""
        at, conds = list(index), []
        for axis, (stride, size) in enumerate(zip(self.strides, self.sizes, strict=True)):
            if axis in self.sliding:
                at[axis] = b.simplify(at[axis] - k[self.sliding.index(axis)])
            elif stride.value == 1:
                continue
            if stride.value != 1:
                conds.append(is_zero(b, mod(at[axis], stride)))
                at[axis] = floordiv(at[axis], stride)
            if size.value != 1 or stride.value != 1:
                conds += within(b, at[axis], shape[axis])
        return at, conjunction(b, conds)


def is_zero(b, at):
    return b.op("eq", b.position(at, INT), b.const(0, INT), dtype=BOOL)


def within(b, at, size):
    """The conditions of 0 <= at < size."""
    at = b.position(at, INT)
    return [b.op("ge", at, b.const(0, INT), dtype=BOOL), b.op("lt", at, b.position(size, INT), dtype=BOOL)]


def conjunction(b, conds):
    result = None
    for cond in conds:
        result = cond if result is None else b.op("and", result, cond, dtype=BOOL)
    return result


def read(b, x, at, inside):
    """x[at], read only where `inside`."""
    return x[at] if inside is None else b.where(inside, lambda: x[at], b.const(0, x.dtype))


# -- folds over windows


def fold_windows(fold, b, out, index, x, **params):
    windows = Windows(**params)

    def element(k):
        at, inside = windows.source(b, index, k, x.shape)
        if inside is None:
            return x[at]
        return b.where(inside, lambda: x[at], b.const(identity(fold, out.dtype), out.dtype))

    return b.fold(fold, out.dtype, windows.extents, element)


@fold_windows_p.def_abstract_eval
def _(x, *, fold, **params):
    like = jax.eval_shape(lambda x: lax.reduce_window(x, -np.inf, lax.max, **params), jax.ShapeDtypeStruct(x.shape, np.float32))
    return ShapedArray(like.shape, x.dtype)


def of_complex(fold, x, **params):
    """As in `ops.reduce`."""
    start = computations.complex_start(fold, x.dtype)
    if start is None:
        return NotImplemented
    return lax.reduce_window(x, start, lambda a, c: computations.FUNCTIONS[fold](a, c), **params)


def as_monoid(*operands, jaxpr, consts, **params):
    """`lax.reduce_window` by the fold that its computation is."""
    fold = computations.monoid(ClosedJaxpr(jaxpr, consts))
    if fold is None or len(operands) != 2:
        return NotImplemented
    x, start = operands
    return [computations.FUNCTIONS[fold](start, fold_windows_p.bind(x, fold=fold, **params))]


def running_windows(b, outs, *operands, jaxpr, consts, **params):
    xs, starts = operands[: len(outs)], operands[len(outs) :]
    windows = Windows(**params)

    def element(index, k):
        at, inside = windows.source(b, index, k, xs[0].shape)
        return inside, [read(b, x, at, inside) for x in xs]

    computations.running_fold(b, outs, windows.extents, [s[()] for s in starts], element, ClosedJaxpr(jaxpr, consts))


# -- windows that choose one of their elements


def select_and_gather_add(tangents, operand, *, select_prim, **params):
    """Of each window the tangent of the element that it chooses."""

    def choose(a, c):
        keep = select_prim.bind(a[0], c[0])
        return lax.select(keep, a[0], c[0]), lax.select(keep, a[1], c[1])

    worst = np.array(-np.inf if select_prim is lax.ge_p else np.inf, operand.dtype)
    return lax.reduce_window((operand, tangents), (worst, np.zeros((), tangents.dtype)), choose, **params)[1]


def choices(operand, select, params):
    """The position (of `positions`) of the element that each window chooses: the first one, unless select(it, later) is false."""

    def choose(a, c):
        keep = (a[1] >= 0) & select(a[0], c[0])
        return lax.select(keep, a[0], c[0]), lax.select(keep, a[1], c[1])

    start = np.zeros((), operand.dtype), np.array(-1, np.int32)
    return lax.reduce_window((operand, positions(operand, params)), start, choose, **params)[1]


def positions(x, params):
    """Row-major positions along the axes that windows slide on."""
    at = None
    for axis in Windows(**params).sliding:
        here = lax.broadcasted_iota(np.int32, x.shape, axis)
        at = here if at is None else at * x.shape[axis] + here
    return lax.full(x.shape, 0, np.int32) if at is None else at


def select_and_scatter_add(source, operand, *, select_prim, padding, **params):
    """The gradient of max pooling. Padding takes part in the choice, as JAX has it on a CPU."""
    worst = np.array(identity("max" if select_prim is lax.ge_p else "min", operand.dtype), operand.dtype)
    padded = lax.pad(operand, worst, [(*pads, 0) for pads in padding])
    params |= {"padding": tuple((0, 0) for _ in padding)}
    fold = "or" if source.dtype == np.bool_ else "add"
    out = chosen_p.bind(choices(padded, select_prim.bind, params), source, fold=fold, shape=padded.shape, **params)
    return unpadded(out, operand, padding)


def select_and_scatter(operand, source, start, *, select_jaxpr, select_consts, scatter_jaxpr, scatter_consts, padding, **params):
    select, scatter = ClosedJaxpr(select_jaxpr, select_consts), ClosedJaxpr(scatter_jaxpr, scatter_consts)
    padded = lax.pad(operand, start, [(*pads, 0) for pads in padding])
    params |= {"padding": tuple((0, 0) for _ in padding)}
    chosen = choices(padded, lambda *pair: jaxpr_as_fun(select)(*pair)[0], params)
    if fold := computations.monoid(scatter):
        out = chosen_p.bind(chosen, source, fold=fold, shape=padded.shape, **params)
        out = computations.FUNCTIONS[fold](start, out)
    else:
        out = chosen_by_p.bind(chosen, source, start, scatter=scatter, shape=padded.shape, **params)
    return unpadded(out, operand, padding)


def unpadded(x, operand, padding):
    return lax.pad(x, np.zeros((), x.dtype), [(-low, -high, 0) for low, high in padding])


for _prim in (chosen_p, chosen_by_p):
    _prim.def_abstract_eval(lambda chosen, source, *_, shape, **__: ShapedArray(shape, source.dtype))


def chosen_here(b, windows, index, k, shape, chosen, source):
    """The value that comes to `index` from the window around it whose place `k` it is, and where there is one."""
    at, inside = windows.around(b, index, k, chosen.shape)
    here = b.position(linear([index[a] for a in windows.sliding], [shape[a] for a in windows.sliding]), INT32)
    chose = b.op("eq", read(b, chosen, at, inside), here, dtype=BOOL)
    inside = chose if inside is None else b.op("and", inside, chose, dtype=BOOL)
    return inside, read(b, source, at, inside)


def fold_chosen(b, out, index, chosen, source, *, fold, shape, **params):
    windows = Windows(**params)

    def element(k):
        inside, value = chosen_here(b, windows, index, k, out.shape, chosen, source)
        return b.op("select", inside, value, b.const(identity(fold, out.dtype), out.dtype), dtype=out.dtype)

    return b.fold(fold, out.dtype, windows.extents, element)


def running_chosen(b, outs, chosen, source, start, *, scatter, shape, **params):
    windows = Windows(**params)

    def element(index, k):
        earlier_first = [size - 1 - i for size, i in zip(windows.extents, k, strict=True)]
        inside, value = chosen_here(b, windows, index, earlier_first, outs[0].shape, chosen, source)
        return inside, [value]

    computations.running_fold(b, outs, windows.extents, [start[()]], element, scatter)


def record(prim, **more):
    defop(OpDef(prim, Dyn.ISDOS, Mapping.MANY_TO_MANY, folds=True, **more))


for _prim, _fold in FOLDS.items():
    record(_prim, pull=partial(fold_windows, _fold), decompose=partial(of_complex, _fold), cost=2, solve=SOLVE["reduce_window"])
record(fold_windows_p, pull=lambda b, out, index, x, *, fold, **params: fold_windows(fold, b, out, index, x, **params), cost=2)
record(p.reduce_window_p, decompose=as_monoid, nest=running_windows, cost=4)
record(p.select_and_gather_add_p, decompose=select_and_gather_add)
record(p.select_and_scatter_add_p, decompose=select_and_scatter_add)
record(p.select_and_scatter_p, decompose=select_and_scatter)
record(chosen_p, pull=fold_chosen, cost=4)
record(chosen_by_p, nest=running_chosen, cost=4)
