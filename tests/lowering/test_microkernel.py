"""The microkernel against NumPy, called as kernels call it."""

import ctypes
import re
from functools import lru_cache

import llvmlite.binding as llvm
import numpy as np
import pytest

from sod2jax.errors import UnsupportedError
from sod2jax.lowering import microkernel, targets

DTYPES = ["float32", "float64"]
_PROTOTYPE = ctypes.CFUNCTYPE(
    None, *[ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    + [ctypes.c_int64] * 5
)  # fmt: skip


@lru_cache(maxsize=8)
def _compile(target, dtype):
    module = llvm.parse_assembly(microkernel.module(target, dtype))
    module.verify()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu, features=target.features, opt=2)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine, _PROTOTYPE(engine.get_function_address(f"sod2_gemm_{microkernel.suffix(dtype)}"))


def _runnable():
    """Targets whose code this machine runs."""
    host = targets.host()
    return [host] + ([targets.named("x86-64-avx2")] if host.is_x86 and host.vector_bits == 512 else [])


def gemm(target, a, a_row, a_col, offsets, b, c, rows, columns, k, accumulate):
    _, f = _compile(target, str(c.dtype))
    batch = 1 if offsets is None else len(offsets)
    table = None if offsets is None else np.asarray(offsets, np.int64)
    f(a.ctypes.data, a_row, a_col, None if table is None else table.ctypes.data, batch, b.ctypes.data, c.ctypes.data,
      c.shape[1], rows, columns, k, accumulate)  # fmt: skip


def packed(b, panel):
    """One panel: (k, columns) zero-padded to (k, panel)."""
    out = np.zeros((b.shape[0], panel), b.dtype)
    out[:, : b.shape[1]] = b
    return out


@pytest.mark.parametrize("target", _runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [0, 1])
def test_every_tile(target, dtype, accumulate):
    rng = np.random.default_rng(0)
    panel = microkernel.panel(target, dtype)
    best, lanes = microkernel.tile(target, dtype), target.lanes(dtype)
    for rows in range(1, 2 * best.rows + 2):
        for columns in sorted({1, lanes - 1, lanes, lanes + 1, panel - 1, panel}):
            k = int(rng.integers(1, 9))
            a, b = rng.standard_normal((rows, k)).astype(dtype), rng.standard_normal((k, columns)).astype(dtype)
            c = rng.standard_normal((rows + 1, panel)).astype(dtype)
            before = c.copy()
            gemm(target, a, k, 1, None, packed(b, panel), c, rows, columns, k, accumulate)
            np.testing.assert_allclose(c[:rows, :columns], a @ b + accumulate * before[:rows, :columns], rtol=1e-4, atol=1e-5)
            whole = -(-columns // lanes) * lanes
            assert (c[:rows, whole:] == before[:rows, whole:]).all()
            assert (c[rows:] == before[rows:]).all()


@pytest.mark.parametrize("target", _runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_strides_and_batch(target, dtype):
    """A transposed A, a strided one, and a reduction over a table of offsets (as a 3x3 window makes)."""
    rng = np.random.default_rng(1)
    panel = microkernel.panel(target, dtype)
    a = rng.standard_normal(4096).astype(dtype)
    for rows, k, a_row, a_col, offsets in [
        (5, 7, 1, 13, None),
        (9, 4, 12, 2, [3, 0, 100]),
        (11, 3, 0, 1, [7]),
        (1, 1, 1, 1, range(0, 900, 9)),
    ]:
        starts = [0] if offsets is None else list(offsets)
        at = np.array(starts)[:, None, None] + a_row * np.arange(rows)[:, None] + a_col * np.arange(k)  # batch, rows, k
        b = rng.standard_normal((len(starts), k, panel)).astype(dtype)
        c = np.full((rows, panel), np.nan, dtype)
        gemm(target, a, a_row, a_col, offsets, b, c, rows, panel, k, 0)
        np.testing.assert_allclose(c, np.einsum("irk,ikj->rj", a[at], b), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_reduction(dtype):
    target = targets.host()
    panel = microkernel.panel(target, dtype)
    a = b = np.zeros(panel, dtype)
    for k, offsets in ((0, None), (3, [])):
        c = np.full((3, panel), 7, dtype)
        gemm(target, a, 0, 0, offsets, b, c, 2, panel, k, 1)
        assert (c == 7).all()
        gemm(target, a, 0, 0, offsets, b, c, 2, panel, k, 0)
        assert (c == [[0], [0], [7]]).all()
    c = np.full((1, panel), 7, dtype)
    gemm(target, a, 0, 0, None, b, c, 0, panel, 1, 0)
    assert (c == 7).all()


@pytest.mark.parametrize("name", ["x86-64-avx512", "x86-64-avx2", "aarch64-linux-android"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_accumulator_is_spilled(name, dtype):
    target = targets.named(name)
    text = targets.machine(target).emit_assembly(llvm.parse_assembly(microkernel.module(target, dtype)))
    body = text.split("sod2_gemm")[0]
    spill = r"[xyz]mm\d+, -?\d*\(%rsp|str\s+q\d+, \[sp|stp\s+q\d+, q\d+, \[sp"
    assert not re.findall(spill, body)


def test_other_dtypes_are_refused():
    with pytest.raises(UnsupportedError, match="float32 and float64"):
        microkernel.panel(targets.host(), "int32")
