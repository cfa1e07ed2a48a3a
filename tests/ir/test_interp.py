"""The interpreter against values worked out by hand, and its strictness."""

import ml_dtypes
import numpy as np
import pytest

from sod2jax.ir.expr import const, sym
from sod2jax.ir.interp import SCALAR, convert, run, scalar
from sod2jax.ir.loops import SCALAR_OPS, Buffer, Const, For, Gemm, Index, Init, Kernel, Let, Load, Local, Op, Ref, Store, Update

F32, I32, I64, BOOL = map(np.dtype, (np.float32, np.int32, np.int64, bool))
i, v, n = sym("i"), sym("v"), sym("n")


def test_every_scalar_function_has_a_row():
    names = {name for names in SCALAR_OPS.values() for name in names}
    assert names - {"convert", "bitcast", "select"} == set(SCALAR)


def int32(*xs):
    return np.array(xs, np.int32)


def test_integers_as_xla_has_them():
    low = -(2**31)
    a, b = int32(7, -7, 7, -7, 5, low, low), int32(2, 2, -2, -2, 0, -1, 0)
    with np.errstate(all="ignore"):
        assert scalar("div", I32, a, b).tolist() == [3, -3, -3, 3, -1, low, -1]
        assert scalar("rem", I32, a, b).tolist() == [1, -1, 1, -1, 5, 0, low]
        assert scalar("shift_left", I32, int32(1, 1, 1), int32(31, 32, -1)).tolist() == [low, 0, 0]
        assert scalar("shift_right_arithmetic", I32, int32(-8, -8, 8), int32(1, 40, 40)).tolist() == [-4, -1, 0]
        assert scalar("shift_right_logical", I32, int32(-8, -8), int32(28, 32)).tolist() == [15, 0]
        assert scalar("pow", I32, int32(2, -1, 3, 2, 1), int32(10, -3, 0, -1, -5)).tolist() == [1024, -1, 1, 0, 1]
        assert scalar("clz", I32, int32(0, 1, -1)).tolist() == [32, 31, 0]
        assert scalar("popcount", I32, int32(0, 3, -1)).tolist() == [0, 2, 32]
        assert scalar("add", I32, int32(2**31 - 1), int32(1)).tolist() == [low]
        assert scalar("div", np.uint8, np.uint8([7, 7]), np.uint8([2, 0])).tolist() == [3, 255]


def test_floats_as_xla_has_them():
    x = np.float32([0.5, 1.5, 2.5, -0.5, -2.5])
    assert scalar("round_even", F32, x).tolist() == [0, 2, 2, 0, -2]
    assert scalar("round_away", F32, x).tolist() == [1, 2, 3, -1, -3]
    zeros = (
        scalar("max", F32, np.float32([-0.0, 0.0]), np.float32([0.0, -0.0])),
        scalar("min", F32, np.float32([0.0]), np.float32([-0.0])),
    )
    assert [np.signbit(z).tolist() for z in zeros] == [[False, False], [True]]
    assert np.isnan(scalar("max", F32, np.float32([np.nan, 1]), np.float32([1, np.nan]))).all()
    assert scalar("rem", F32, np.float32([-7, 7]), np.float32([3, -3])).tolist() == [-1, 1]


def test_conversion_saturates():
    x = np.float32([np.nan, np.inf, -np.inf, 3e9, -3e9, -1.9, 1.9])
    top, low = 2**31 - 1, -(2**31)
    assert convert(x, I32).tolist() == [0, top, low, top, low, -1, 1]
    assert convert(x, np.dtype(np.uint8)).tolist() == [0, 255, 0, 255, 0, 0, 1]
    assert convert(np.float64([2.0**63, -(2.0**63), 2.0**62]), I64).tolist() == [2**63 - 1, -(2**63), 2**62]
    assert convert(x, BOOL).tolist() == [True] * 7


def test_halves_round_after_each_function():
    bf16 = np.dtype(ml_dtypes.bfloat16)
    out = scalar("add", bf16, np.array([1.0], bf16), np.array([2.0**-9], bf16))
    assert out.dtype == bf16
    assert out.tolist() == [1.0]


def test_reductions_and_locals():
    body = (
        Init("a", "add", F32),
        For("v", n, (Store("t", v, Load("x", i * n + v, F32)), Update("a", Load("t", v, F32))), "vector"),
        Store("y", i, Ref("a", F32)),
    )
    kernel = Kernel("sums", (Buffer("x", F32, "r"), Buffer("y", F32, "w")), ("n",), (Local("t", F32, n),), "i", const(3), body)
    x, y = np.arange(12, dtype=F32).reshape(3, 4), np.full(3, -1, F32)
    run(kernel, {"x": x, "y": y}, {"n": 4}, 1, 3)
    assert y.tolist() == [-1, 22, 38]


def test_masked_gather_and_out_of_bounds():
    ok = Op("lt", (Index(v, I32), Const(3, I32)), BOOL)
    gather = (Let("k", Load("at", v, I32)), Store("y", v, Load("x", sym("k"), F32, ok)))
    kernel = Kernel(
        "take", (Buffer("x", F32, "r"), Buffer("at", I32, "r"), Buffer("y", F32, "w")), ("n",), (), "i", const(1),
        (For("v", n, gather, "vector"),),
    )  # fmt: skip
    x, y = np.float32([1, 2, 3]), np.full(5, 9, F32)
    run(kernel, {"x": x, "at": int32(2, 0, 1, 7, -7), "y": y}, {"n": 5})
    assert y.tolist() == [3, 1, 2, 0, 0]
    with pytest.raises(IndexError, match=r"x\[7\] is outside of its 3 elements"):
        run(kernel, {"x": x, "at": int32(7, 0, 1, 7, -7), "y": y}, {"n": 5})


def test_gemm():
    rng = np.random.default_rng(0)
    panel, rows, columns, k, batch = 8, 5, 6, 4, 3
    a, b = rng.standard_normal((batch, rows, k)), rng.standard_normal((batch, k, panel))
    where = ("c", const(0), n, "a", const(0), const(k), const(1), "at", const(batch), "b", const(0))
    s = Gemm(*where, const(rows), const(columns), const(k), accumulate=const(1), dtype=F32)
    buffers = (Buffer("a", F32, "r"), Buffer("b", F32, "r"), Buffer("at", I64, "r"), Buffer("c", F32, "rw"))
    c = np.ones((rows, 10), F32)
    data = {"a": a.astype(F32), "b": b.astype(F32), "at": np.arange(batch) * rows * k, "c": c}
    run(Kernel("gemm", buffers, ("n",), (), "i", const(1), (s,)), data, {"n": 10}, panel=panel)
    np.testing.assert_allclose(c[:, :columns], 1 + np.einsum("bmk,bkn->mn", a, b)[:, :columns], rtol=1e-5)
    assert (c[:, columns:] == 1).all()


def test_buffers_must_have_their_dtype():
    kernel = Kernel("none", (Buffer("x", F32, "r"),), (), (), "i", const(0), ())
    with pytest.raises(TypeError, match="a buffer of float32 was given float64"):
        run(kernel, {"x": np.zeros(3)}, {})
