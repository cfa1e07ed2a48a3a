"""Loops that a rule writes itself: what is read again, what stands under a condition, and what leaves it."""

import numpy as np

from sod2jax.ir import interp
from sod2jax.ir.box import Box
from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer, If, Kernel, Let, Load
from sod2jax.lowering.nests import Array, NestBuilder

F32, BOOL, INT = np.dtype(np.float32), np.dtype(bool), np.dtype(np.int64)
n, m = sym("n"), sym("m")


def nest(*shape):
    b = NestBuilder(Box({"n": (0, None), "m": (0, None)}))
    return b, Array(b, "out", shape, F32)


def run(b, x, out, **sizes):
    body = (*b.scopes[0].statements(), *b.scopes[-1].statements())
    kernel = Kernel("k", (Buffer("x", F32, "r"), Buffer("out", F32, "rw")), tuple(sizes), (), b.var, b.count, body)
    buffers = {"x": np.asarray(x, np.float32), "out": np.asarray(out, np.float32).reshape(-1)}
    interp.run(kernel, buffers, sizes)
    return buffers["out"], body


def test_what_was_stored_is_read_again():
    b, out = nest(n, m)
    with b.tasks([n]) as (i,):
        before = out.load((i, const(0)))
        out.store((i, const(0)), b.op("add", before, b.const(1, F32)))
        with b.loop(m) as k:
            out.store((i, k), b.op("add", out.load((i, const(0))), b.load("x", k, F32)))
    found, _ = run(b, [10, 20, 30], np.zeros((2, 3)), n=2, m=3)
    assert found.reshape(2, 3).tolist() == [[11, 31, 41]] * 2


def test_elements_take_the_last_axis_in_vectors():
    b, out = nest(n, m)
    with b.elements((n, m)) as (i, k):
        out.store((i, k), b.load("x", k, F32))
    found, body = run(b, [1, 2, 3], np.zeros((2, 3)), n=2, m=3)
    assert found.reshape(2, 3).tolist() == [[1, 2, 3]] * 2
    assert body[-1].kind == "vector"


def test_what_is_read_under_a_condition_stays_there():
    b, out = nest(n)
    with b.tasks([const(1)]), b.loop(n) as i:
        place = b.op("sub", b.position(i, INT), b.const(1, INT), dtype=INT)
        with b.when(b.op("ge", place, b.const(0, INT), dtype=BOOL)), b.when(b.op("lt", place, b.const(3, INT), dtype=BOOL)):
            out.store((i,), b.op("mul", b.load("x", b.index(place), F32), b.load("x", const(0), F32)))
    found, body = run(b, [2, 3, 4], np.zeros(6), n=6)
    assert found.tolist() == [0, 4, 6, 8, 0, 0]
    (loop,) = body
    (outer,) = (s for s in loop.body if isinstance(s, If))
    (inner,) = (s for s in outer.body if isinstance(s, If))
    loads = [s.value for s in inner.body if isinstance(s, Let) and isinstance(s.value, Load)]
    assert len(loads) == 2
    assert all(load.where is None for load in loads)  # no masks


def test_a_fold_that_leaves_a_condition_takes_it_along():
    b, out = nest(n)
    with b.tasks([const(1)]):
        enough = b.op("ge", b.position(m, INT), b.const(2, INT), dtype=BOOL)
        with b.when(enough), b.loop(n) as i:
            out.store((i,), b.fold("add", F32, [const(2)], lambda k: b.load("x", k[0], F32)))
    assert run(b, [1, 2], np.zeros(2), n=2, m=2)[0].tolist() == [3, 3]
    assert run(b, [], np.zeros(2), n=2, m=0)[0].tolist() == [0, 0]


def test_accumulators():
    b, out = nest(n)
    with b.tasks([n]) as (i,), b.accumulator("max", F32) as (update, result):
        with b.loop(m) as k:
            update(b.load("x", i * m + k, F32))
        out.store((i,), result())
    assert run(b, [1, 5, 2, 9, 7, 8], np.zeros(2), n=2, m=3)[0].tolist() == [5, 9]
