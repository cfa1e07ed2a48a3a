"""The kernel checker names what is wrong; drawn iterations stay within their loops."""

from dataclasses import replace

import numpy as np
import pytest

from sod2jax.ir.check_kernel import first_touch, kernel_problems
from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer, Const, For, Gemm, If, Init, Kernel, Let, Load, Op, Ref, Store, Update

F32, I64 = np.dtype(np.float32), np.dtype(np.int64)
I, J, N = sym("i"), sym("j"), sym("n")


def kernel(*body, locals=()):
    buffers = (Buffer("x", F32, "r"), Buffer("out", F32, "w"))
    return Kernel("k", buffers, ("n",), locals, "i", sym("n"), tuple(body))


ZERO = Const(0.0, F32)
BAD_KERNELS = {
    "is read before it is written": Store("out", I, Load("out", I, F32)),
    "stores to x against its access": Store("x", I, ZERO),
    "stores to y, which is no buffer": Store("y", I, ZERO),
    "uses j, which is not in scope": Store("out", J, ZERO),
    "as float64, but it holds float32": Store("out", I, Const(0.0, np.dtype(np.float64))),
    "acc is read before it has a value": Store("out", I, Ref("acc", F32)),
    "acc is updated without Init": Update("acc", ZERO),
    "folds with 'mean'": Init("acc", "mean", F32),
    "exp of 2 arguments": Store("out", I, Op("exp", (ZERO, ZERO), F32)),
    "a condition is float32, not bool": If(ZERO, ()),
    "hides another name": For("n", sym("n"), ()),
    "kind 'fast'": For("j", sym("n"), (), "fast"),
}


@pytest.mark.parametrize("words", BAD_KERNELS)
def test_bad_kernels(words):
    assert any(words in problem for problem in kernel_problems(kernel(BAD_KERNELS[words])))


def test_integer_lets_may_index():
    good = kernel(Let("at", Load("x", I, F32)))
    assert not list(kernel_problems(good))
    index = Let("at", Op("convert", (Load("x", I, F32),), I64))
    assert not list(kernel_problems(kernel(index, Store("out", sym("at"), ZERO))))
    assert list(kernel_problems(kernel(Let("at", ZERO), Store("out", sym("at"), ZERO))))


def test_gemm_names_its_buffers():
    n, one, zero = sym("n"), const(1), const(0)
    product = Gemm("out", zero, n, "x", zero, n, one, None, one, "x", zero, n, n, n, zero, F32)
    assert not list(kernel_problems(kernel(product)))
    wrong_dtype = replace(product, dtype=np.dtype(np.float64))
    assert any("holds float32" in problem for problem in kernel_problems(kernel(wrong_dtype)))


def test_first_touch():
    load = Load("out", I, F32)
    assert first_touch(kernel(Store("out", I, ZERO), Store("out", I, load)), "out") == "write"
    assert first_touch(kernel(Let("v", load), Store("out", I, ZERO)), "out") == "read"
    assert first_touch(kernel(Store("out", I, load)), "out") == "read"
    assert first_touch(kernel(Init("a", "add", F32)), "out") is None
    zero, one = const(0), const(1)
    product = Gemm("out", zero, one, "x", zero, one, one, None, one, "x", zero, one, one, one, zero, F32)
    assert first_touch(kernel(product, Store("out", I, load)), "out") == "write"
    assert first_touch(kernel(replace(product, accumulate=one)), "out") == "read"
