"""Long sums: as exact as pairwise ones, whatever their loops; short ones and other folds stay as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax.ir.box import Box
from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Const, For, Init, Load, Ref, Store, Update
from sod2jax.lowering.cascade import cascade

F32 = np.dtype(np.float32)
SHAPES = [(1 << 22,), (3001, 1024), (70_001, 3), (5, 300_001), (300_001, 5), (4097,), (257, 2), (17, 33, 4099)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fixed", [False, True])
def test_sums_of_many_elements(shape, fixed):
    """Of squares, whose sum only grows."""
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    names = ", ".join("abc"[: x.ndim])
    for axis in (None, 0, x.ndim - 1):
        f = sod2.jit(lambda x, axis=axis: jnp.sum(x * x, axis), shapes=None if fixed else (names,))
        exact = np.sum(np.square(x, dtype=np.float64), axis)
        assert np.abs(f(x) / exact - 1).max() < 2e-6


def test_mean_and_variance_of_a_long_row(agrees):
    agrees(lambda x: (x.mean(-1), x.var(-1)), ["a, n"], [{"a": 2, "n": n} for n in (0, 1, 255, 4096, 4097, 100_000)])


def test_folds_that_share_loops(agrees):
    """The softmax of a long row: a maximum stays, the sum beside it comes in blocks, and the row is still overwritten."""
    agrees(lambda x: jax.nn.softmax(3 * x), ["a, n"], [{"a": 3, "n": n} for n in (1, 300, 4096, 4097, 9001)])
    agrees(lambda x: (x.sum(0), x.max(0), jnp.square(x).sum(0)), ["a, n"], [{"a": a, "n": 3} for a in (1, 256, 257, 9001)])


def body(extent, op="add", kind="serial"):
    value = Load("x", sym("i"), F32)
    return (Init("a", op, F32), For("i", extent, (Update("a", value),), kind), Store("out", const(0), Ref("a", F32)))


def test_what_stays():
    box = Box({"n": (0, 256), "m": (0, None)})
    for unchanged in (body(const(256)), body(sym("n")), body(sym("m"), "max"), body(const(4096), kind="vector")):
        assert cascade(unchanged, box) == unchanged
    assert cascade(body(sym("m")), box) != body(sym("m"))
    constant = (Init("a", "add", np.dtype(np.int32)), For("i", sym("m"), (Update("a", Const(1, np.dtype(np.int32))),)))
    assert cascade(constant, box) == constant, "integers have no rounding"
