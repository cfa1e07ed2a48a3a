"""Vector math against mpmath: 2 ulp in f32 (whole range, huge sines and denormals too), 4 ulp in f64, special values."""

import mpmath as mp
import numpy as np
import pytest

from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer, For, Kernel, Load, Op, Store
from sod2jax.lowering import jit, targets

HOST = targets.host()
TARGETS = [HOST] + ([targets.named("x86-64-avx2")] if HOST.is_x86 and HOST.vector_bits == 512 else [])
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
LIMIT = {F32: 2.0, F64: 4.0}

# Where a function is interesting in f32 and in f64; outside it is sampled by random bits.
RANGES = {
    "exp": ((-104, 89), (-746, 710)),
    "exp2": ((-151, 129), (-1076, 1025)),
    "expm1": ((-20, 89), (-40, 710)),
    "log": ((0, 4), (0, 4)),
    "log1p": ((-1, 3), (-1, 3)),
    "tanh": ((-10, 10), (-20, 20)),
    "logistic": ((-104, 20), (-746, 40)),
    "erf": ((-5, 5), (-7, 7)),
    "erfc": ((-6, 11), (-6, 28)),
    "sqrt": ((0, 4), (0, 4)),
    "rsqrt": ((0, 4), (0, 4)),
    "cbrt": ((-10, 10), (-10, 10)),
    "sin": ((-100, 100), (-100, 100)),
    "cos": ((-100, 100), (-100, 100)),
    "tan": ((-100, 100), (-100, 100)),
    "asin": ((-1, 1), (-1, 1)),
    "acos": ((-1, 1), (-1, 1)),
    "atan": ((-10, 10), (-10, 10)),
    "sinh": ((-90, 90), (-711, 711)),
    "cosh": ((-90, 90), (-711, 711)),
    "asinh": ((-10, 10), (-10, 10)),
    "acosh": ((1, 10), (1, 10)),
    "atanh": ((-1, 1), (-1, 1)),
}
DOMAIN = {"log": (0, 1e400), "log1p": (-1, 1e400), "sqrt": (0, 1e400), "rsqrt": (0, 1e400), "acosh": (1, 1e400)}
DOMAIN |= dict.fromkeys(("asin", "acos", "atanh"), (-1, 1))
REFERENCE = {
    "logistic": lambda x: 1 / (1 + mp.exp(-x)),
    "rsqrt": lambda x: 1 / mp.sqrt(x),
    "exp2": lambda x: mp.mpf(2) ** x,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "pow": lambda x, y: mp.power(x, y),
    "rem": lambda x, y: mp.fmod(x, y) if mp.sign(x) > 0 else -mp.fmod(-x, y),
}


def run(name, *xs, target=HOST):
    dtype, v, n = xs[0].dtype, sym("v"), sym("n")
    buffers = (*(Buffer(f"x{i}", dtype, "r") for i in range(len(xs))), Buffer("y", dtype, "w"))
    value = Op(name, tuple(Load(f"x{i}", v, dtype) for i in range(len(xs))), dtype)
    kernel = Kernel(name, buffers, ("n",), (), "i", const(1), (For("v", n, (Store("y", v, value),), "vector"),))
    y = np.empty_like(xs[0])
    compiled = jit.compile([kernel], target)
    jit.call(kernel, compiled.addresses[0], {f"x{i}": x for i, x in enumerate(xs)} | {"y": y}, {"n": y.size})
    return y


def error(y, exact, dtype):
    """|y - exact| in units of the last place of `exact`, which may overflow or be denormal."""
    info = np.finfo(dtype)
    largest = float(info.max)
    if np.isinf(y):
        half_above = mp.mpf(largest) + mp.mpf(2) ** (info.maxexp - info.nmant - 2)
        return 0 if abs(exact) >= half_above * (1 - mp.mpf(2) ** -info.nmant) and (y > 0) == (exact > 0) else np.inf
    if np.isnan(y) or mp.isinf(exact):
        return np.inf
    exponent = mp.frexp(exact)[1] if exact else info.minexp
    ulp = mp.mpf(2) ** (max(exponent, info.minexp + 1) - info.nmant - 1)
    return float(abs(mp.mpf(float(y)) - exact) / ulp)


def samples(name, dtype, count):
    rng = np.random.default_rng(11)
    low, high = RANGES[name][dtype == F64]
    integer = np.int32 if dtype == F32 else np.int64
    bits = rng.integers(np.iinfo(integer).min, np.iinfo(integer).max, count, integer).view(dtype)
    small = (rng.choice([-1, 1], count) * 10.0 ** rng.uniform(-9, 1, count)).astype(dtype)
    near = np.linspace(low, high, 33).astype(dtype)
    x = np.concatenate([rng.uniform(low, high, count).astype(dtype), bits, small, near, np.nextafter(near, dtype.type(0))])
    low, high = DOMAIN.get(name, (-np.inf, np.inf))
    large = name in ("exp", "exp2", "expm1", "sinh", "cosh")
    bound = 2000 if large else 800 if name in ("erfc", "logistic", "tanh", "erf") else np.inf
    x = x[np.isfinite(x)]
    return x[(x > low) & (x < high) & (np.abs(x.astype(np.float64)) < bound)]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("name", RANGES)
def test_accuracy(name, dtype, target):
    x = samples(name, dtype, 300)
    y = run(name, x, target=target)
    with mp.workprec(160):
        reference = REFERENCE.get(name) or getattr(mp, name)
        errors = [error(b, reference(mp.mpf(float(a))), dtype) for a, b in zip(x, y)]
    worst = int(np.argmax(errors))
    assert errors[worst] <= LIMIT[dtype], f"{name}({x[worst]!r}) = {y[worst]!r}, off by {errors[worst]:.2f} ulp"


@pytest.mark.parametrize("name", [n for n in RANGES if n not in ("sqrt", "cbrt", "tan")])
def test_f32_against_f64_densely(name):
    """A million arguments each, with the f64 functions (tested above) as the reference."""
    x = samples(name, F32, 250_000)
    y, exact = run(name, x), run(name, x.astype(F64))
    with np.errstate(all="ignore"):
        ulp = np.spacing(np.maximum(np.abs(exact), 2.0**-126).astype(F32)).astype(F64)
        off = np.where(y == exact.astype(F32), 0, np.abs(y - exact) / ulp)
    worst = int(np.nanargmax(off))
    assert off[worst] <= 2, f"{name}({x[worst]!r}) = {y[worst]!r}, off by {off[worst]:.3f} ulp"


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_pow_atan2_and_rem(dtype):
    rng = np.random.default_rng(13)
    x = 10.0 ** rng.uniform(-3, 3, 500)
    y = rng.uniform(-1, 1, 500) * (80 if dtype == F32 else 690) / np.maximum(np.abs(np.log(x)), 0.05)
    near_1 = (1 + rng.uniform(-1, 1, 300) * 1e-3).astype(dtype)
    cases = {
        "pow": (np.concatenate([x.astype(dtype), near_1]), np.concatenate([y, rng.uniform(-5e4, 5e4, 300)]).astype(dtype)),
        "atan2": (
            rng.standard_normal(800).astype(dtype),
            (rng.standard_normal(800) * 10.0 ** rng.integers(-9, 9, 800)).astype(dtype),
        ),
        "rem": (
            (rng.standard_normal(800) * 10.0 ** rng.integers(-9, 30, 800)).astype(dtype),
            rng.standard_normal(800).astype(dtype),
        ),
    }
    with mp.workprec(1200):
        for name, (a, b) in cases.items():
            out = run(name, a, b)
            for p, q, r in zip(a, b, out):
                exact = (REFERENCE.get(name) or getattr(mp, name))(
                    mp.mpf(float(p)), mp.mpf(float(abs(q) if name == "rem" else q))
                )
                limit = 0 if name == "rem" else LIMIT[dtype]
                assert error(r, exact, dtype) <= limit, (name, p, q, r, mp.nstr(exact, 20))


# argument:value, ...
SPECIAL = {
    "exp": "0:1 -0:1 inf:inf -inf:0 nan:nan",
    "exp2": "0:1 -0:1 inf:inf -inf:0 nan:nan 3:8",
    "expm1": "0:0 -0:-0 inf:inf -inf:-1 nan:nan tiny:tiny -tiny:-tiny",
    "log": "0:-inf -0:-inf 1:0 inf:inf -1:nan -inf:nan nan:nan",
    "log1p": "0:0 -0:-0 -1:-inf inf:inf -2:nan -inf:nan nan:nan tiny:tiny -tiny:-tiny",
    "tanh": "0:0 -0:-0 inf:1 -inf:-1 nan:nan tiny:tiny -tiny:-tiny",
    "logistic": "0:0.5 -0:0.5 inf:1 -inf:0 nan:nan",
    "erf": "0:0 -0:-0 inf:1 -inf:-1 nan:nan",
    "erfc": "0:1 -0:1 inf:0 -inf:2 nan:nan",
    "rsqrt": "0:inf -0:-inf inf:0 -1:nan 4:0.5 nan:nan",
    "sqrt": "0:0 -0:-0 inf:inf -1:nan nan:nan",
    "cbrt": "0:0 -0:-0 inf:inf -inf:-inf -8:-2 27:3 nan:nan",
    "sin": "0:0 -0:-0 inf:nan -inf:nan nan:nan tiny:tiny -tiny:-tiny",
    "cos": "0:1 -0:1 inf:nan -inf:nan nan:nan",
    "tan": "0:0 -0:-0 inf:nan -inf:nan nan:nan tiny:tiny -tiny:-tiny",
    "asin": "0:0 -0:-0 1:1.5707963267948966 -1:-1.5707963267948966 2:nan inf:nan nan:nan",
    "acos": "1:0 -1:3.141592653589793 2:nan -inf:nan nan:nan",
    "atan": "0:0 -0:-0 inf:1.5707963267948966 -inf:-1.5707963267948966 nan:nan tiny:tiny",
    "sinh": "0:0 -0:-0 inf:inf -inf:-inf nan:nan tiny:tiny",
    "cosh": "0:1 -0:1 inf:inf -inf:inf nan:nan",
    "asinh": "0:0 -0:-0 inf:inf -inf:-inf nan:nan tiny:tiny -tiny:-tiny",
    "acosh": "1:0 0.5:nan inf:inf -inf:nan nan:nan",
    "atanh": "0:0 -0:-0 1:inf -1:-inf 2:nan -inf:nan nan:nan tiny:tiny -tiny:-tiny",
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name, dtype, target):
    tiny = repr(float(np.finfo(dtype).smallest_subnormal))
    pairs = [pair.replace("tiny", tiny).split(":") for pair in SPECIAL[name].split()]
    x, want = (np.array([float(p[k]) for p in pairs], dtype) for k in (0, 1))
    got = run(name, x, target=target)
    with np.errstate(all="ignore"):
        same = (np.abs(got - want) <= 1e-7 * np.abs(want)) | (got == want)
    same = (np.isnan(got) & np.isnan(want)) | (same & (np.signbit(got) == np.signbit(want)))
    assert same.all(), (name, x[~same], got[~same], want[~same])


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_special_values_of_two_operands(dtype, target):
    special = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, -3.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30]
    a, b = (x.reshape(-1).astype(dtype) for x in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        for name, reference in (("pow", np.power), ("atan2", np.arctan2), ("rem", np.fmod)):
            got, want = run(name, a, b, target=target), reference(a, b)
            same = (np.isnan(got) & np.isnan(want)) | (
                np.isclose(got, want, rtol=1e-6, atol=0) & (np.signbit(got) == np.signbit(want))
            )
            same |= got == want if name == "pow" else False
            assert same.all(), (name, a[~same], b[~same], got[~same], want[~same])
