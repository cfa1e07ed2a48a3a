"""Functions of JAX that want numbers for sizes: one compilation each, and JAX's results, at several sizes, 0 and 1 among them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2

KEY = jax.random.key(3)


def row(n):
    return np.linspace(0.1, 1, n, dtype=np.float32)


def matrix(a, b):
    return np.sin(np.arange(a * b, dtype=np.float32)).reshape(a, b)


def rows(*sizes):
    return [(row(n),) for n in sizes]


N = rows(6, 9, 12, 1, 5)
PAIRS = [(row(9), row(3)), (row(15), row(4)), (row(18), row(5)), (row(2), row(1))]

# name: (function, shapes, calls)
ONCE = {
    "arange of a float": (lambda x: jnp.arange(0.0, x.shape[0]) * x, "n", [*N, *rows(0)]),
    "arange by a float": (lambda x: jnp.arange(0, x.shape[0], 0.3), "n", N),
    "arange to a float": (lambda x: jnp.arange(x.shape[0] / 2), "n", N),
    "arange from a float": (lambda x: jnp.arange(x.shape[0] / 4, x.shape[0], dtype=jnp.bfloat16), "n", N),
    "arange by a size": (lambda x: jnp.arange(0.0, 3 * x.shape[0], x.shape[0]), "n", N),
    "length of a scan": (lambda x: lax.scan(lambda c, _: (c + x, c), x, None, length=x.shape[0])[0], "n", N),
    "indices": (lambda x: jnp.indices(x.shape)[1] * x, "n, m", [(matrix(3, 4),), (matrix(5, 6),), (matrix(1, 2),)]),
    "logspace": (lambda x: jnp.logspace(0, 1, num=x.shape[0]) * x, "n", rows(6, 9, 12, 5)),
    "geomspace": (lambda x: jnp.geomspace(1, 10, num=x.shape[0]) * x, "n", rows(6, 9, 12, 5)),
    "convolve": (lambda x, w: jnp.convolve(x, w, mode="same"), ("n", "m"), PAIRS),
    "correlate": (lambda x, w: jnp.correlate(x, w, mode="full"), ("n", "m"), PAIRS),
    "polynomials": (lambda x: jnp.polymul(x, x) + jnp.polyint(x).sum() + jnp.polyder(x).sum(), "n", rows(6, 9, 12, 5)),
    "polyfit": (lambda x: jnp.polyfit(x, x * x, 1), "n", rows(6, 9, 12, 5)),
    "tril by a size": (lambda x: jnp.tril(x, x.shape[0] - 3), "n, n", [(matrix(n, n),) for n in (6, 9, 1)]),
    "diagflat": (lambda x: jnp.diagflat(x, 1), "n", N),
    "fill_diagonal": (lambda x: jnp.fill_diagonal(x, 1.0, inplace=False), "n, n", [(matrix(n, n),) for n in (6, 9, 1)]),
    "diag_indices": (lambda x: x[jnp.diag_indices(x.shape[0])], "n, n", [(matrix(n, n),) for n in (6, 9, 1)]),
    "covariance": (lambda x: jnp.cov(x), "n, m", [(matrix(6, 4),), (matrix(9, 7),), (matrix(5, 8),)]),
    "fft of a length": (lambda x: jnp.fft.fft(x, n=2 * x.shape[0]).real, "n", N),
    "irfft of a length": (lambda x: jnp.fft.irfft(jnp.fft.rfft(x), n=x.shape[0]), "n", rows(6, 9, 12, 5)),
    "windows": (lambda x: x * jnp.hamming(x.shape[0]) * jnp.bartlett(x.shape[0]) * jnp.kaiser(x.shape[0], 3.0), "n", rows(6, 9)),
    "resize": (lambda x: jnp.resize(x, (2 * x.shape[0],)), "n", N),
    "cosine transform": (lambda x: jax.scipy.fft.idct(x), "n", rows(6, 9, 12, 5)),
    "stft": (lambda x: jnp.abs(jax.scipy.signal.stft(x, nperseg=4)[2]), "n", rows(6, 9, 12, 5)),
    "detrend": (lambda x: jax.scipy.signal.detrend(x), "n", rows(6, 9, 12, 5)),
    "histogram": (lambda x: jnp.histogram(x, x.shape[0])[0], "n", rows(6, 9, 12, 5)),
    "searchsorted": (lambda t, x: jnp.searchsorted(t, x), ("m", "n"), [(row(9), row(3)), (row(33), row(6)), (row(1), row(2))]),
    "searchsorted right": (lambda t, x: jnp.searchsorted(t, x, side="right"), ("m", "n"), [(row(9), row(9)), (row(64), row(33))]),
    "digitize": (lambda t, x: jnp.digitize(x, t), ("m", "n"), [(row(9), row(3)), (row(31), row(6)), (row(32), row(7))]),
    "interp": (lambda x, t: jnp.interp(x, t, t * 2), ("n", "m"), [(row(9), row(3)), (row(15), row(8)), (row(18), row(5))]),
    "permutation": (lambda x: jax.random.permutation(KEY, x), "n", rows(5, 8, 12, 1600)),
    "permutation of rows": (
        lambda x: jax.random.permutation(KEY, x, axis=1, independent=True), "n, m", [(matrix(5, 3),), (matrix(8, 4),)]
    ),
    "choice": (lambda x: jax.random.choice(KEY, x, (3,), replace=False), "n", rows(5, 8, 12)),
    "choice by weights": (lambda x: jax.random.choice(KEY, x.shape[0], (3,), p=x / x.sum()), "n", rows(5, 8, 12)),
}  # fmt: skip


def compared(fun, shapes, calls, rtol=2e-5):
    f = sod2.jit(fun, shapes=(shapes,) if isinstance(shapes, str) else shapes)
    for args in calls:
        got, want = f(*args), jax.jit(fun)(*args)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
            np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=rtol, atol=1e-5)
    return f.cache_info().compiles


@pytest.mark.parametrize("name", ONCE)
def test_one_compilation(name):
    assert compared(*ONCE[name]) == 1


def test_search_finds_what_jax_finds_among_nans_and_ties():
    table = np.array([-np.inf, -1, -0.0, 0.0, 0.0, 2, np.inf, np.nan], np.float32)
    for side in ("left", "right"):
        f = sod2.jit(lambda t, x, side=side: jnp.searchsorted(t, x, side=side), shapes=("m", "n"))
        for k in (8, 7, 3):
            np.testing.assert_array_equal(f(table[:k], table), jnp.searchsorted(table[:k], table, side=side))
        assert f.cache_info().compiles == 1
        np.testing.assert_array_equal(f(table[:0], table), np.zeros(8, np.int32))


def test_the_rounds_of_a_shuffle_are_a_guard():
    f = sod2.jit(lambda x: jax.random.permutation(KEY, x), shapes=("n",))
    for n in (5, 2000, 1700, 7):
        np.testing.assert_array_equal(f(row(n)), jax.random.permutation(KEY, row(n)))
    assert f.cache_info().compiles == 2
    assert any("16" in g for g in f.cache_info().versions[1].guards)  # 1625 elements


# -- associative_scan


def affine(a, b):
    return {"scale": a["scale"] * b["scale"], "shift": b["scale"] * a["shift"] + b["shift"]}


def maps(n, *rest):
    x = np.cos(np.arange(n * math.prod(rest), dtype=np.float32)).reshape(n, *rest)
    return {"scale": x, "shift": x * 2}


def squares(n):
    return np.cos(np.arange(n * 9, dtype=np.float32)).reshape(n, 3, 3)


SCANS = {
    "sum": (lambda x: lax.associative_scan(jnp.add, x), "n", N),
    "not commutative": (lambda x: lax.associative_scan(lambda a, b: b + 0 * a, x, reverse=True), "n", N),
    "matrices": (lambda x: lax.associative_scan(jnp.matmul, x), "n, 3, 3", [(squares(5),), (squares(8),), (squares(1),)]),
    "trees": (lambda x: lax.associative_scan(affine, x), "n, 4", [(maps(5, 4),), (maps(33, 4),), (maps(1, 4),)]),
    "other axis": (lambda x: lax.associative_scan(jnp.maximum, x, axis=1), "b, n", [(matrix(2, 7),), (matrix(3, 4),)]),
    "last axis": (lambda x: lax.associative_scan(jnp.add, x, axis=1, reverse=True), "b, n", [(matrix(2, 7),), (matrix(3, 4),)]),
    "gradient": (
        jax.grad(lambda x: (lax.associative_scan(affine, x)["shift"] ** 2).sum()), "n, 4", [(maps(5, 4),), (maps(9, 4),)],
    ),
    "vmap": (jax.vmap(lambda x: lax.associative_scan(jnp.add, x)), "b, n", [(matrix(2, 7),), (matrix(3, 4),)]),
    "vmap of gradient": (
        *(jax.vmap(jax.grad(lambda x: (lax.associative_scan(jnp.multiply, x) ** 2).sum())), "b, n"),
        [(matrix(2, 7),), (matrix(3, 4),)],
    ),
    "integers": (lambda x: lax.associative_scan(lax.bitwise_xor, x), "n", [(np.arange(n, dtype=np.int32),) for n in (9, 4, 1)]),
}  # fmt: skip


@pytest.mark.parametrize("name", SCANS)
def test_associative_scans_compile_once(name):
    assert compared(*SCANS[name]) == 1


def test_an_associative_scan_over_nothing_has_a_version_of_its_own():
    assert compared(lambda x: lax.associative_scan(jnp.add, x), "n", rows(0, 3, 0, 5)) == 2


def test_associative_scan_of_unequal_lengths_is_jaxs_error():
    f = sod2.jit(lambda x, y: lax.associative_scan(lambda a, b: (a[0] + b[0], a[1] + b[1]), (x, y)), shapes=("n", "m"))
    with pytest.raises(ValueError, match="must have the same first dimension"):
        f(row(3), row(4))


def test_jaxs_functions_are_as_they_were_for_numbers():
    assert jnp.arange(0.0, 3.0).tolist() == [0, 1, 2]
    assert lax.associative_scan(jnp.add, jnp.arange(4), reverse=True).tolist() == [6, 6, 5, 3]
    assert jnp.squeeze(jnp.ones((1, 3))).shape == (3,)
    with pytest.raises(TypeError):
        lax.associative_scan(1, jnp.ones(3))


def test_an_image_without_pixels_is_jaxs_error():
    f = sod2.jit(lambda x: jax.image.resize(x, (6, 4), "linear"), shapes=("n, m",))
    assert f(np.ones((9, 5), np.float32)).shape == (6, 4)
    with pytest.raises(ZeroDivisionError):
        f(np.ones((0, 5), np.float32))
