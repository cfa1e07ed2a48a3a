"""Loads and stores of every stride, masked and not, gathers and scatters, against the interpreter."""

import ctypes
import mmap

import ml_dtypes
import numpy as np
import pytest

from sod2jax.ir.expr import const, maximum, minimum, sym
from sod2jax.ir.loops import (
    Buffer,
    Const,
    For,
    Kernel,
    Let,
    Load,
    Op,
    Ref,
    Store,
)  # fmt: skip
from sod2jax.lowering import jit, targets

HOST = targets.host()

BF16 = np.dtype(ml_dtypes.bfloat16)
F16, F32, F64 = map(np.dtype, (np.float16, np.float32, np.float64))
I32, I64, BOOL = map(np.dtype, (np.int32, np.int64, bool))

SIZES = (0, 1, 3, 7, 15, 16, 17, 31, 33, 64, 67, 131)

n, m, i, v, r = map(sym, "nmivr")

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


@pytest.mark.parametrize("where", [False, True])
@pytest.mark.parametrize("name", OFFSETS)
def test_offsets(name, where, target, oracle):
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
            data = {"x": oracle.values(dtype, top + 1, rng), "w": rng.integers(0, 2, size).astype(I32)}
            oracle.check(kernel, {**data, "y": oracle.values(dtype, 2 * size, rng)}, env, target)


def test_scatter_and_gather_by_index(target, oracle):
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
                data = {"x": oracle.values(dtype, 30, rng), "at": at, "y": np.zeros(61, dtype)}
                oracle.check(kernel, data, {"n": size}, target)


def test_two_stores_side_by_side_are_one(target, oracle):
    rng = np.random.default_rng(6)
    for dtype in (F32, F64, BF16):
        for where in (None, Op("lt", (Load("w", v, I32), Const(1, I32)), BOOL)):
            parts = [Let(name, Load("x", 2 * v + k, dtype)) for k, name in enumerate("ab")]
            stores = [Store("y", 2 * v + k, Ref(name, dtype), where) for k, name in enumerate("ba")]
            buffers = (Buffer("x", dtype, "r"), Buffer("w", I32, "r"), Buffer("y", dtype, "rw"))
            kernel = Kernel("swap", buffers, ("n",), (), "i", const(1), (For("v", n, (*parts, *stores), "vector"),))
            for size in SIZES:
                data = {"x": oracle.values(dtype, 2 * size, rng), "w": rng.integers(0, 2, size).astype(I32)}
                oracle.check(kernel, {**data, "y": oracle.values(dtype, 2 * size, rng)}, {"n": size}, target)


def test_every_second_element_without_the_one_behind(target, oracle):
    """A page that cannot be read lies behind the last element."""
    rng = np.random.default_rng(7)
    with mmap.mmap(-1, 2 * mmap.PAGESIZE) as memory:
        end = np.frombuffer(memory, np.uint8)
        start = end.ctypes.data
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
        for size in (16, 64, 128):
            x = end[: mmap.PAGESIZE].view(F32)[-(2 * size - 1) :]
            x[:] = rng.standard_normal(x.size)
            body = (For("v", n, (Store("y", v, Load("x", 2 * v, F32)),), "vector"),)
            kernel = Kernel("half", (Buffer("x", F32, "r"), Buffer("y", F32, "w")), ("n",), (), "i", const(1), body)
            y = np.zeros(size, F32)
            compiled = jit.compile([kernel], target)
            jit.call(kernel, compiled.addresses[0], {"x": x, "y": y}, {"n": size})
            np.testing.assert_array_equal(y, x[::2])
        ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), mmap.PAGESIZE, 3)
        del end, x
