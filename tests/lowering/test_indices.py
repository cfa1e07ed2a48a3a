"""Index arithmetic: floor division of any sign, hoisting, zero divisors above loops that do not run."""

import numpy as np
import pytest

from sod2jax.ir.expr import floordiv, maximum, minimum, mod, sym
from sod2jax.ir.loops import Buffer, For, Index, Kernel, Let, Load, Store
from sod2jax.lowering import llvm, targets

I32, I64 = np.dtype(np.int32), np.dtype(np.int64)
n, m, i, v, k = map(sym, ("n", "m", "i", "v", "k"))

EXPRESSIONS = [
    i * n + 3, -i * i * n + m, floordiv(i - 5, 3), mod(i - 5, 3), floordiv(5 - i, 4), mod(5 - i, 4), floordiv(i - 7, m),
    mod(i - 7, m), floordiv(7 - i, -m), mod(i - 7, -m), floordiv(i * m, n), mod(i, n), minimum(i, 3, n), maximum(i - 4, n - i),
    floordiv(i, 8) * mod(i, 8),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["serial", "vector"])
@pytest.mark.parametrize("e", EXPRESSIONS, ids=str)
def test_values(e, kind, oracle, target):
    """As scalars of the loop `i`, and as lanes of it; through i64, and wrapped to i32."""
    for dtype in (I64, I32):
        kernel = Kernel(
            "at",
            (Buffer("y", dtype, "w"),),
            ("n", "m"),
            (),
            "j",
            n * 0 + 1,
            (For("i", n, (Store("y", i, Index(e, dtype)),), kind),),
        )
        for size in (0, 1, 5, 23, 40):
            oracle.check(kernel, {"y": np.zeros(size, dtype)}, {"n": size, "m": 3}, target)


def test_indirect_indices_in_both_kinds_of_loop(oracle, target):
    body = (Let("k", Load("x", i, I32)), Store("y", i, Index(k * n + floordiv(k, 3) - mod(k - i, 4), I64)))
    for kind in ("serial", "vector"):
        kernel = Kernel(
            "by", (Buffer("x", I32, "r"), Buffer("y", I64, "w")), ("n",), (), "j", n * 0 + 1, (For("i", n, body, kind),)
        )
        x = np.random.default_rng(0).integers(-50, 50, 37).astype(I32)
        oracle.check(kernel, {"x": x, "y": np.zeros(37, I64)}, {"n": 37}, target)


def test_a_zero_divisor_of_a_loop_that_does_not_run(oracle, target):
    body = (For("v", m, (Store("y", floordiv(n, m) + mod(i, m), Index(v, I32)),), "serial"),)
    kernel = Kernel("empty", (Buffer("y", I32, "rw"),), ("n", "m"), (), "i", n, body)
    oracle.check(kernel, {"y": np.zeros(4, I32)}, {"n": 4, "m": 0}, target)


def test_invariants_stand_before_the_loop():
    body = (For("v", m, (Store("y", i * n + v * m + 5, Index(v, I32)),), "serial"),)
    text = llvm.emit(Kernel("rows", (Buffer("y", I32, "w"),), ("n", "m"), (), "i", n, body), targets.named("x86-64-avx2"))
    inner = text.split("loop4:")[1]
    assert "mul i64" in text.split("loop4:")[0]
    assert inner.count("mul i64") == 1
    assert inner.count("getelementptr") == 2
