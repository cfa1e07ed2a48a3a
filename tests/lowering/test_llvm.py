"""Statements of the loop IR as machine code against the interpreter: reductions, loops, scratch, random kernels."""

import ml_dtypes
import numpy as np
import pytest

from sod2jax.errors import UnsupportedError
from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import (
    FOLDS,
    Buffer,
    Const,
    For,
    Gemm,
    If,
    Index,
    Init,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    Ref,
    Store,
    Update,
)  # fmt: skip
from sod2jax.lowering import llvm, microkernel, targets

HOST = targets.host()

BF16 = np.dtype(ml_dtypes.bfloat16)
F16, F32, F64 = map(np.dtype, (np.float16, np.float32, np.float64))
I32, I64, BOOL = map(np.dtype, (np.int32, np.int64, bool))

SIZES = (0, 1, 3, 7, 15, 16, 17, 31, 33, 64, 67, 131)

n, m, i, v, r = map(sym, "nmivr")


FOLDED = [(op, d) for op in ("add", "mul", "max", "min") for d in (F16, BF16, F32, F64, I32, I64, np.dtype(np.uint8))]
FOLDED += [(op, d) for op in ("and", "or", "xor") for d in (I32, np.dtype(np.uint8), BOOL)]


@pytest.mark.parametrize(("op", "dtype"), FOLDED, ids=lambda x: str(x))
def test_reduction_over_lanes_and_per_lane(op, dtype, target, oracle):
    assert op in FOLDS
    update = Update("a", Load("x", i * m + v, dtype))
    rows = Kernel(
        "rows", (Buffer("x", dtype, "r"), Buffer("y", dtype, "w")), ("n", "m"), (), "i", n,
        (Init("a", op, dtype), For("v", m, (update,), "vector"), Store("y", i, Ref("a", dtype))),
    )  # fmt: skip
    update = Update("a", Load("x", r * m + v, dtype))
    body = (Init("a", op, dtype), For("r", n, (update,)), Store("y", v, Ref("a", dtype)))
    columns = Kernel(
        "columns",
        (Buffer("x", dtype, "r"), Buffer("y", dtype, "w")),
        ("n", "m"),
        (),
        "i",
        const(1),
        (For("v", m, body, "vector"),),
    )
    rng = np.random.default_rng(3)
    for size in SIZES:
        x = oracle.values(dtype, 5 * size, rng, small=True)
        if dtype.kind == "f" or dtype == BF16:
            x = (rng.uniform(0.8, 1.2, 5 * size)).astype(dtype)
        ulp = 64 if op in ("add", "mul") else 0
        oracle.check(rows, {"x": x, "y": np.zeros(5, dtype)}, {"n": 5, "m": size}, target, ulp)
        oracle.check(columns, {"x": x, "y": np.zeros(size, dtype)}, {"n": 5, "m": size}, target, ulp)


@pytest.mark.parametrize("dtype", [F32, F64, I32], ids=str)
@pytest.mark.parametrize("op", ["max", "min"])
def test_nan_wins_reductions(op, dtype, target, oracle):
    body = (
        Init("a", op, dtype),
        For("v", n, (Update("a", Load("x", v, dtype)),), "vector"),
        Store("y", const(0), Ref("a", dtype)),
    )
    kernel = Kernel("reduce", (Buffer("x", dtype, "r"), Buffer("y", dtype, "w")), ("n",), (), "i", const(1), body)
    for size in (1, 16, 67):
        for at in range(0, size, 5):
            x = np.arange(size).astype(dtype)
            if dtype.kind == "f":
                x[at] = np.nan
            oracle.check(kernel, {"x": x, "y": np.zeros(1, dtype)}, {"n": size}, target)


def test_embedding_rows_with_a_scalar_index(oracle):
    body = (
        Let("k", Load("tokens", i, I32)),
        For("v", n, (Store("y", i * n + v, Load("table", sym("k") * n + v, F32)),), "vector"),
    )
    buffers = (Buffer("tokens", I32, "r"), Buffer("table", F32, "r"), Buffer("y", F32, "w"))
    kernel = Kernel("embed", buffers, ("n",), (), "i", const(6), body)
    rng = np.random.default_rng(6)
    for size in SIZES:
        tokens = rng.integers(0, 9, 6).astype(I32)
        oracle.check(
            kernel, {"tokens": tokens, "table": oracle.values(F32, 9 * size, rng), "y": np.zeros(6 * size, F32)}, {"n": size}
        )


def softmax(dtype=F32):
    x = Load("x", i * n + v, dtype)
    top, total = Ref("top", dtype), Ref("total", dtype)
    body = (
        Init("top", "max", dtype),
        For("v", n, (Update("top", x),), "vector"),
        Init("total", "add", dtype),
        For(
            "v", n,
            (
                Let("e", Op("exp", (Op("sub", (x, top), dtype),), dtype)),
                Store("tmp", v, Ref("e", dtype)),
                Update("total", Ref("e", dtype)),
            ),
            "vector",
        ),
        Let("scale", Op("reciprocal", (total,), dtype)),
        For("v", n, (Store("y", i * n + v, Op("mul", (Load("tmp", v, dtype), Ref("scale", dtype)), dtype)),), "vector"),
    )  # fmt: skip
    return Kernel(
        "softmax", (Buffer("x", dtype, "r"), Buffer("y", dtype, "w")), ("n", "m"), (Local("tmp", dtype, n),), "i", m, body
    )


@pytest.mark.parametrize("dtype", [F32, F64, BF16, F16], ids=str)
def test_softmax_with_scratch(dtype, target, oracle):
    rng = np.random.default_rng(7)
    for size in SIZES:
        x = rng.standard_normal(4 * size).astype(dtype)
        ulp = 8 if dtype.itemsize > 2 else 2
        oracle.check(softmax(dtype), {"x": x, "y": np.zeros(4 * size, dtype)}, {"n": size, "m": 4}, target, ulp, begin=1, end=3)


def test_uniform_if_unrolled_loops_and_index_values(oracle):
    even = Op("eq", (Op("rem", (Index(i, I32), Const(2, I32)), I32), Const(0, I32)), BOOL)
    count = Op("convert", (Index(3 * v + i, I32),), F32)
    body = (
        Init("a", "add", F32),
        For("u", const(3), (Update("a", Load("x", sym("u"), F32)), If(even, (Update("a", Const(10.0, F32)),))), "unroll"),
        If(even, (For("v", n, (Update("a", count),), "vector"),)),
        For("v", n, (Store("y", i * n + v, Op("add", (count, Ref("a", F32)), F32)),), "vector"),
    )
    kernel = Kernel("mixed", (Buffer("x", F32, "r"), Buffer("y", F32, "w")), ("n",), (), "i", const(4), body)
    for size in SIZES:
        for target in oracle.targets:
            oracle.check(kernel, {"x": np.arange(3, dtype=F32), "y": np.zeros(4 * size, F32)}, {"n": size}, target)


def test_in_place(oracle):
    y = Store("y", v, Op("mul", (Load("y", v, F32), Load("x", v, F32)), F32))
    kernel = Kernel(
        "scale", (Buffer("x", F32, "r"), Buffer("y", F32, "rw")), ("n",), (), "i", const(1), (For("v", n, (y,), "vector"),)
    )
    rng = np.random.default_rng(8)
    for size in SIZES:
        oracle.check(kernel, {"x": oracle.values(F32, size, rng), "y": oracle.values(F32, size, rng)}, {"n": size})


@pytest.mark.parametrize("extent", [1, 2, 5, 8, 16, 24, 40, 64, 100])
def test_constant_extents(extent, target, oracle):
    body = (
        Init("a", "add", F32),
        For("v", const(extent), (Update("a", Load("x", i * extent + v, F32)),), "vector"),
        For(
            "v",
            const(extent),
            (Store("y", i * extent + v, Op("sub", (Load("x", i * extent + v, F32), Ref("a", F32)), F32)),),
            "vector",
        ),
    )
    kernel = Kernel("center", (Buffer("x", F32, "r"), Buffer("y", F32, "w")), (), (), "i", const(3), body)
    x = np.arange(3 * extent, dtype=F32)
    oracle.check(kernel, {"x": x, "y": np.zeros_like(x)}, {}, target)


BINARY = ("add", "sub", "mul", "max", "min", "lt", "eq")
UNARY = ("neg", "abs", "floor", "tanh", "exp", "logistic", "square", "sign")


class Maker:
    """A random kernel over two loops: loads of every stride, masks, converts, reductions."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.buffers = {}

    def pick(self, *xs):
        return xs[self.rng.integers(len(xs))]

    def load(self, dtype):
        name = f"x{len(self.buffers)}"
        offset = self.pick(i * n + v, v, i, 2 * v + i, n - 1 - v + i, v * m, (v + i) % 7, v // 2)
        self.buffers[name] = (dtype, offset)
        where = None
        if self.rng.random() < 0.25:
            where = Op(self.pick("lt", "ne"), (Index(v + i, I32), Const(int(self.rng.integers(20)), I32)), BOOL)
        return Load(name, offset, dtype, where)

    def value(self, dtype, depth):
        if depth == 0 or self.rng.random() < 0.15:
            if self.rng.random() < 0.2:
                return Const(int(self.rng.integers(1, 5)) if dtype.kind in "iu" else float(self.rng.integers(1, 5)), dtype)
            return self.load(dtype)
        kind = self.rng.random()
        if kind < 0.15:
            source = self.pick(F32, I32, BF16, np.dtype(np.int8))
            return Op("convert", (self.value(source, depth - 1),), dtype)
        if kind < 0.3:
            cond = Op("gt", (self.value(dtype, depth - 1), self.value(dtype, depth - 1)), BOOL)
            return Op("select", (cond, self.value(dtype, depth - 1), self.value(dtype, depth - 1)), dtype)
        if kind < 0.55:
            ops = [o for o in UNARY if dtype.kind != "i" or o in ("neg", "abs", "square", "sign")]
            return Op(self.pick(*ops), (self.value(dtype, depth - 1),), dtype)
        op = self.pick("add", "sub", "mul", "max", "min")
        return Op(op, (self.value(dtype, depth - 1), self.value(dtype, depth - 1)), dtype)

    def kernel(self):
        dtype = self.pick(F32, F32, F64, I32, BF16, F16)
        y = Buffer("y", dtype, "w")
        if self.rng.random() < 0.4:
            body = (Init("a", self.pick("max", "min"), dtype), For("v", n, (Update("a", self.value(dtype, 3)),), "vector"))
            body = (*body, Store("y", i, Ref("a", dtype)))
        else:
            body = (For("v", n, (Store("y", i * n + v, self.value(dtype, 3)),), "vector"),)
        buffers = (*(Buffer(k, d, "r") for k, (d, _) in self.buffers.items()), y)
        return Kernel("random", buffers, ("n", "m"), (), "i", const(3), body)

    def data(self, size):
        env = {"n": size, "m": 3}
        out = {}
        for name, (dtype, offset) in self.buffers.items():
            top = max((offset.eval({**env, "v": k, "i": j}) for k in range(max(size, 1)) for j in range(3)), default=0)
            out[name] = (self.rng.integers(-9, 9, top + 1) / 4).astype(dtype)
        return out, env


@pytest.mark.parametrize("seed", range(40))
def test_random_kernels(seed, oracle):
    maker = Maker(seed)
    kernel = maker.kernel()
    dtype = kernel.buffers[-1].dtype
    for target in oracle.targets:
        for size in (0, 1, 7, 16, 33, 67):
            data, env = maker.data(size)
            theirs, ours = oracle.run_both(kernel, {**data, "y": np.zeros(3 * max(size, 1), dtype)}, env, target)
            if dtype.kind == "i":
                np.testing.assert_array_equal(ours["y"], theirs["y"])
            else:
                tolerance = {F64: 1e-11, F32: 1e-4, F16: 2e-2, BF16: 1e-1}[dtype]
                a, b = ours["y"].astype(np.float64), theirs["y"].astype(np.float64)
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_equal_kernels_have_equal_texts():
    def kernel(x, y, var):
        body = (For(var, sym("n" + x), (Store(y, sym(var), Load(x, sym(var), F32)),), "vector"),)
        return Kernel("copy" + x, (Buffer(x, F32, "r"), Buffer(y, F32, "w")), ("n" + x,), (), "i", const(1), body)

    assert llvm.emit(kernel("a", "b", "v"), HOST, "k") == llvm.emit(kernel("p", "q", "w"), HOST, "k")


def test_unsupported_is_said(oracle):
    with pytest.raises(UnsupportedError, match="complex64"):
        llvm.emit(oracle.map_kernel("add", (np.dtype(np.complex64),) * 2, np.dtype(np.complex64)), HOST)
    with pytest.raises(UnsupportedError, match="exp of int32"):
        llvm.emit(oracle.map_kernel("exp", (I32,), I32), HOST)


def test_gemm_calls_the_microkernel(oracle):
    panel = microkernel.panel(HOST, F32)
    k, rows, columns = 19, 7, 5
    where = ("c", const(0), const(panel), "a", i * rows * k, const(k), const(1), "at", const(2), "b", const(0))
    gemm = Gemm(*where, const(rows), const(columns), const(k), accumulate=const(0), dtype=F32)
    out = Store("y", (i * rows + r) * columns + v, Op("tanh", (Load("c", r * panel + v, F32),), F32))
    body = (gemm, For("r", const(rows), (For("v", const(columns), (out,), "vector"),)))
    buffers = (Buffer("a", F32, "r"), Buffer("at", I64, "r"), Buffer("b", F32, "r"), Buffer("y", F32, "w"))
    kernel = Kernel("dense", buffers, (), (Local("c", F32, const(rows * panel)),), "i", const(3), body)
    rng = np.random.default_rng(9)
    data = {"a": rng.standard_normal(5 * rows * k), "b": rng.standard_normal(2 * k * panel) * 0.1}
    data = {name: x.astype(F32) for name, x in data.items()} | {"at": np.array([0, rows * k])}
    theirs, ours = oracle.run_both(kernel, {**data, "y": np.zeros(3 * rows * columns, F32)}, {}, panel=panel)
    np.testing.assert_allclose(ours["y"], theirs["y"], rtol=1e-4, atol=1e-5)
