"""Macro kernels through the JIT against NumPy: every way that A can lie, odd sizes, and epilogues."""

import numpy as np
import pytest

from sod2jax.ir import interp
from sod2jax.ir.box import Box
from sod2jax.ir.contraction import Axis, Contraction
from sod2jax.ir.expr import as_expr, const, parse, sym
from sod2jax.ir.loops import Buffer, Const, Gemm, If, Let, Load, Op, Ref, Store
from sod2jax.lowering import gemm, jit, targets
from sod2jax.lowering.canonical import canonical

F32 = np.dtype(np.float32)
TARGET = targets.host()


def axes(text):
    """Axes from "s=128 h=12": the symbols' names and extents."""
    pairs = (p.split("=") for p in text.split())
    return tuple(Axis(v, parse(e)) for v, e in pairs)


def make(batch="", m="", n="", k="", a="0", dtype=F32):
    return Contraction(np.dtype(dtype), axes(batch), axes(m), axes(n), axes(k), "a", parse(a), "panels")


def row_major(axes):
    """The offset of a dense array over `axes`."""
    offset = const(0)
    for x in axes:
        offset = offset * x.extent + sym(x.var)
    return offset


def load_b(c):
    dense = row_major((*c.batch, *c.k, *c.n))
    return lambda point, box: ((), Load("b", box.simplify(dense.subs(point)), c.dtype))


def store_at(offset):
    return lambda point, acc, box: (Store("out", box.simplify(offset.subs(point)), acc),)


def store_out(c):
    return store_at(row_major((*c.batch, *c.m, *c.n)))


def numeric(e, env):
    """An expression over arrays."""
    return eval(str(as_expr(e)), {"min": np.minimum, "max": np.maximum}, env)


def operands(c, env, rng):
    """(a, b, A gathered as [batch, m, k], B as [batch, k, n])."""
    shape = lambda axes: [as_expr(x.extent).eval(env) for x in axes]
    b = rng.standard_normal([*shape(c.batch), *shape(c.k), *shape(c.n)]).astype(c.dtype)
    all_axes = (*c.batch, *c.m, *c.k)
    grid = np.meshgrid(*(np.arange(n) for n in shape(all_axes)), indexing="ij") if all_axes else []
    at = np.asarray(numeric(c.a_offset, {**env, **{x.var: g for x, g in zip(all_axes, grid)}}), np.int64)
    at = np.broadcast_to(at, shape(all_axes))
    a = rng.standard_normal(max(1, at.max(initial=0) + 1)).astype(c.dtype)
    sizes = [int(np.prod(shape(x), dtype=int)) for x in (c.batch, c.m, c.n, c.k)]
    return a, b, a[at].reshape(sizes[0], sizes[1], sizes[3]), b.reshape(sizes[0], sizes[3], sizes[2])


def execute(nest, buffers, arrays, env, target=TARGET):
    """Runs a nest as the runtime does, in two slices of the parallel loop."""
    bound = canonical(nest.kernel("test", buffers), nest.keep)
    sizes = {n: e.eval(env) for n, e in zip(bound.kernel.sizes, bound.sizes)}
    extent = bound.kernel.extent.eval(sizes)
    compiled = jit.compile([bound.kernel], target)
    named = dict(zip((b.name for b in buffers), arrays, strict=True))
    for begin, end in ((extent // 2, extent), (0, extent // 2)):
        jit.call(bound.kernel, compiled.addresses[0], named, sizes, begin, end)


def interpret(nest, buffers, arrays, env, target=TARGET):
    """Runs a nest in the interpreter: the same meaning, with every access checked."""
    bound = canonical(nest.kernel("test", buffers), nest.keep)
    sizes = {n: e.eval(env) for n, e in zip(bound.kernel.sizes, bound.sizes)}
    named = dict(zip((b.name for b in buffers), arrays, strict=True))
    interp.run(bound.kernel, named, sizes, panel=gemm.microkernel.panel(target, np.float32))


def multiply(c, box, env, epilogue=None, extra=(), target=TARGET, execute=execute, variants=True):
    rng = np.random.default_rng(0)
    a, b, left, right = operands(c, env, rng)
    panels = np.full(gemm.panel_elements(c, target).eval(env) + 1, np.nan, c.dtype)
    packing = (Buffer("b", c.dtype, "r"), Buffer("panels", c.dtype, "w"))
    execute(gemm.pack(c, target, box, load_b(c)), packing, [b.ravel(), panels], env, target)
    assert np.isnan(panels[-1])
    assert not np.isnan(panels[:-1]).any()
    result = np.full(left.shape[0] * left.shape[1] * right.shape[2] + 1, 7, c.dtype)
    buffers = (
        Buffer("a", c.dtype, "r"), Buffer("panels", c.dtype, "r"), *(Buffer(n, x.dtype, "r") for n, x in extra),
        Buffer("out", c.dtype, "w"),
    )  # fmt: skip
    arrays = [a, panels, *(x.ravel() for _, x in extra), result]
    execute(gemm.contract(c, target, box, epilogue or store_out(c), variants), buffers, arrays, env, target)
    want = left.astype(np.float64) @ right.astype(np.float64)
    return result, want


def check(c, box, env, **how):
    result, want = multiply(c, box, env, **how)
    assert result[-1] == 7
    tolerance = 1e-4 if c.dtype == F32 else 1e-11
    np.testing.assert_allclose(result[:-1], want.ravel(), rtol=tolerance, atol=tolerance * max(1, want.size and abs(want).max()))


SIZES = (0, 1, 2, 7, 16, 31, 33, 130)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matrix_product_of_any_size(dtype):
    c = make(m="i=M", n="j=N", k="p=K", a="i*K + p", dtype=dtype)
    box = Box({"M": (0, None), "N": (0, None), "K": (0, None)})
    rng = np.random.default_rng(5)
    cases = [(m, n, k) for m in SIZES for n in SIZES for k in (0, 1, 5, 64) if rng.random() < 0.3]
    for m, n, k in [*cases, (300, 40, 33), (5, 100, 2500), (130, 64, 9000), (3, 0, 4), (0, 3, 4), (3, 4, 0)]:
        check(c, box, {"M": m, "N": n, "K": k})


@pytest.mark.parametrize(
    ("m", "n", "k"),
    [("s", "64", "768"), ("1", "40", "3"), ("s", "1000", "33"), ("b*s", "96", "17"), ("37", "5", "5000")],
)
def test_static_and_symbolic_sizes(m, n, k):
    c = make(m=f"i={m}", n=f"j={n}", k=f"p={k}", a=f"i*({k}) + p")
    for s in (1, 3, 50):
        check(c, Box({"s": (0, None), "b": (1, 8)}), {"s": s, "b": 2})


def test_without_variants():
    """One kernel whatever the size: no block height and no case that sizes choose."""
    c = make(m="i=M", n="j=N", k="p=K", a="i*K + p")
    box = Box({"M": (0, None), "N": (0, None), "K": (0, None)})
    for m in SIZES:
        check(c, box, {"M": m, "N": 2 * m + 1, "K": 33}, variants=False)
        check(c, box, {"M": m, "N": 64, "K": 7}, variants=False)
    kernels = [gemm.contract(c, TARGET, box, store_out(c), variants) for variants in (False, True)]
    assert [len(list(find(Gemm, nest.body))) for nest in kernels] == [1, 2]
    assert [len(list(find(If, nest.body))) for nest in kernels] == [0, 2]
    assert kernels[0].extent.eval({"M": 128, "N": 1, "K": 1}) == 1
    assert kernels[1].extent.eval({"M": 128, "N": 1, "K": 1}) == 8


def test_wide_target_has_no_say_in_the_result():
    if not (TARGET.is_x86 and TARGET.vector_bits == 512):
        pytest.skip("needs a machine that runs another target's code")
    c = make(m="i=M", n="j=N", k="p=K", a="i*K + p")
    box = Box({"M": (0, None), "N": (0, None), "K": (0, None)})
    for m, n, k in [(13, 50, 9), (100, 16, 64), (1, 1, 1), (3, 4, 0)]:
        check(c, box, {"M": m, "N": n, "K": k}, target=targets.named("x86-64-avx2"))


LAYOUTS = pytest.mark.parametrize(
    "c",
    [
        make(m="i=s", n="j=20", k="p=9", a="p*s + i"),  # transposed
        make(m="i=s", n="j=20", k="p=9", a="i*27 + p*3"),  # strided
        make(m="i=s", n="j=20", k="p=9", a="(s - 1 - i)*9 + p"),  # reversed rows
        make(m="i=s", n="j=20", k="p=9", a="p"),  # broadcast
        make(m="x=b i=s", n="j=20", k="p=9", a="(x*s + i)*9 + p"),  # rows merge
        make(m="x=b i=s", n="j=20", k="p=9", a="(i*b + x)*9 + p"),  # rows do not
        make(m="x=b i=s", n="j=20", k="p=9", a="(x // 2)*s*9 + i*9 + p"),  # outer rows need not be affine
        make(m="i=s", n="j=20", k="p=9", a="(i // 2)*9 + p"),  # nor any
        make(m="i=s", n="h=3 d=12", k="p=9", a="i*9 + p"),
        make(m="i=s", n="j=20", k="h=4 d=6", a="i*24 + h*6 + d"),  # depth merges
        make(m="i=s", n="j=20", k="h=4 d=6", a="h*s*6 + i*6 + d"),  # a table
        make(m="i=s", n="j=20", k="g=2 h=b d=6", a="((h*2 + g)*s + i)*6 + d"),
        make(batch="x=b h=3", m="i=s", n="j=s", k="d=8", a="(x*s + i)*24 + h*8 + d"),  # attention scores
        make(batch="x=b h=3", m="i=s", n="d=8", k="j=s", a="((x*3 + h)*s + i)*s + j"),  # attention values
        make(batch="h=3", m="x=b i=s", n="d=8", k="j=7", a="((x*3 + h)*s + i)*7 + j"),
        make(m="u=1 i=s", n="v=1 j=20", k="w=1 p=9", a="u*100 + i*9 + p + w*5", batch="t=1"),
        make(m="", n="j=20", k="p=9", a="p"),
        make(m="i=s", n="", k="p=9", a="i*9 + p"),
        make(m="i=s", n="j=4", k="", a="i"),
        # convolutions of [b, s + 2, 9, channels], by windows of 3x3
        make(m="x=b y=s z=7", n="f=20", k="u=3 v=3 c=5", a="((x*(s + 2) + y + u)*9 + z + v)*5 + c"),
        make(m="x=b y=(s+1)//2 z=4", n="f=33", k="u=3 v=3 c=5", a="((x*(s + 2) + 2*y + u)*9 + 2*z + v)*5 + c"),
        make(m="x=b y=s z=5", n="f=16", k="u=3 v=3 c=5", a="((x*(s + 2) + y + u)*9 + z + 2*v)*5 + c"),  # dilated
        make(batch="g=2", m="x=b y=s z=7", n="f=6", k="u=3 v=3 c=5", a="((x*(s + 2) + y + u)*9 + z + v)*10 + g*5 + c"),  # grouped
        make(m="x=b y=s z=9", n="f=40", k="c=5", a="((x*(s + 0) + y)*9 + z)*5 + c"),  # pointwise
    ],
    ids=lambda c: str(c.a_offset),
)  # fmt: skip


@LAYOUTS
def test_layouts(c):
    for s, b in ((1, 1), (5, 2), (40, 3), (0, 2)):
        check(c, Box({"s": (0, None), "b": (1, None)}), {"s": s, "b": b})


@LAYOUTS
def test_layouts_in_the_interpreter(c):
    check(c, Box({"s": (0, None), "b": (1, None)}), {"s": 5, "b": 2}, execute=interpret)


def test_epilogue_sees_the_point():
    """bias, a residual, a relu and a transposed store, all in the tile."""
    c = make(m="x=b i=s", n="h=3 d=24", k="p=10", a="(x*s + i)*10 + p")
    box = Box({"s": (0, None), "b": (1, None)})
    rng = np.random.default_rng(1)

    def epilogue(point, acc, box):
        at = lambda text: box.simplify(parse(text).subs(point))
        summed = Op("add", (acc, Load("bias", at("h*24 + d"), F32)), F32)
        relu = Op("max", (summed, Const(0.0, F32)), F32)
        residual = Op("add", (Ref("r", F32), Load("residual", at("((x*s + i)*3 + h)*24 + d"), F32)), F32)
        return Let("r", relu), Store("out", at("((x*3 + h)*s + i)*24 + d"), residual)

    for b, s in ((1, 1), (2, 13), (3, 90)):
        bias, residual = rng.standard_normal(72).astype(F32), rng.standard_normal((b, s, 72)).astype(F32)
        result, want = multiply(c, box, {"b": b, "s": s}, epilogue, (("bias", bias), ("residual", residual)))
        want = np.maximum(want.reshape(b, s, 72) + bias, 0) + residual
        want = want.reshape(b, s, 3, 24).transpose(0, 2, 1, 3)
        np.testing.assert_allclose(result[:-1].reshape(want.shape), want, rtol=1e-4, atol=1e-4)


def find(kind, body):
    for s in body:
        if isinstance(s, kind):
            yield s
        yield from find(kind, getattr(s, "body", ()))


def test_plain_store_of_whole_vectors_skips_the_scratch():
    box = Box({"s": (0, None)})
    for n, targets_ in (("64", ["out"]), ("20", ["_gacc"]), ("s", ["out", "_gacc"])):
        c = make(m="i=s", n=f"j={n}", k="p=9", a="i*9 + p")
        nest = gemm.contract(c, TARGET, box, store_out(c))
        assert [g.c for g in find(Gemm, nest.body)] == targets_
        assert bool(nest.locals) is ("_gacc" in targets_)


def test_equal_structures_give_equal_kernels():
    """Other widths and other symbols: the same machine code, with other arguments."""

    def kernel(s, n, k):
        c = make(m=f"i={s}", n=f"j={n}", k=f"p={k}", a=f"i*{k} + p")
        nest = gemm.contract(c, TARGET, Box({s: (0, None)}), store_out(c))
        buffers = Buffer("a", F32, "r"), Buffer("panels", F32, "r"), Buffer("out", F32, "w")
        return canonical(nest.kernel("x", buffers), nest.keep)

    one, two = kernel("s", 768, 512), kernel("t", 3072, 256)
    assert one.kernel == two.kernel
    assert one.sizes != two.sizes
