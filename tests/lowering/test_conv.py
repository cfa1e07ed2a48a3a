"""Convolutions as contractions, through the JIT against JAX."""

import jax
import numpy as np
import pytest
from jax import lax

from sod2jax.ir.box import Box
from sod2jax.ir.expr import const, parse, sym
from sod2jax.ir.loops import Buffer, Gemm, Load, Store
from sod2jax.lowering import conv, gemm, targets
from sod2jax.lowering.canonical import canonical
from sod2jax.lowering.jit import call, compile

F32 = np.dtype(np.float32)
TARGET = targets.host()
BOX = Box({"b": (0, None), "h": (1, None), "w": (1, None)})


def contraction(kernel, channels, features, strides=(1, 1), dilation=(1, 1), groups=1):
    """A VALID convolution of f32[b, h, w, groups * channels], its sizes symbolic."""
    h, w = sym("h"), sym("w")
    out = [(e - (k - 1) * d - 1) // s + 1 for e, k, s, d in zip((h, w), kernel, strides, dilation)]
    return conv.contraction(
        F32, "a", "panels", batch=sym("b"), out=out, window=[const(k) for k in kernel], padded=(h, w), channels=const(channels),
        features=const(features), groups=groups, strides=strides, dilation=dilation,
    )  # fmt: skip


def run(nest, buffers, arrays, env):
    bound = canonical(nest.kernel("conv", tuple(Buffer(n, F32, "rw") for n in buffers)), nest.keep)
    sizes = {n: e.eval(env) for n, e in zip(bound.kernel.sizes, bound.sizes)}
    call(bound.kernel, compile([bound.kernel], TARGET).addresses[0], dict(zip(buffers, arrays)), sizes)


def convolve(c, x, w, groups):
    """x[b, h, w, ci], w[kh, kw, ci / groups, co] -> out[b, oh, ow, co]."""
    env = dict(zip("bhw", x.shape))
    filters = parse("((cw0*KW + cw1)*CI + ci)*CO + cg*CF + cf").subs(
        {"KW": w.shape[1], "CI": w.shape[2], "CO": w.shape[3], "CF": w.shape[3] // groups}
    )
    panels = np.full(gemm.panel_elements(c, TARGET).eval(env), np.nan, F32)
    pack = gemm.pack(c, TARGET, BOX, lambda point, box: ((), Load("b", box.simplify(filters.subs(point)), F32)))
    run(pack, ("b", "panels"), (w.ravel(), panels), env)
    shape = [x.shape[0], *(axis.extent.eval(env) for axis in c.m[1:]), w.shape[3]]
    out = np.full(shape, np.nan, F32)
    to = parse("((cb*OH + co0)*OW + co1)*CO + cg*CF + cf").subs(
        {"OH": c.m[1].extent, "OW": c.m[2].extent, "CO": w.shape[3], "CF": w.shape[3] // groups}
    )
    nest = gemm.contract(c, TARGET, BOX, lambda point, acc, box: (Store("out", box.simplify(to.subs(point)), acc),))
    run(nest, ("a", "panels", "out"), (x.ravel(), panels, out), env)
    return out


@pytest.mark.parametrize(
    ("kernel", "channels", "features", "strides", "dilation", "groups"),
    [
        ((3, 3), 5, 7, (1, 1), (1, 1), 1),
        ((3, 3), 16, 64, (2, 2), (1, 1), 1),
        ((1, 1), 9, 33, (1, 1), (1, 1), 1),
        ((1, 1), 8, 32, (2, 2), (1, 1), 1),
        ((7, 7), 3, 64, (2, 2), (1, 1), 1),
        ((3, 2), 4, 6, (1, 3), (2, 1), 1),
        ((3, 3), 4, 6, (1, 1), (1, 2), 1),
        ((3, 3), 3, 4, (1, 1), (1, 1), 4),
        ((1, 5), 2, 40, (2, 1), (1, 1), 2),
    ],
)
def test_against_jax(kernel, channels, features, strides, dilation, groups):
    c = contraction(kernel, channels, features, strides, dilation, groups)
    rng = np.random.default_rng(0)
    w = rng.standard_normal((*kernel, channels, groups * features)).astype(F32)
    for shape in ((1, 13, 15), (3, 9, 30), (2, 13, 13), (0, 13, 13)):
        x = rng.standard_normal((*shape, groups * channels)).astype(F32)
        want = lax.conv_general_dilated(
            x, w, strides, "VALID", rhs_dilation=dilation, feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=jax.lax.Precision.HIGHEST,
        )  # fmt: skip
        np.testing.assert_allclose(convolve(c, x, w, groups), want, rtol=1e-4, atol=1e-3)


def test_which_axes_are_one():
    pointwise = contraction((1, 1), 64, 256).walk(BOX)
    assert [a.var for a in pointwise.rows] == ["cb", "co0", "co1"]
    assert (pointwise.outer_rows, pointwise.outer_depth, pointwise.row_stride) == ((), (), 64)
    square = contraction((3, 3), 64, 256, strides=(2, 2)).walk(BOX)
    assert [a.var for a in square.outer_rows] == ["cb", "co0"]
    assert [a.var for a in square.outer_depth] == ["cw0"]
    assert [a.var for a in square.depth] == ["cw1", "ci"]
    assert (square.row_stride, square.depth_stride) == (128, 1)
    dilated = contraction((3, 3), 64, 256, dilation=(1, 2)).walk(BOX)
    assert [a.var for a in dilated.outer_depth] == ["cw0", "cw1"]


def gemms(body):
    for s in body:
        if isinstance(s, Gemm):
            yield s
        yield from gemms(getattr(s, "body", ()))


def test_one_and_three_spatial_axes():
    for rank in (1, 3):
        sizes = [sym(f"s{i}") for i in range(rank)]
        c = conv.contraction(
            F32, "a", "panels", batch=sym("b"), out=[e - 2 for e in sizes], window=[const(3)] * rank, padded=sizes,
            channels=const(4), features=const(8),
        )  # fmt: skip
        nest = gemm.contract(c, TARGET, BOX.extend({f"s{i}": (3, None) for i in range(rank)}), lambda *_: ())
        assert list(gemms(nest.body))
