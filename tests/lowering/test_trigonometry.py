"""Reduction by pi/2 of arguments as large as they come, and those closest to its multiples."""

import mpmath as mp
import numpy as np
import pytest

from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer, For, Kernel, Load, Op, Store
from sod2jax.lowering import jit
from sod2jax.lowering.trigonometry import TWO_OVER_PI

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def run(name, x):
    v, n = sym("v"), sym("n")
    body = (For("v", n, (Store("y", v, Op(name, (Load("x", v, x.dtype),), x.dtype)),), "vector"),)
    kernel = Kernel(name, (Buffer("x", x.dtype, "r"), Buffer("y", x.dtype, "w")), ("n",), (), "i", const(1), body)
    y = np.empty_like(x)
    compiled = jit.compile([kernel])
    jit.call(kernel, compiled.addresses[0], {"x": x, "y": y}, {"n": x.size})
    return y


def ulps(y, exact, dtype):
    return float(abs(mp.mpf(float(y)) - exact) / mp.mpf(2) ** (mp.frexp(exact)[1] - np.finfo(dtype).nmant - 1))


def test_the_digits_of_two_over_pi():
    with mp.workprec(1400):
        assert int(TWO_OVER_PI, 16) == int(mp.floor(2 / mp.pi * mp.mpf(2) ** 1216))


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_huge_sines(dtype):
    """Arguments close to multiples of pi/2, and as large as they come."""
    rng = np.random.default_rng(12)
    top = np.finfo(dtype).maxexp - 1
    x = (2.0 ** rng.uniform(15, top, 400)).astype(dtype)
    hard = [6381956970095103.0 * 2.0**797, 2.0**60, 2.0**100, np.pi * 2**30] if dtype == F64 else [16367173.0 * 2.0**72]
    x = np.concatenate([x, -x, np.array(hard, dtype)])
    with mp.workprec(1400):
        for name in ("sin", "cos", "tan"):
            y = run(name, x)
            for a, b in zip(x, y):
                assert ulps(b, getattr(mp, name)(mp.mpf(float(a))), dtype) <= (2 if dtype == F32 else 4), (name, a, b)
