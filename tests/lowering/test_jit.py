"""The JIT's cache and lifetimes, object files for phones, assembly text."""

import gc
import struct
import threading

import numpy as np
import pytest

from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer, Const, For, Kernel, Load, Op, Store
from sod2jax.lowering import jit, targets

F32 = np.dtype(np.float32)
HOST = targets.host()


def scale(factor, name="scale", buffer="x", op="mul"):
    v, n = sym("v"), sym("n")
    value = Op(op, (Load(buffer, v, F32), Const(factor, F32)), F32)
    body = (For("v", n, (Store("y", v, value),), "vector"),)
    return Kernel(name, (Buffer(buffer, F32, "r"), Buffer("y", F32, "w")), ("n",), (), "i", const(1), body)


def test_equal_kernels_are_compiled_once():
    jit.clear()
    first = jit.compile([scale(2.0), scale(3.0), scale(2.0, "other", "z")])
    assert first.misses == 2
    assert first.addresses[0] == first.addresses[2] != first.addresses[1]
    again = jit.compile([scale(3.0, "third")])
    assert again.misses == 0
    assert again.addresses == [first.addresses[1]]


def test_code_outlives_the_cache_while_kept():
    kernel = scale(5.0)
    compiled = jit.compile([kernel])
    jit.clear()
    gc.collect()
    jit.compile([scale(float(i)) for i in range(8)])
    x, y = np.arange(37, dtype=F32), np.zeros(37, F32)
    jit.call(kernel, compiled.addresses[0], {"x": x, "y": y}, {"n": 37})
    np.testing.assert_array_equal(y, 5 * x)


def test_no_kernels():
    assert jit.compile([]).addresses == []


def test_threads_may_compile_at_once():
    jit.clear()
    results = {}

    def work(k):
        kernel = scale(float(k % 3))
        x, y = np.ones(20, F32), np.zeros(20, F32)
        compiled = jit.compile([kernel])
        jit.call(kernel, compiled.addresses[0], {"x": x, "y": y}, {"n": 20})
        results[k] = float(y[7])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {k: float(k % 3) for k in range(8)}


@pytest.mark.parametrize(("name", "machine"), [("aarch64-linux-android", 183), ("aarch64-linux-gnu", 183), ("x86-64-avx2", 62)])
def test_object_files(name, machine):
    image = jit.object([scale(2.0, "twice"), scale(3.0, "thrice"), scale(1.0, "waves", op="atan2")], targets.named(name))
    assert image[:4] == b"\x7fELF"
    assert struct.unpack_from("<HH", image, 16) == (1, machine)  # relocatable
    assert b"twice\0" in image
    assert b"thrice\0" in image


def test_assembly_uses_the_vectors_of_the_target():
    expected = {"x86-64-avx512": "zmm", "x86-64-avx2": "ymm", "aarch64-linux-android": "fmul\tv"}
    for name, register in expected.items():
        assert register in jit.asm([scale(3.0)], targets.named(name))
    assert 'define void @"scale"' in jit.ir([scale(2.0)])
