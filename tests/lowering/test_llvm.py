"""Machine code against the NumPy interpreter: every scalar function of every dtype, ways to access memory, random kernels."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from sod2jax.errors import UnsupportedError
from sod2jax.ir import interp
from sod2jax.ir.expr import const, maximum, minimum, sym
from sod2jax.ir.loops import (
    FOLDS,
    SCALAR_OPS,
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
)
from sod2jax.lowering import jit, llvm, microkernel, targets
from sod2jax.lowering.scalar_ops import RULES

HOST = targets.host()
TARGETS = [HOST]
if HOST.is_x86 and HOST.vector_bits == 512:
    TARGETS.append(targets.named("x86-64-avx2"))

BF16 = np.dtype(ml_dtypes.bfloat16)
F16, F32, F64 = map(np.dtype, (np.float16, np.float32, np.float64))
I32, I64, BOOL = map(np.dtype, (np.int32, np.int64, bool))
FLOATS = [F16, BF16, F32, F64]
INTEGERS = [np.dtype(f"{s}int{b}") for s in ("", "u") for b in (8, 16, 32, 64)]
SIZES = (0, 1, 3, 7, 15, 16, 17, 31, 33, 64, 67, 131)

n, m, i, v, r = map(sym, "nmivr")


def values(dtype, size, rng, small=False):
    """Random ones, with the values that are special at the front of a shuffled array."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(size) < 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        out = rng.integers(info.min, info.max, size, dtype, endpoint=True)
        out = np.where(rng.random(size) < 0.5, rng.integers(0, 5, size).astype(dtype), out).astype(dtype)
        special = np.array([info.min, info.max, 0, 1, info.max - 1], dtype)
        special = np.append(special, np.array([-1, -2]).astype(dtype))
    else:
        out = (rng.standard_normal(size) * 10.0 ** rng.integers(-3, 4, size)).astype(dtype)
        limits = ml_dtypes.finfo(dtype)
        special = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.0, np.inf, -np.inf, np.nan]
        special = np.array([*special, limits.max, limits.tiny, limits.smallest_subnormal], dtype)
    if not small:
        k = min(size, special.size)
        out[:k] = special[rng.permutation(special.size)[:k]]
    return out


def run_both(kernel, buffers, sizes, target=HOST, begin=0, end=None, panel=None):
    """(the interpreter's buffers, the machine's)."""
    ours = {k: b.copy() for k, b in buffers.items()}
    theirs = {k: b.copy() for k, b in buffers.items()}
    compiled = jit.compile([kernel], target)
    jit.call(kernel, compiled.addresses[0], ours, sizes, begin, end)
    interp.run(kernel, theirs, sizes, begin, end, panel=panel)
    return theirs, ours


def check(kernel, buffers, sizes, target=HOST, ulp=0, **kwargs):
    theirs, ours = run_both(kernel, buffers, sizes, target, **kwargs)
    for b in kernel.buffers:
        if b.access != "r":
            close(ours[b.name], theirs[b.name], ulp)


def close(ours, theirs, ulp=0):
    """Equal, or within `ulp` units of the last place; NaN equals NaN, and the sign of a zero counts."""
    if ours.dtype.kind in "biu":
        np.testing.assert_array_equal(ours, theirs)
        return
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b)))
    if ulp:
        limits = ml_dtypes.finfo(ours.dtype)
        with np.errstate(all="ignore"):
            spacing = 2.0 ** np.maximum(np.floor(np.log2(np.abs(b))), limits.minexp) * float(limits.eps)
            same |= np.abs(a - b) <= ulp * spacing
    bad = np.flatnonzero(~same)
    assert not bad.size, f"{bad.size} differ, first: {ours.reshape(-1)[bad[0]]!r}, should be {theirs.reshape(-1)[bad[0]]!r}"


def map_kernel(op, dtypes, result):
    loads = tuple(Load(f"x{k}", v, d) for k, d in enumerate(dtypes))
    buffers = (*(Buffer(f"x{k}", d, "r") for k, d in enumerate(dtypes)), Buffer("y", result, "w"))
    body = (For("v", n, (Store("y", v, Op(op, loads, result)),), "vector"),)
    return Kernel(op, buffers, ("n",), (), "i", const(1), body)


KINDS = {"f": FLOATS, "i": INTEGERS[:4], "u": INTEGERS[4:], "b": [BOOL]}
CASES = [(op, d) for op, kinds in RULES for kind in kinds for d in KINDS[kind]]
ROUGH = interp.TRANSCENDENTAL - {"sqrt"}


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize(("op", "dtype"), CASES, ids=lambda x: str(x))
def test_scalar_function(op, dtype, target):
    if op == "nextafter" and dtype in (F16, BF16):
        pytest.skip("not supported")
    arity = next(k for k, names in SCALAR_OPS.items() if op in names)
    result = BOOL if op in interp.TESTS else dtype
    kernel = map_kernel(op, (dtype,) * arity, result)
    rng = np.random.default_rng(0)
    for size in (0, 1, 17, 300):
        buffers = {f"x{k}": values(dtype, size, rng) for k in range(arity)} | {"y": np.zeros(size, result)}
        ulp = (4 if dtype == F64 else 2) if op in ROUGH else 0
        if op == "fma" and dtype.kind == "f":
            ulp = 1 if dtype != F64 else 1e6  # a longdouble product is not exact
        check(kernel, buffers, {"n": size}, target, ulp)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, BOOL], ids=str)
def test_convert(dtype, target):
    rng = np.random.default_rng(1)
    for result in (*FLOATS, *INTEGERS, BOOL):
        kernel = map_kernel("convert", (dtype,), result)
        x = values(dtype, 131, rng)
        if dtype.itemsize == 8 and dtype.kind in "iu" and result in (F16, BF16):
            x = x >> np.array(41, dtype)  # long ones round twice, by way of f32
        check(kernel, {"x0": x, "y": np.zeros(131, result)}, {"n": 131}, target)


def test_select_and_bitcast():
    rng = np.random.default_rng(2)
    for dtype in (*FLOATS, *INTEGERS, BOOL):
        kernel = map_kernel("select", (BOOL, dtype, dtype), dtype)
        x = {"x0": values(BOOL, 67, rng), "x1": values(dtype, 67, rng), "x2": values(dtype, 67, rng)}
        check(kernel, {**x, "y": np.zeros(67, dtype)}, {"n": 67})
    for a, b in ((F32, I32), (I64, F64), (F16, np.dtype(np.int16)), (np.dtype(np.uint16), BF16)):
        x = values(a, 67, rng)
        if a.kind == "u":
            x = np.where((x & 0x7FFF) > 0x7F80, 0, x).astype(a)  # a NaN's payload need not survive
        check(map_kernel("bitcast", (a,), b), {"x0": x, "y": np.zeros(67, b)}, {"n": 67})


FOLDED = [(op, d) for op in ("add", "mul", "max", "min") for d in (F16, BF16, F32, F64, I32, I64, np.dtype(np.uint8))]
FOLDED += [(op, d) for op in ("and", "or", "xor") for d in (I32, np.dtype(np.uint8), BOOL)]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize(("op", "dtype"), FOLDED, ids=lambda x: str(x))
def test_reduction_over_lanes_and_per_lane(op, dtype, target):
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
        x = values(dtype, 5 * size, rng, small=True)
        if dtype.kind == "f" or dtype == BF16:
            x = (rng.uniform(0.8, 1.2, 5 * size)).astype(dtype)
        ulp = 64 if op in ("add", "mul") else 0
        check(rows, {"x": x, "y": np.zeros(5, dtype)}, {"n": 5, "m": size}, target, ulp)
        check(columns, {"x": x, "y": np.zeros(size, dtype)}, {"n": 5, "m": size}, target, ulp)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", [F32, F64, I32], ids=str)
@pytest.mark.parametrize("op", ["max", "min"])
def test_nan_wins_reductions(op, dtype, target):
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
            check(kernel, {"x": x, "y": np.zeros(1, dtype)}, {"n": size}, target)


# Ways to address memory. Each is (offset, elements needed) as functions of the flat index and the extent.
OFFSETS = {
    "unit": v + i * n,
    "uniform": i,
    "strided": 3 * v + 5 * i,
    "symbolic stride": v * m + i,
    "reversed": i * n + n - 1 - v,
    "negative stride": 2 * n - 2 * v,
    "modulo": (v + i) % 5,
    "quotient": (7 * v + i) // 3,
    "symbolic quotient": v // m + v % m,
    "clamped": minimum(v + 2, n - 1) + maximum(v - n // 2, 0),
    "quadratic": v * v,
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("where", [False, True])
@pytest.mark.parametrize("name", OFFSETS)
def test_offsets(name, where, target):
    offset = OFFSETS[name]
    rng = np.random.default_rng(4)
    for dtype in (F32, F64, BF16, np.dtype(np.int8), BOOL):
        mask = Op("lt", (Load("w", v, I32), Const(1, I32)), BOOL) if where else None
        load = Load("x", offset, dtype, mask)
        store = Store("y", i * n + v, load, mask)
        buffers = (Buffer("x", dtype, "r"), Buffer("w", I32, "r"), Buffer("y", dtype, "rw"))
        kernel = Kernel("move", buffers, ("n", "m"), (), "i", const(2), (For("v", n, (store,), "vector"),))
        for size in SIZES:
            env = {"n": size, "m": 4}
            top = max((offset.eval({**env, "v": k, "i": j}) for k in range(size) for j in (0, 1)), default=0)
            data = {"x": values(dtype, top + 1, rng), "w": rng.integers(0, 2, size).astype(I32)}
            check(kernel, {**data, "y": values(dtype, 2 * size, rng)}, env, target)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_scatter_and_gather_by_index(target):
    for dtype in (F32, F64, F16, np.dtype(np.int8)):
        for index in (I32, I64, np.dtype(np.uint8)):
            let = Let("k", Load("at", v, index))
            ok = Op("lt", (Ref("k", index), Const(30, index)), BOOL)
            body = (let, Store("y", 2 * sym("k") + 1, Load("x", sym("k"), dtype, ok), ok))
            buffers = (Buffer("x", dtype, "r"), Buffer("at", index, "r"), Buffer("y", dtype, "rw"))
            kernel = Kernel("permute", buffers, ("n",), (), "i", const(1), (For("v", n, body, "vector"),))
            rng = np.random.default_rng(5)
            for size in SIZES[:9]:
                at = rng.permutation(40)[:size].astype(index)
                data = {"x": values(dtype, 30, rng), "at": at, "y": np.zeros(61, dtype)}
                check(kernel, data, {"n": size}, target)


def test_embedding_rows_with_a_scalar_index():
    body = (
        Let("k", Load("tokens", i, I32)),
        For("v", n, (Store("y", i * n + v, Load("table", sym("k") * n + v, F32)),), "vector"),
    )
    buffers = (Buffer("tokens", I32, "r"), Buffer("table", F32, "r"), Buffer("y", F32, "w"))
    kernel = Kernel("embed", buffers, ("n",), (), "i", const(6), body)
    rng = np.random.default_rng(6)
    for size in SIZES:
        tokens = rng.integers(0, 9, 6).astype(I32)
        check(kernel, {"tokens": tokens, "table": values(F32, 9 * size, rng), "y": np.zeros(6 * size, F32)}, {"n": size})


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


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", [F32, F64, BF16, F16], ids=str)
def test_softmax_with_scratch(dtype, target):
    rng = np.random.default_rng(7)
    for size in SIZES:
        x = rng.standard_normal(4 * size).astype(dtype)
        ulp = 8 if dtype.itemsize > 2 else 2
        check(softmax(dtype), {"x": x, "y": np.zeros(4 * size, dtype)}, {"n": size, "m": 4}, target, ulp, begin=1, end=3)


def test_uniform_if_unrolled_loops_and_index_values():
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
        for target in TARGETS:
            check(kernel, {"x": np.arange(3, dtype=F32), "y": np.zeros(4 * size, F32)}, {"n": size}, target)


def test_in_place():
    y = Store("y", v, Op("mul", (Load("y", v, F32), Load("x", v, F32)), F32))
    kernel = Kernel(
        "scale", (Buffer("x", F32, "r"), Buffer("y", F32, "rw")), ("n",), (), "i", const(1), (For("v", n, (y,), "vector"),)
    )
    rng = np.random.default_rng(8)
    for size in SIZES:
        check(kernel, {"x": values(F32, size, rng), "y": values(F32, size, rng)}, {"n": size})


@pytest.mark.parametrize("extent", [1, 2, 5, 8, 16, 24, 40, 64, 100])
@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_constant_extents(extent, target):
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
    check(kernel, {"x": x, "y": np.zeros_like(x)}, {}, target)


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
def test_random_kernels(seed):
    maker = Maker(seed)
    kernel = maker.kernel()
    dtype = kernel.buffers[-1].dtype
    for target in TARGETS:
        for size in (0, 1, 7, 16, 33, 67):
            data, env = maker.data(size)
            theirs, ours = run_both(kernel, {**data, "y": np.zeros(3 * max(size, 1), dtype)}, env, target)
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


def test_unsupported_is_said():
    with pytest.raises(UnsupportedError, match="complex64"):
        llvm.emit(map_kernel("add", (np.dtype(np.complex64),) * 2, np.dtype(np.complex64)), HOST)
    with pytest.raises(UnsupportedError, match="exp of int32"):
        llvm.emit(map_kernel("exp", (I32,), I32), HOST)


def test_gemm_calls_the_microkernel():
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
    theirs, ours = run_both(kernel, {**data, "y": np.zeros(3 * rows * columns, F32)}, {}, panel=panel)
    np.testing.assert_allclose(ours["y"], theirs["y"], rtol=1e-4, atol=1e-5)


def test_every_scalar_function_compiles_for_phones():
    kernels = []
    for op, dtype in CASES:
        if dtype in (F16, I64, F32, F64, BOOL) and (op, dtype) != ("nextafter", F16):
            arity = next(k for k, names in SCALAR_OPS.items() if op in names)
            result = BOOL if op in interp.TESTS else dtype
            kernels.append(replace(map_kernel(op, (dtype,) * arity, result), name=f"{op}_{dtype}"))
    assert len(jit.object(kernels, targets.named("aarch64-linux-android"))) > 100_000
