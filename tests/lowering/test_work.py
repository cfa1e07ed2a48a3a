"""Work and scratch of kernels as formulas."""

import numpy as np

from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer, For, Kernel, Let, Load, Local, Op, Store
from sod2jax.lowering.work import scratch_of, work_of

F32 = np.dtype(np.float32)


def test_work_counts_every_iteration():
    x = Load("x", sym("j"), F32)
    body = For("j", sym("n"), (Let("t", Op("exp", (x,), F32)), Store("out", sym("j"), x)), "vector")
    kernel = Kernel("k", (Buffer("x", F32, "r"), Buffer("out", F32, "w")), (), (), "i", sym("m"), (body,))
    assert work_of(kernel) == sym("m") * sym("n") * 13


def test_scratch_is_laid_out_on_cache_lines():
    kernel = Kernel("k", (), (), (Local("a", F32, const(3)), Local("b", F32, sym("n"))), "i", const(1), ())
    assert scratch_of(kernel).eval({"n": 17}) == 64 + 128
