"""Drawn iterations stay within their loops, and drawn data show which index nobody bounds."""

import numpy as np

from sod2jax.ir.check import Values
from sod2jax.ir.check_accesses import accesses
from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer, Const, For, Gemm, If, Index, Init, Kernel, Let, Load, Op, Ref, Store, Update

F32, I32, I64, BOOL = (np.dtype(t) for t in (np.float32, np.int32, np.int64, bool))
I, J, N, AT = sym("i"), sym("j"), sym("n"), sym("at")
ZERO = Const(0.0, F32)


def kernel(*body):
    buffers = (Buffer("x", F32, "r"), Buffer("where", I32, "r"), Buffer("out", F32, "w"))
    return Kernel("k", buffers, ("n",), (), "i", sym("n"), tuple(body))


def drawn(kernel, counters=None, **sizes):
    count = 200
    values = Values({name: np.full(count, size) for name, size in sizes.items()}, count)
    found = list(accesses(kernel, values, np.random.default_rng(0), {k: np.full(count, n) for k, n in (counters or {}).items()}))
    return [(buffer, at[runs]) for buffer, _, at, runs in found]


def test_drawn_iterations_reach_both_ends():
    loop = For("j", const(5), (Store("out", I * 5 + J, Load("x", I, F32)),))
    (buffer, at), (_, read) = drawn(kernel(loop), n=7)
    assert buffer == "out"
    assert (at.min(), at.max()) == (0, 34)
    assert (read.min(), read.max()) == (0, 6)


def test_loops_without_iterations_access_nothing():
    ((_, at),) = drawn(kernel(For("j", N, (Store("out", J, ZERO),))), n=0)
    assert not len(at)


def data(offset=I):
    return Op("convert", (Load("where", offset, I32),), I64)


def store_at(index, where=None):
    return Let("at", index), Store("out", AT, ZERO, where=where)


def test_an_index_that_is_data_may_be_anything_unless_it_is_bounded():
    _, (_, at) = drawn(kernel(*store_at(data())), n=4)
    assert at.min() < -4
    assert at.max() > 4
    low = Op("max", (data(), Const(0, I64)), I64)
    _, (_, at) = drawn(kernel(*store_at(Op("min", (low, Index(N - 1, I64)), I64))), n=4)
    assert (at.min(), at.max()) == (0, 3)


def test_masks_and_branches_bound_an_index():
    name = Ref("at", I64)
    within = Op("and", (Op("ge", (name, Const(0, I64)), BOOL), Op("lt", (name, Index(N, I64)), BOOL)), BOOL)
    for body in (store_at(data(), within), (Let("at", data()), If(within, (Store("out", AT, ZERO),)))):
        _, (_, at) = drawn(kernel(*body), n=4)
        assert (at.min(), at.max()) == (0, 3)


def test_the_counter_of_a_loop_is_within_its_length():
    count = Op("convert", (Load("where", const(0), I32),), I64)
    _, (_, at) = drawn(kernel(*store_at(count)), {"where": 9}, n=4)
    assert (at.min(), at.max()) == (0, 8)


def test_what_is_not_known_is_left_out():
    mask = Op("lt", (Load("x", I, F32), ZERO), BOOL)
    assert len(drawn(kernel(Store("out", I + 100, ZERO, where=mask), If(mask, (Store("out", I + 100, ZERO),))), n=4)) == 0
    folded = (Init("a", "max", I64), Update("a", data()), Let("at", Ref("a", I64)), Store("out", AT, ZERO))
    assert [buffer for buffer, _ in drawn(kernel(*folded), n=4)] == ["where"]


def test_a_gemm_reaches_its_last_row():
    n, one, zero = const(4), const(1), const(0)
    product = Gemm("out", zero, n, "x", zero, n, one, None, one, "x", zero, n, n, n, zero, F32)
    assert {(buffer, int(at[0])) for buffer, at in drawn(kernel(product), n=4)} == {("out", 0), ("out", 15), ("x", 0), ("x", 15)}
