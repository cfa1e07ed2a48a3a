"""A kernel's word that an output may lie over an operand: true ones pass, each kind of false one is found."""

import numpy as np
import pytest

from sod2jax.ir.check_inplace import overlay_problems
from sod2jax.ir.expr import const, floordiv, mod, sym
from sod2jax.ir.loops import Buffer, Const, For, If, Index, Kernel, Let, Load, Op, Store

F32, I64, BOOL = np.dtype(np.float32), np.dtype(np.int64), np.dtype(bool)
TWO = const(2)
N, M, I, J, K, T = map(sym, ("n", "m", "i", "j", "k", "t"))


def load(at):
    return Load("x", at, F32)


def store(at, value):
    return Store("out", at, value)


def problems(*body, extent=M, sizes=None):
    buffers = (Buffer("x", F32, "r"), Buffer("u", I64, "r"), Buffer("out", F32, "w", ("x",)))
    kernel = Kernel("k", buffers, ("n", "m"), (), "i", extent, body)
    return [p for size in sizes or ({"n": 9, "m": 7}, {"n": 1000, "m": 33}) for p in overlay_problems(kernel, size)]


ROW = I * N + J
TRUE = {
    "elementwise": (For("j", N, (store(ROW, load(ROW)),), "vector"),),
    "rows": (For("j", N, (Let("a", load(ROW)),)), For("k", N, (store(I * N + K, load(I * N + K)),), "vector")),
    "serial, ahead": (For("j", N - 1, (store(ROW, load(ROW + 1)),)),),
    "divided": (Let("t", Index(floordiv(I, TWO), I64)), For("j", N, (store(ROW, load(2 * T * N + mod(I, TWO) * N + J)),))),
    "halves": (
        If(Op("lt", (Index(I, I64), Const(3, I64)), BOOL), (store(I, load(I)),)),
        If(Op("ge", (Index(I, I64), Const(3, I64)), BOOL), (store(I, load(I)),)),
    ),
}  # fmt: skip
FALSE = {
    "reversed": (For("j", N, (store(ROW, load(I * N + N - 1 - J)),), "vector"),),
    "reversed, serial": (For("j", N, (store(ROW, load(I * N + N - 1 - J)),)),),
    "transposed": (For("j", N, (store(ROW, load(J * M + I)),), "vector"),),
    "broadcast": (For("j", N, (store(ROW, load(J)),), "vector"),),
    "shifted, vector": (For("j", N - 1, (store(ROW, load(ROW + 1)),), "vector"),),
    "shifted back": (For("j", N - 1, (store(ROW + 1, load(ROW)),)),),
    "next task": (store(I, load(I + 1)),),
    "again": (For("j", N, (store(ROW, load(ROW)),)), For("k", N, (store(I * N + K, load(I * N + K)),))),
    "gathered": (Let("t", Load("u", I, I64)), store(I, load(T))),
}


@pytest.mark.parametrize("name", TRUE)
def test_true(name):
    assert problems(*TRUE[name]) == []


@pytest.mark.parametrize("name", FALSE)
def test_false(name):
    found = problems(*FALSE[name])
    assert found
    assert all("out may lie over x" in p for p in found)


def test_what_is_read_before_all_stores_of_the_task_is_early():
    early = (Let("a", load(I)), store(I, Const(1.0, F32)))
    late = (store(I, Const(1.0, F32)), Let("a", load(I)), store(I + M, Const(1.0, F32)))
    assert problems(*early) == []
    assert problems(*late)
