"""Machine code against the interpreter: what the tests of the LLVM back end share, as the fixtures `oracle` and `target`."""

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from sod2jax.ir import interp
from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer, For, Kernel, Load, Op, Store
from sod2jax.lowering import jit, targets

HOST = targets.host()
TARGETS = [HOST]
if HOST.is_x86 and HOST.vector_bits == 512:
    TARGETS.append(targets.named("x86-64-avx2"))

n, v = sym("n"), sym("v")


def values(dtype, size, rng, small=False):
    """Random ones, with the values that are special at the front of a shuffled array."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(size) < 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        out = rng.integers(info.min, info.max, size, dtype, endpoint=True)
        out = np.where(rng.random(size) < 0.5, rng.integers(0, 5, size).astype(dtype), out).astype(dtype)
        special = np.array([info.min, info.max, 0, 1, info.max - 1], dtype)
        special = np.append(special, np.array([-1, -2]).astype(dtype))
    else:
        out = (rng.standard_normal(size) * 10.0 ** rng.integers(-3, 4, size)).astype(dtype)
        limits = ml_dtypes.finfo(dtype)
        special = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.0, np.inf, -np.inf, np.nan]
        special = np.array([*special, limits.max, limits.tiny, limits.smallest_subnormal], dtype)
    if not small:
        k = min(size, special.size)
        out[:k] = special[rng.permutation(special.size)[:k]]
    return out


def run_both(kernel, buffers, sizes, target=HOST, begin=0, end=None, panel=None):
    """(the interpreter's buffers, the machine's)."""
    ours = {k: b.copy() for k, b in buffers.items()}
    theirs = {k: b.copy() for k, b in buffers.items()}
    compiled = jit.compile([kernel], target)
    jit.call(kernel, compiled.addresses[0], ours, sizes, begin, end)
    interp.run(kernel, theirs, sizes, begin, end, panel=panel)
    return theirs, ours


def check(kernel, buffers, sizes, target=HOST, ulp=0, **kwargs):
    theirs, ours = run_both(kernel, buffers, sizes, target, **kwargs)
    for b in kernel.buffers:
        if b.access != "r":
            close(ours[b.name], theirs[b.name], ulp)


def close(ours, theirs, ulp=0):
    """Equal, or within `ulp` units of the last place; NaN equals NaN, and the sign of a zero counts."""
    if ours.dtype.kind in "biu":
        np.testing.assert_array_equal(ours, theirs)
        return
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b)))
    if ulp:
        limits = ml_dtypes.finfo(ours.dtype)
        with np.errstate(all="ignore"):
            spacing = 2.0 ** np.maximum(np.floor(np.log2(np.abs(b))), limits.minexp) * float(limits.eps)
            same |= np.abs(a - b) <= ulp * spacing
    bad = np.flatnonzero(~same)
    assert not bad.size, f"{bad.size} differ, first: {ours.reshape(-1)[bad[0]]!r}, should be {theirs.reshape(-1)[bad[0]]!r}"


def map_kernel(op, dtypes, result):
    loads = tuple(Load(f"x{k}", v, d) for k, d in enumerate(dtypes))
    buffers = (*(Buffer(f"x{k}", d, "r") for k, d in enumerate(dtypes)), Buffer("y", result, "w"))
    body = (For("v", n, (Store("y", v, Op(op, loads, result)),), "vector"),)
    return Kernel(op, buffers, ("n",), (), "i", const(1), body)


@pytest.fixture(params=TARGETS, ids=lambda t: t.name)
def target(request):
    """Each target that this machine can run."""
    return request.param


@pytest.fixture(scope="session")
def oracle():
    """`check(kernel, buffers, sizes, target)` runs a kernel both ways; with random `values` and the way to compare them."""
    return SimpleNamespace(check=check, run_both=run_both, close=close, values=values, map_kernel=map_kernel, targets=TARGETS)
