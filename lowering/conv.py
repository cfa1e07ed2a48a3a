"""Convolutions as contractions: a batch-reduce GEMM, without im2col.

* In NHWC the input pixels under one row of the output are `stride * channels` apart, so each window position (kh, kw) is one
  plain offset into the input: the microkernel's table.
* Without dilation the channels of neighbouring kw are neighbours in memory, and (kw, ci) is one k axis.
* A 1x1 convolution with stride 1 is a matrix product over all pixels: its rows are one axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sod2jax.ir.contraction import Axis, Contraction
from sod2jax.ir.expr import Expr, as_expr, const, sym


def contraction(
    dtype,
    a: str,
    panels: str,
    *,
    batch: Expr,
    out: Sequence[Expr],
    window: Sequence[Expr],
    padded: Sequence[Expr],
    channels: Expr,
    features: Expr,
    groups: Expr = 1,
    strides: Sequence[Expr] | None = None,
    dilation: Sequence[Expr] | None = None,
) -> Contraction:
    """VALID convolution of an input `a[batch, *padded, groups * channels]`: `channels` and `features` are per group.

    Axes: batch (cg,); m (cb, co0, co1, ...) and n (cf,) of the result; k (cw0, cw1, ..., ci). Any number of spatial axes.
    """
    rank = len(out)
    strides, dilation = strides or (1,) * rank, dilation or (1,) * rank
    channels, groups = as_expr(channels), as_expr(groups)
    m = [Axis("cb", as_expr(batch)), *(Axis(f"co{i}", as_expr(e)) for i, e in enumerate(out))]
    k = [*(Axis(f"cw{i}", as_expr(e)) for i, e in enumerate(window)), Axis("ci", channels)]
    pixel: Expr = sym("cb")
    for i in range(rank):
        pixel = pixel * padded[i] + sym(f"co{i}") * strides[i] + sym(f"cw{i}") * dilation[i]
    offset = (pixel * groups + sym("cg")) * channels + sym("ci")
    # An axis of one point does not move: say so, for its stride could keep others from merging.
    offset = offset.subs({x.var: const(0) for x in (*m, *k) if x.extent.value == 1})
    n, g = Axis("cf", as_expr(features)), Axis("cg", groups)
    return Contraction(np.dtype(dtype), (g,), tuple(m), (n,), tuple(k), a, offset, panels)
