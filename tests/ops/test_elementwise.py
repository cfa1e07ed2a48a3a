"""Every row of the elementwise tables against JAX: symbolic sizes, size 0 and 1, odd sizes, NaN and infinities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import primitives as p

import sod2jax as sod2
from sod2jax.ops import elementwise

SIZES = [{"n": n} for n in (5, 0, 1, 16, 37, 130)]
INTEGER_ONLY = {"and", "or", "xor", "not", "shift_left", "shift_right_logical", "shift_right_arithmetic", "popcount", "clz"}


def integers(rng, shape):
    return rng.integers(-100, 100, shape, dtype=np.int32)


def domain(name):
    """Where the function is defined, mostly."""
    low, high = {"log": (0.01, 50), "sqrt": (0, 50), "rsqrt": (0.01, 50), "log1p": (-0.9, 50), "acosh": (1, 50)}.get(
        name, (-4, 4)
    )
    if name in ("asin", "acos", "atanh"):
        low, high = -0.99, 0.99
    return lambda rng, shape: rng.uniform(low, high, shape).astype(np.float32)


@pytest.mark.parametrize("prim", [q for q in elementwise.UNARY if q not in (p.real_p, p.imag_p)], ids=str)
def test_unary(agrees, prim):
    name = elementwise.UNARY[prim][0]
    bind = {"exp2": jnp.exp2, "not": lax.bitwise_not}.get(name) or getattr(lax, prim.name)
    if name in INTEGER_ONLY:
        agrees(bind, ["n"], SIZES, integers)
    else:
        agrees(bind, ["n"], SIZES, domain(name), rtol=1e-5, atol=1e-6)
        # XLA's log of a denormal is that of the least one; ours is that of zero, which denormals count as elsewhere.
        agrees(bind, ["n"], SIZES, special="no denormals" if name == "log" else True, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prim", [q for q in elementwise.BINARY if q is not p.add_jaxvals_p], ids=str)
def test_binary(agrees, prim):
    name = elementwise.BINARY[prim][0]
    bind = getattr(lax, {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}.get(name, prim.name))
    if name in INTEGER_ONLY:
        make = integers
        if name.startswith("shift"):
            make = [integers, lambda rng, shape: rng.integers(0, 40, shape, dtype=np.int32)]
        agrees(bind, ["n", "n"], SIZES, make)
        return
    positive = [domain("log"), domain("")] if name == "pow" else domain("")
    agrees(bind, ["n", "n"], SIZES, positive, rtol=1e-5, atol=1e-6)
    if name != "nextafter":
        special = {"pow": False, "atan2": "no denormals"}.get(name, True)
        agrees(bind, ["n", "n"], SIZES, special=special, make=positive, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", [lax.add, lax.sub, lax.mul, lax.div, lax.rem, lax.max, lax.min, lax.lt, lax.eq])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int32])
def test_integers_wrap_and_divide_as_xla(agrees, op, dtype):
    info = np.iinfo(dtype)

    def extremes(rng, shape):
        x = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        x.reshape(-1)[::3] = rng.choice([info.min, info.max, 0, 1], x.reshape(-1)[::3].shape)
        return x

    agrees(op, ["n", "n"], SIZES, extremes)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_narrow_floats_compute_in_f32_and_round_once(agrees, dtype):
    agrees(lambda x: jnp.tanh(x.astype(dtype)) * 3, ["n"], SIZES, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("target", [np.int8, np.uint8, np.int32, np.uint32, np.bool_, np.float32, jnp.bfloat16, np.float16])
@pytest.mark.parametrize("source", [np.float32, np.int32, np.bool_])
def test_conversions(agrees, source, target):
    def make(rng, shape):
        return (rng.standard_normal(shape) * 300).astype(source)

    agrees(lambda x: lax.convert_element_type(x, target), ["n"], SIZES, make, special=source is np.float32)


@pytest.mark.parametrize("y", [-3, -1, 0, 1, 2, 3, 5, 8])
def test_integer_pow(agrees, y):
    agrees(lambda x: lax.integer_pow(x, y), ["n"], SIZES)


def test_select_clamp_round_bitcast(agrees):
    agrees(lambda x, y: jnp.where(x > y, x, y * 2), ["n", "n"], SIZES, special=True)
    agrees(lambda x: lax.clamp(-0.5, x, 0.5), ["n"], SIZES, special=True)
    agrees(lambda x: lax.round(x * 4, lax.RoundingMethod.TO_NEAREST_EVEN), ["n"], SIZES)
    agrees(lambda x: lax.round(x * 4, lax.RoundingMethod.AWAY_FROM_ZERO), ["n"], SIZES)
    agrees(lambda x: lax.bitcast_convert_type(x, np.int32), ["n"], SIZES)
    agrees(
        lambda k, *x: lax.select_n(k, *x), ["n"] * 4, SIZES, [lambda r, s: r.integers(0, 3, s, dtype=np.int32), *[domain("")] * 3]
    )


def test_size_one_axes_and_scalars_broadcast(agrees):
    agrees(lambda x, y: x[:, None] * y[None, :] + 2, ["a", "b"], [{"a": 3, "b": 5}, {"a": 1, "b": 4}, {"a": 0, "b": 2}])


def test_identities_say_nothing(agrees):
    agrees(lambda x: jax.lax.stop_gradient(x) + jnp.copy(x), ["n"], SIZES)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8", "uint32"])
@pytest.mark.parametrize("prim", [p.eq_to_p, p.le_to_p, p.lt_to_p], ids=str)
def test_total_order(prim, dtype):
    with jax.enable_x64(True):
        numbers = [0, 1, 2, 100] if "int" in dtype else [np.nan, -np.nan, 0.0, -0.0, np.inf, -np.inf, 1, -1, 2, -3.5, 1e-40]
        x, y = np.meshgrid(*[np.array(numbers, np.float64).astype(jnp.dtype(dtype))] * 2)
        np.testing.assert_array_equal(sod2.jit(prim.bind)(x, y), jax.jit(prim.bind)(x, y))


def test_an_integer_exponent(agrees):
    make = [
        lambda rng, shape: rng.standard_normal(shape).astype(np.float32),
        lambda rng, shape: np.asarray(rng.integers(-3, 4, shape), np.int32),
    ]
    agrees(lambda x, n: (x**n, 0.9**n), ("n", "n"), [{"n": n} for n in (7, 1, 0)], make=make)
