"""Identities of the folds."""

import ml_dtypes
import numpy as np
import pytest

from sod2jax.ir.interp import scalar
from sod2jax.ir.loops import FOLDS, Const, identity

DTYPES = [np.bool_, np.int8, np.int32, np.uint8, np.uint64, np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("op", [op for op in FOLDS if op != "set"])  # which is no monoid
def test_identity_is_neutral(op, dtype):
    dtype = np.dtype(dtype)
    if op in ("and", "or", "xor") and dtype.kind not in "biu":
        return
    x = np.array([0, 1, 1, 0] if dtype.kind == "b" else [0, 1, 7, 100], dtype)
    if dtype.kind in "iu":
        x = np.append(x, np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype))
    neutral = np.full(x.shape, identity(op, dtype), dtype)
    np.testing.assert_array_equal(scalar(op, dtype, x, neutral), x)
    np.testing.assert_array_equal(scalar(op, dtype, neutral, x), x)


def test_no_fold():
    with pytest.raises(ValueError, match="sub is not a fold; the folds are add, mul"):
        identity("sub", np.float32)


def test_zeros_of_two_signs_are_two_constants():
    f32 = np.dtype(np.float32)
    assert Const(0.0, f32) != Const(-0.0, f32)
    assert Const(0j, f32) != Const(complex(0, -0.0), f32)
    assert Const(0, f32) == Const(0.0, f32)
    assert hash(Const(0, f32)) == hash(Const(0.0, f32))
    assert Const(float("nan"), f32) == Const(float("nan"), f32)
    assert Const(1.0, f32) != Const(1.0, np.dtype(np.float64))
