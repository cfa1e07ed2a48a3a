"""dot_general of every dimension numbering and convolutions of every shape, through the template and through plain folds."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2

SIZES = [
    {"b": 2, "m": 5, "k": 7, "n": 9},
    {"b": 1, "m": 1, "k": 1, "n": 1},
    {"b": 3, "m": 37, "k": 64, "n": 33},
    {"b": 1, "m": 130, "k": 65, "n": 8},
]
EMPTY = [
    {"b": 2, "m": 0, "k": 7, "n": 9},
    {"b": 2, "m": 3, "k": 0, "n": 9},
    {"b": 2, "m": 3, "k": 4, "n": 0},
    {"b": 0, "m": 3, "k": 4, "n": 2},
]


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("mk,kn->mn", ("m, k", "k, n")),
        ("km,kn->mn", ("k, m", "k, n")),
        ("mk,nk->mn", ("m, k", "n, k")),
        ("bmk,bkn->bmn", ("b, m, k", "b, k, n")),
        ("bmk,kn->bmn", ("b, m, k", "k, n")),
        ("mbk,bnk->bnm", ("m, b, k", "b, n, k")),
        ("bqhd,bkhd->bhqk", ("b, m, 3, 8", "b, n, 3, 8")),
        ("bhqk,bkhd->bqhd", ("b, 3, m, n", "b, n, 3, 8")),
        ("mk,k->m", ("m, k", "k")),
        ("k,kn->n", ("k", "k, n")),
        ("k,k->", ("k", "k")),
        ("m,n->mn", ("m", "n")),
        ("abk,kbn->abn", ("m, b, k", "k, b, n")),
    ],
)
def test_dot_general(agrees, equation, shapes):
    sizes = SIZES + (EMPTY if equation in ("mk,kn->mn", "bmk,bkn->bmn") else [])
    agrees(lambda x, y: jnp.einsum(equation, x, y), shapes, sizes, rtol=1e-4, atol=1e-4)


def test_static_weights_with_epilogue(agrees):
    def f(x, w, v, r):
        return jnp.tanh(x @ w + v) * 2 + r

    agrees(f, ("m, 48", "48, 70", "70", "m, 70"), [{"m": m} for m in (1, 5, 64, 129)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int32, jnp.bfloat16, np.float16, np.int8, np.uint16])
def test_other_dtypes(agrees, dtype):
    def f(x, y):
        return x.astype(dtype) @ y.astype(dtype)

    agrees(f, ("m, k", "k, n"), SIZES[:3], lambda r, s: r.integers(-5, 5, s).astype(np.float32), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("y", [np.float32, np.float16, jnp.float8_e4m3fn, jnp.float8_e5m2])
@pytest.mark.parametrize("x", [jnp.bfloat16, jnp.float8_e4m3fn])
@pytest.mark.parametrize("out", [None, np.float32])
def test_two_dtypes(agrees, x, y, out):
    def f(a, c):
        return lax.dot_general(a.astype(x), c.astype(y), (((1,), (0,)), ((), ())), preferred_element_type=out).astype(np.float32)

    if out is None and np.dtype(x).itemsize == np.dtype(y).itemsize == 1:
        return  # XLA sums these in 8 bits
    agrees(f, ("m, k", "k, n"), SIZES[:2], rtol=2e-2, atol=0.3 if out is None else 1e-3)


@pytest.mark.parametrize("name", ["DEFAULT", "F32_F32_F32"])
def test_algorithms(agrees, name):
    def f(x, y):
        return lax.dot_general(x, y, (((1,), (0,)), ((), ())), precision=lax.DotAlgorithmPreset[name])

    agrees(f, ("m, k", "k, n"), SIZES[:2], rtol=1e-4, atol=1e-4)


def test_algorithms_that_round_their_operands():
    """XLA takes them at some sizes only."""
    x = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    half = x.astype(np.float16).astype(np.float64)
    found = sod2.jit(lambda x: lax.dot(x, x, precision=lax.DotAlgorithmPreset.F16_F16_F16))(x)
    np.testing.assert_allclose(found, half @ half, rtol=2e-3, atol=2e-3)


def test_bytes_summed_in_words(agrees):
    def f(x, y):
        return lax.dot_general(x.astype(np.int8), y.astype(np.int8), (((1,), (0,)), ((), ())), preferred_element_type=np.int32)

    agrees(f, ("m, k", "k, n"), SIZES, lambda r, s: r.integers(-128, 128, s).astype(np.float32))


@pytest.mark.parametrize("equation", ["mk,kn->mn", "bmk,bkn->bmn"])
def test_complex(agrees, equation):
    def normal(rng, shape):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)

    shapes = ("b, m, k", "b, k, n") if equation[0] == "b" else ("m, k", "k, n")
    agrees(lambda x, y: jnp.einsum(equation, x, y), shapes, SIZES + EMPTY, normal, rtol=1e-4, atol=1e-4)
    agrees(lambda x, y: jnp.einsum(equation, x.real, y), shapes, SIZES[:2], normal, rtol=1e-4, atol=1e-4)
    agrees(lambda x, y: jnp.conj(jnp.einsum(equation, x.real, y.imag) * 1j), shapes, SIZES[:2], normal, rtol=1e-4, atol=1e-4)


def conv(x, w, strides=(1, 1), padding="SAME", dimensions=("NHWC", "HWIO", "NHWC"), **more):
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=dimensions, **more)


IMAGES = [{"b": 1, "h": 9, "w": 11}, {"b": 2, "h": 8, "w": 8}, {"b": 1, "h": 5, "w": 33}]


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 1), (0, 3))], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 3)], ids=str)
@pytest.mark.parametrize("window", [(1, 1), (3, 3), (2, 5)], ids=str)
def test_conv(agrees, padding, strides, window):
    agrees(
        lambda x, w: conv(x, w, strides, padding),
        ("b, h, w, 20", f"{window[0]}, {window[1]}, 20, 24"),
        IMAGES,
        rtol=1e-4,
        atol=1e-4,
    )


def test_conv_variants(agrees):
    near = {"rtol": 1e-4, "atol": 1e-4}
    agrees(lambda x, w: conv(x, w, rhs_dilation=(2, 1)), ("b, h, w, 6", "3, 3, 6, 10"), IMAGES, **near)
    agrees(lambda x, w: conv(x, w, padding=((1, 1), (2, 2)), lhs_dilation=(2, 2)), ("b, h, w, 6", "3, 3, 6, 10"), IMAGES, **near)
    agrees(lambda x, w: conv(x, w, feature_group_count=3), ("b, h, w, 18", "3, 3, 6, 36"), IMAGES, **near)
    agrees(lambda x, w: conv(x, w, feature_group_count=20), ("b, h, w, 20", "3, 3, 1, 20"), IMAGES, **near)
    agrees(lambda x, w: conv(x, w, feature_group_count=20), ("b, h, w, 20", "3, 3, 1, 40"), IMAGES, **near)
    agrees(lambda x, w: conv(x, w, dimensions=("NCHW", "OIHW", "NCHW")), ("b, 6, h, w", "10, 6, 3, 3"), IMAGES, **near)
    agrees(lambda x, w: conv(x, w, batch_group_count=2), ("4, h, w, 6", "3, 3, 6, 10"), IMAGES[:2], **near)


def test_conv_of_one_and_three_dimensions(agrees):
    def waves(x, w):
        return lax.conv_general_dilated(x, w, (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    agrees(waves, ("b, h, 8", "3, 8, 16"), [{"b": 1, "h": 9}, {"b": 3, "h": 32}], rtol=1e-4, atol=1e-4)
    agrees(lambda x, w: lax.conv_general_dilated(x, w, (1, 1, 1), "SAME"), ("1, 3, h, 5, w", "8, 3, 3, 3, 3"),
           [{"h": 4, "w": 5}], rtol=1e-4, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.complex64, np.int32])
def test_convolutions_of_other_dtypes(agrees, dtype):
    def f(x, w):
        return conv(x.astype(dtype), w.astype(dtype))

    agrees(f, ("b, h, w, 3", "3, 3, 3, 5"), [{"b": 1, "h": 5, "w": 6}, {"b": 2, "h": 1, "w": 3}], rtol=2e-2, atol=0.1)


def conv_nhwc(x, w, **groups):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **groups)


def squared_error(w, x):
    return (jnp.tanh(conv_nhwc(x[None], w)) ** 2).sum()


@pytest.mark.parametrize(
    ("f", "shapes", "sizes"),
    [
        (jax.vmap(lambda x, w: conv_nhwc(x[None], w)), ("b, 6, 5, 3", "b, 3, 3, 3, 4"), ("b653", "b3334")),
        (jax.vmap(conv_nhwc, (None, 0)), ("2, 6, 5, 3", "b, 3, 3, 3, 4"), ("2653", "b3334")),
        (jax.vmap(partial(conv_nhwc, batch_group_count=2)), ("b, 4, 6, 5, 3", "b, 3, 3, 3, 6"), ("b4653", "b3336")),
        (jax.vmap(jax.grad(squared_error), (None, 0)), (None, "b, 6, 5, 3"), ("3334", "b653")),  # gradients per example
        (lambda x, w: conv_nhwc(x, w, feature_group_count=x.shape[-1]), ("1, 6, 5, b", "3, 3, 1, b"), ("165b", "331b")),
        (lambda x, w: conv_nhwc(x, w, batch_group_count=x.shape[0]), ("b, 6, 5, 3", "3, 3, 3, b"), ("b653", "333b")),
    ],
)
def test_groups_of_a_convolution_may_be_a_size(f, shapes, sizes):
    g, rng = sod2.jit(f, shapes=shapes, compiler_options={"islands": False}), np.random.default_rng(0)
    for b in (3, 2, 5, 1):  # JAX asks whether batch groups are more than one
        assert g.cache_info().compiles <= 1
        xs = [rng.standard_normal([b if n == "b" else int(n) for n in size]).astype(np.float32) for size in sizes]
        np.testing.assert_allclose(g(*xs), jax.jit(f)(*xs), rtol=1e-4, atol=1e-4)
