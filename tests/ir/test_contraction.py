"""How a contraction says that its left operand can be read."""

import numpy as np
import pytest

from sod2jax.ir.box import Box
from sod2jax.ir.contraction import Axis, Contraction, size
from sod2jax.ir.expr import parse

BOX = Box({"s": (0, None), "b": (1, None), "h": (1, None), "w": (1, None)})


def make(batch="", m="", n="", k="", a="0"):
    def axes(text):
        pairs = (p.split("=") for p in text.split())
        return tuple(Axis(v, parse(e)) for v, e in pairs)

    return Contraction(np.dtype(np.float32), axes(batch), axes(m), axes(n), axes(k), "a", parse(a), "panels")


def names(axes):
    return " ".join(x.var for x in axes)


def conv(strides, dilation, window, channels):
    """The offset of a window of NHWC pixels; out sizes of a VALID convolution."""
    (sy, sx), (dy, dx) = strides, dilation
    out = [f"({e}-{(window - 1) * d}-1)//{s}+1" for e, s, d in (("h", sy, dy), ("w", sx, dx))]
    taps = f"u={window} v={window} c={channels}"
    at = f"((x*h + y*{sy} + u*{dy})*w + z*{sx} + v*{dx})*{channels} + c"
    return make(m=f"x=b y={out[0]} z={out[1]}", n="f=8", k=taps, a=at)


@pytest.mark.parametrize(
    ("c", "outer_rows", "rows", "row_stride", "outer_depth", "depth", "depth_stride"),
    [
        (make(m="x=b i=s", k="p=9", a="(x*s + i)*9 + p"), "", "x i", "9", "", "p", "1"),
        (make(m="x=b i=s", k="p=9", a="(i*b + x)*9 + p"), "x", "i", "9*b", "", "p", "1"),
        (make(m="x=b i=s", k="p=9", a="(x // 2)*s*9 + i*9 + p"), "x", "i", "9", "", "p", "1"),
        (make(m="i=s", k="p=9", a="(i // 2)*9 + p"), "i", "", "0", "", "p", "1"),
        (make(m="i=s", k="p=9", a="p*s + i"), "", "i", "1", "", "p", "s"),
        (make(m="i=s", k="p=9 q=1", a="i*9 + p + 5*q"), "", "i", "9", "", "p", "1"),
        (make(batch="x=b g=3", m="i=s", k="d=8", a="(x*s + i)*24 + g*8 + d"), "", "i", "24", "", "d", "1"),
        (make(m="i=s", k="g=3 d=8", a="i*24 + g*8 + d"), "", "i", "24", "", "g d", "1"),
        (make(m="i=s", k="g=3 d=8", a="(g*s + i)*8 + d"), "", "i", "8", "g", "d", "1"),
        (conv((1, 1), (1, 1), 1, 64), "", "x y z", "64", "", "c", "1"),
        (conv((2, 2), (1, 1), 3, 64), "x y", "z", "128", "u", "v c", "1"),
        (conv((1, 1), (1, 2), 3, 64), "x y", "z", "64", "u v", "c", "1"),
    ],
    ids=lambda x: str(x.a_offset) if isinstance(x, Contraction) else None,
)
def test_walk(c, outer_rows, rows, row_stride, outer_depth, depth, depth_stride):
    w = c.walk(BOX)
    assert (names(w.outer_rows), names(w.rows), w.row_stride) == (outer_rows, rows, parse(row_stride))
    assert (names(w.outer_depth), names(w.depth), w.depth_stride) == (outer_depth, depth, parse(depth_stride))
    # The parts add up to the offset again.
    rng = np.random.default_rng(0)
    env = {"b": 3, "s": 5, "h": 9, "w": 10}
    for _ in range(10):
        point = {x.var: int(rng.integers(x.extent.eval(env))) for x in (*c.batch, *c.m, *c.k)}
        at = w.base.eval({**env, **point}) + w.table.eval({**env, **point})
        for axes, stride in ((w.rows, w.row_stride), (w.depth, w.depth_stride)):
            flat = 0
            for x in axes:
                flat = flat * x.extent.eval(env) + point[x.var]
            at += flat * stride.eval(env)
        assert at == c.a_offset.eval({**env, **point})


def test_what_cannot_be_read_in_place():
    assert "not affine" in make(m="i=s", n="j=2", k="p=9", a="i*9 + p % 3").why_not(BOX)
    assert "from row to row" in make(m="i=s", n="j=2", k="p=9", a="i*p").why_not(BOX)
    assert make(m="i=s", n="j=2", k="p=9", a="i*9 + p").why_not(BOX) is None
    with pytest.raises(ValueError, match="not affine"):
        make(m="i=s", n="j=2", k="p=9", a="i*9 + p % 3").walk(BOX)


def test_sizes():
    c = make(batch="g=3", m="x=b i=s", n="d=8", k="j=7", a="((x*3 + g)*s + i)*7 + j")
    assert (c.batches, c.rows, c.columns, c.depth) == (3, parse("b*s"), 8, 7)
    assert c.flops == 336 * parse("b*s")
    assert size(()) == 1

