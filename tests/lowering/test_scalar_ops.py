"""Every scalar function of every dtype against the interpreter, on this machine; and that phones' compiler takes them."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from sod2jax.ir import interp
from sod2jax.ir.expr import sym
from sod2jax.ir.loops import (
    SCALAR_OPS,
)  # fmt: skip
from sod2jax.lowering import jit, targets
from sod2jax.lowering.scalar_ops import RULES

HOST = targets.host()

BF16 = np.dtype(ml_dtypes.bfloat16)
F16, F32, F64 = map(np.dtype, (np.float16, np.float32, np.float64))
I32, I64, BOOL = map(np.dtype, (np.int32, np.int64, bool))

FLOATS = [F16, BF16, F32, F64]
INTEGERS = [np.dtype(f"{s}int{b}") for s in ("", "u") for b in (8, 16, 32, 64)]

n, m, i, v, r = map(sym, "nmivr")

KINDS = {"f": FLOATS, "i": INTEGERS[:4], "u": INTEGERS[4:], "b": [BOOL]}
CASES = [(op, d) for op, kinds in RULES for kind in kinds for d in KINDS[kind]]
ROUGH = interp.TRANSCENDENTAL - {"sqrt"}


@pytest.mark.parametrize(("op", "dtype"), CASES, ids=lambda x: str(x))
def test_scalar_function(op, dtype, target, oracle):
    arity = next(k for k, names in SCALAR_OPS.items() if op in names)
    result = BOOL if op in interp.TESTS else dtype
    kernel = oracle.map_kernel(op, (dtype,) * arity, result)
    rng = np.random.default_rng(0)
    for size in (0, 1, 17, 300):
        buffers = {f"x{k}": oracle.values(dtype, size, rng) for k in range(arity)} | {"y": np.zeros(size, result)}
        ulp = (4 if dtype == F64 else 2) if op in ROUGH else 0
        if op == "fma" and dtype.kind == "f":
            ulp = 1 if dtype != F64 else 1e6  # a longdouble product is not exact
        oracle.check(kernel, buffers, {"n": size}, target, ulp)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, BOOL], ids=str)
def test_convert(dtype, target, oracle):
    rng = np.random.default_rng(1)
    for result in (*FLOATS, *INTEGERS, BOOL):
        kernel = oracle.map_kernel("convert", (dtype,), result)
        x = oracle.values(dtype, 131, rng)
        if dtype.itemsize == 8 and dtype.kind in "iu" and result in (F16, BF16):
            x = x >> np.array(41, dtype)  # long ones round twice, by way of f32
        oracle.check(kernel, {"x0": x, "y": np.zeros(131, result)}, {"n": 131}, target)


def test_select_and_bitcast(oracle):
    rng = np.random.default_rng(2)
    for dtype in (*FLOATS, *INTEGERS, BOOL):
        kernel = oracle.map_kernel("select", (BOOL, dtype, dtype), dtype)
        x = {"x0": oracle.values(BOOL, 67, rng), "x1": oracle.values(dtype, 67, rng), "x2": oracle.values(dtype, 67, rng)}
        oracle.check(kernel, {**x, "y": np.zeros(67, dtype)}, {"n": 67})
    for a, b in ((F32, I32), (I64, F64), (F16, np.dtype(np.int16)), (np.dtype(np.uint16), BF16)):
        x = oracle.values(a, 67, rng)
        if a.kind == "u":
            x = np.where((x & 0x7FFF) > 0x7F80, 0, x).astype(a)  # a NaN's payload need not survive
        oracle.check(oracle.map_kernel("bitcast", (a,), b), {"x0": x, "y": np.zeros(67, b)}, {"n": 67})


def test_every_scalar_function_compiles_for_phones(oracle):
    kernels = []
    for op, dtype in CASES:
        if dtype in (F16, I64, F32, F64, BOOL):
            arity = next(k for k, names in SCALAR_OPS.items() if op in names)
            result = BOOL if op in interp.TESTS else dtype
            kernels.append(replace(oracle.map_kernel(op, (dtype,) * arity, result), name=f"{op}_{dtype}"))
    assert len(jit.object(kernels, targets.named("aarch64-linux-android"))) > 100_000
