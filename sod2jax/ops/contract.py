"""Contractions: dot_general and convolutions, the many-to-many anchors.

Each has two descriptions of one meaning. `pull` is the plain fold of products, right for every dtype and size; `contraction`
gives the index maps of the batch-reduce GEMM template: out[batch, m, n] = sum over k of lhs[batch, m, k] * rhs[batch, k, n].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax import lax
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import Expr, const, exact_quotient, floordiv, mod
from sod2jax.ops import values
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop

Index = tuple[Expr, ...]
BOOL, INT = np.dtype(bool), np.dtype(np.int64)


@dataclass(frozen=True)
class ContractionMap:
    """Extents of the four kinds of axes, and where an element of each operand lies, as functions of indices of those axes."""

    batch: Index
    m: Index
    n: Index
    k: Index
    lhs: Callable[[Index, Index, Index], Index]  # (batch, m, k)
    rhs: Callable[[Index, Index, Index], Index]  # (batch, k, n)
    out: Callable[[Index, Index, Index], Index]  # (batch, m, n)


def others(rank, *taken):
    taken = {axis for axes in taken for axis in axes}
    return [axis for axis in range(rank) if axis not in taken]


def place(rank, *parts):
    """An index of `rank` from pairs (axes, index)."""
    index = [None] * rank
    for axes, values_ in parts:
        for axis, i in zip(axes, values_, strict=True):
            index[axis] = i
    return tuple(index)


def dot_map(out, x, y, *, dimension_numbers, **_):
    (xk, yk), (xb, yb) = dimension_numbers
    xm, yn = others(len(x), xk, xb), others(len(y), yk, yb)
    return ContractionMap(
        batch=tuple(x[a] for a in xb),
        m=tuple(x[a] for a in xm),
        n=tuple(y[a] for a in yn),
        k=tuple(x[a] for a in xk),
        lhs=lambda batch, m, k: place(len(x), (xb, batch), (xm, m), (xk, k)),
        rhs=lambda batch, k, n: place(len(y), (yb, batch), (yk, k), (yn, n)),
        out=lambda batch, m, n: (*batch, *m, *n),
    )


def product_fold(b, out, extents, factors):
    """sum over `extents` of the product of both factors, all of one dtype (`in_one_dtype`)."""
    fold, product = ("or", "and") if out.dtype == BOOL else ("add", "mul")
    return b.fold(fold, out.dtype, extents, lambda k: b.op(product, *factors(k), dtype=out.dtype))


def dot_general(b, out, index, x, y, *, dimension_numbers, **_):
    maps = dot_map(out, x.shape, y.shape, dimension_numbers=dimension_numbers)
    nb, nm = len(maps.batch), len(maps.m)
    batch, m, n = index[:nb], index[nb : nb + nm], index[nb + nm :]
    return product_fold(b, out, maps.k, lambda k: (x[maps.lhs(batch, m, k)], y[maps.rhs(batch, k, n)]))


def factor_dtypes(x, y, out, precision):
    """What factors are rounded to, and in which dtype their products are summed, as JAX has it on CPUs.

    Narrow floats are summed in f32, and narrow integers in 32 bits, of which the low ones are the same: processors multiply no
    vectors of bytes, and LLVM takes seconds to say it otherwise. Factors of two dtypes are rounded to the result's, unless both
    are floats of 8 bits. A `precision` that names an algorithm says which dtypes it takes, the first of which replaces others.
    """
    if isinstance(precision, lax.DotAlgorithmPreset) and precision.name != "DEFAULT":
        left, right = _one_of(x, precision.supported_lhs_types), _one_of(y, precision.supported_rhs_types)
        return left, right, _one_of(out, precision.supported_output_types(left, right))
    left, right = (x, y) if x == y or x.itemsize == y.itemsize == 1 else (out, out)
    if out.itemsize <= 2 and (out.kind in "iu" or "float" in out.name):
        return left, right, np.dtype({"i": np.int32, "u": np.uint32}.get(out.kind, np.float32))
    return left, right, out


def _one_of(dtype, allowed):
    return dtype if allowed is None or dtype in allowed else np.dtype(allowed[0])


def in_one_dtype(prim, x, y, **params):
    """The same of operands and result of one real dtype, conversions around it: that is what kernels multiply."""
    out = jax.eval_shape(partial(prim.bind, **params), x, y).dtype
    left, right, sums = factor_dtypes(x.dtype, y.dtype, out, params["precision"])
    if sums.kind != "c" and x.dtype == y.dtype == left == right == sums == out:
        return NotImplemented
    real = np.zeros((), sums).real.dtype if sums.kind == "c" else sums

    def product(x, y):
        x, y = (lax.convert_element_type(v, real) for v in (x, y))
        return prim.bind(x, y, **{**params, "precision": None, "preferred_element_type": real})

    x, y = lax.convert_element_type(x, left), lax.convert_element_type(y, right)
    if sums.kind != "c":
        return lax.convert_element_type(product(x, y), out)
    re = product(x.real, y.real) - product(x.imag, y.imag)
    return lax.convert_element_type(lax.complex(re, product(x.real, y.imag) + product(x.imag, y.real)), out)


def conv_axes(dimension_numbers):
    """Batch, feature and spatial axes of lhs, rhs and out."""
    d = dimension_numbers
    return [(spec[0], spec[1], tuple(spec[2:])) for spec in (d.lhs_spec, d.rhs_spec, d.out_spec)]


def features_per_group(features: Expr, groups: Expr) -> Expr:
    """Demanded to be a whole number; exact where `groups` (of a batched convolution, its batch) is a factor."""
    quotient = exact_quotient(features, groups)
    return floordiv(features, groups) if quotient is None else quotient


def conv_map(out, x, y, *, dimension_numbers, window_strides, padding, lhs_dilation, rhs_dilation, feature_group_count,
             batch_group_count, **_):  # fmt: skip
    """Batch-reduce over the window: no im2col. None where the template does not apply as the eqn stands (rewriting brings padding
    and lhs dilation into the operand; grouped batches are folded plainly)."""
    fixed = [expr_of(n) for pads in padding for n in pads], [expr_of(n) for n in (*lhs_dilation, batch_group_count)]
    if not (all(n.value == 0 for n in fixed[0]) and all(n.value == 1 for n in fixed[1])):
        return None
    rank, groups = len(x), expr_of(feature_group_count)
    (xn, xc, xs), (yo, yi, ys), (on, oc, os_) = conv_axes(dimension_numbers)
    per_group = features_per_group(y[yo], groups)
    grouped = (groups,) if groups.value != 1 else ()
    strides, dilations = map(expr_of, window_strides), map(expr_of, rhs_dilation)
    steps = list(zip(strides, dilations, strict=True))

    def lhs(batch, m, k):
        spatial = [i * s + w * d for i, w, (s, d) in zip(m[1:], k[:-1], steps, strict=True)]
        channel = k[-1] + batch[0] * y[yi] if grouped else k[-1]
        return place(rank, ((xn,), m[:1]), ((xc,), (channel,)), (xs, spatial))

    def rhs(batch, k, n):
        feature = n[0] + batch[0] * per_group if grouped else n[0]
        return place(rank, ((yo,), (feature,)), ((yi,), k[-1:]), (ys, k[:-1]))

    def at(batch, m, n):
        feature = n[0] + batch[0] * per_group if grouped else n[0]
        return place(rank, ((on,), m[:1]), ((oc,), (feature,)), (os_, m[1:]))

    return ContractionMap(
        batch=grouped,
        m=(out[on], *(out[a] for a in os_)),
        n=(per_group,),
        k=(*(y[a] for a in ys), y[yi]),
        lhs=lhs,
        rhs=rhs,
        out=at,
    )


def conv_general_dilated(b, out, index, x, y, *, dimension_numbers, window_strides, padding, lhs_dilation, rhs_dilation,
                         feature_group_count, batch_group_count, **_):  # fmt: skip
    """out[n, o, s] = sum over window w and channel c of the group of x[n, c, s*stride + w*dilation - low] * y[o, c, w]."""
    rank = len(x.shape)
    (xn, xc, xs), (yo, yi, ys), (on, oc, os_) = conv_axes(dimension_numbers)
    feature, row = index[oc], index[on]
    groups, batch_groups = expr_of(feature_group_count), expr_of(batch_group_count)
    channels = const(0)
    if groups.value != 1:
        channels = b.simplify(floordiv(feature, features_per_group(y.shape[yo], groups))) * y.shape[yi]
    if batch_groups.value != 1:
        group = b.simplify(floordiv(feature, features_per_group(y.shape[yo], batch_groups)))
        row = row + group * features_per_group(x.shape[xn], batch_groups)

    def factors(k):
        spatial, inside = [], None

        def require(op, lhs, rhs):
            nonlocal inside
            cond = b.op(op, b.position(b.simplify(lhs), INT), b.position(b.simplify(rhs), INT), dtype=BOOL)
            inside = cond if inside is None else b.op("and", inside, cond, dtype=BOOL)

        for j, axis in enumerate(xs):
            (low, high), hole = map(expr_of, padding[j]), expr_of(lhs_dilation[j])
            at = b.simplify(index[os_[j]] * expr_of(window_strides[j]) + k[j] * expr_of(rhs_dilation[j]) - low)
            if hole.value != 1:
                require("eq", mod(at, hole), const(0))
                at = b.simplify(floordiv(at, hole))
            if low.value != 0 or high.value != 0:
                require("ge", at, const(0))
                require("lt", at, x.shape[axis])
            spatial.append(at)
        source = place(rank, ((xn,), (row,)), ((xc,), (channels + k[-1],)), (xs, spatial))
        weight = y[place(rank, ((yo,), (feature,)), ((yi,), k[-1:]), (ys, k[:-1]))]
        value = x[source] if inside is None else b.where(inside, lambda: x[source], b.const(0, x.dtype))
        return value, weight

    return product_fold(b, out, [*(y.shape[a] for a in ys), y.shape[yi]], factors)


defop(
    OpDef(
        p.dot_general_p, Dyn.ISDOS, Mapping.MANY_TO_MANY, pull=dot_general, contraction=dot_map, cost=2, folds=True,
        decompose=partial(in_one_dtype, p.dot_general_p), solve=values.SOLVE.get("dot_general"),
    )
)  # fmt: skip
defop(
    OpDef(
        p.conv_general_dilated_p, Dyn.ISDOS, Mapping.MANY_TO_MANY, pull=conv_general_dilated, contraction=conv_map, cost=2,
        folds=True, decompose=partial(in_one_dtype, p.conv_general_dilated_p), solve=values.SOLVE["conv_general_dilated"],
    )
)  # fmt: skip

for _name in ("ragged_dot_general", "scaled_dot"):  # in simpler primitives, as JAX computes them on a CPU
    defop(OpDef(compat.primitive(_name), Dyn.ISDOS, Mapping.MANY_TO_MANY, decompose=compat.implementation(_name)))
