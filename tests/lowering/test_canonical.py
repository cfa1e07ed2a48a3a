"""Kernels that differ in names and sizes alone become equal."""

import numpy as np

from sod2jax.ir.expr import const, floordiv, sym
from sod2jax.ir.loops import Buffer, For, Kernel, Let, Load, Op, Ref, Store
from sod2jax.lowering.canonical import canonical

F32 = np.dtype(np.float32)


def kernel(var, inner, value, rows, width, stride=2):
    at = sym(var) * width + sym(inner)
    body = For(
        inner, width, (Let(value, Op("exp", (Load("x0", at * stride, F32),), F32)), Store("out", at, Ref(value, F32))), "vector"
    )
    return Kernel("k", (Buffer("x0", F32, "r"), Buffer("out", F32, "w")), (), (), var, rows, (body,))


def test_names_and_sizes_do_not_matter():
    one = canonical(kernel("_i1", "_i2", "_t3", sym("b") * sym("s"), const(768)))
    two = canonical(kernel("_i7", "_i9", "_t11", sym("s"), const(3072)))
    assert one.kernel == two.kernel
    assert [str(e) for e in one.sizes] == ["b*s", "768", "1536"]
    assert [str(e) for e in two.sizes] == ["s", "3072", "6144"]


def test_small_constants_shape_the_code():
    three = canonical(kernel("i", "j", "t", sym("s"), const(3)))
    assert three.kernel.body[0].extent == 3
    kept = canonical(kernel("i", "j", "t", sym("s"), const(64)), keep=frozenset({64}))
    assert kept.kernel.body[0].extent == 64


def test_quotients_keep_their_sizes():
    k = kernel("i", "j", "t", sym("s"), const(64))
    k = Kernel(
        "k", k.buffers, (), (), "i", sym("s"), (Store("out", floordiv(sym("i"), sym("s") * 4) * 100, Load("x0", sym("i"), F32)),)
    )
    bound = canonical(k)
    assert str(bound.kernel.body[0].offset) == "n2*(i0 // n1)" or len(bound.sizes) == 3
    env = {"s": 7}
    sizes = {f"n{i}": e.eval(env) for i, e in enumerate(bound.sizes)}
    for i in range(40):
        assert bound.kernel.body[0].offset.eval({**sizes, "i0": i}) == i // 28 * 100
