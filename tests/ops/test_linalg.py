"""Linear algebra against JAX, to the bit: the same routines of the same library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax import ops

DTYPES = ("float32", "float64", "complex64", "complex128")
SHAPES = ((3, 3), (1, 1), (2, 3, 5, 5), (4, 2), (2, 3, 4), (0, 3, 3))


def normal(rng, shape, dtype):
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def definite(x):
    return x @ np.swapaxes(x.conj(), -1, -2) + np.eye(x.shape[-1], dtype=x.dtype)


ANY = {  # of matrices of any shape
    "lu": lax.linalg.lu,
    "qr": lambda a: lax.linalg.qr(a, full_matrices=False),
    "full qr": lax.linalg.qr,
    "pivoted qr": lambda a: lax.linalg.qr(a, pivoting=True),
    "svd": lambda a: lax.linalg.svd(a, full_matrices=False),
    "full svd": lax.linalg.svd,
    "singular values": lambda a: lax.linalg.svd(a, compute_uv=False),
    "svd by qr": lambda a: lax.linalg.svd(a, algorithm=lax.linalg.SvdAlgorithm.QR),
}
SQUARE = {
    "cholesky": lambda a: lax.linalg.cholesky(a, symmetrize_input=False),
    "eigh": lambda a: lax.linalg.eigh(a, symmetrize_input=False),
    "upper eigh": lambda a: lax.linalg.eigh(a, lower=False, symmetrize_input=False),
    "eig": lax.linalg.eig,
    "eigenvalues": lambda a: lax.linalg.eig(a, compute_left_eigenvectors=False, compute_right_eigenvectors=False),
    "schur": lax.linalg.schur,
    "hessenberg": lax.linalg.hessenberg,
    "tridiagonal": lax.linalg.tridiagonal,
    "upper tridiagonal": lambda a: lax.linalg.tridiagonal(a, lower=False),
}


def same(fun, *arrays):
    """The library functions of `fun`, called one after the other as its jaxpr says, give JAX's bits."""
    with jax.enable_x64(True):
        jaxpr = jax.make_jaxpr(fun)(*arrays).jaxpr
        (eqn,) = (e for e in jaxpr.eqns if ops.of(e.primitive).host is not None)
        wanted = jax.jit(lambda *xs: eqn.primitive.bind(*xs, **eqn.params))(*arrays)
        wanted = wanted if eqn.primitive.multiple_results else [wanted]
        found = ops.of(eqn.primitive).host(**eqn.params).call(*arrays)
    assert len(found) == len(wanted)
    for f, w in zip(found, map(np.asarray, wanted), strict=True):
        assert (f.shape, f.dtype) == (w.shape, w.dtype)
        np.testing.assert_array_equal(f, w)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ANY)
def test_matrices_of_any_shape(name, dtype):
    rng = np.random.default_rng(0)
    for shape in SHAPES[:4] if dtype == "float64" else SHAPES[3:]:
        same(ANY[name], normal(rng, shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SQUARE)
def test_square_matrices(name, dtype):
    rng = np.random.default_rng(0)
    for shape in SHAPES[:3] if dtype == "float64" else SHAPES[:2]:
        same(SQUARE[name], normal(rng, shape, dtype))


def test_what_fails_is_nan():
    broken = np.full((3, 3), np.nan)
    for name in ("cholesky", "eigh", "eig", "schur"):
        same(SQUARE[name], broken)
    same(SQUARE["cholesky"], np.stack([-np.eye(3), np.eye(3)]))
    same(ANY["svd"], broken)
    same(ANY["lu"], np.zeros((3, 3)))


@pytest.mark.parametrize("shape", [(4, 0), (0, 3), (2, 0, 3)])
def test_matrices_without_elements(shape):
    a = np.zeros(shape, np.float32)
    *batch, m, _ = shape
    for full in (True, False):
        same(lambda a, full=full: lax.linalg.qr(a, full_matrices=full), a)
        same(lambda a, full=full: lax.linalg.svd(a, full_matrices=full), a)
    factors, pivots, permutation = lu(a)  # jax.jit crashes
    assert (factors.shape, pivots.shape) == (shape, (*batch, 0))
    np.testing.assert_array_equal(permutation, np.broadcast_to(np.arange(m), (*batch, m)))


def lu(a):
    (eqn,) = jax.make_jaxpr(lax.linalg.lu)(a).jaxpr.eqns
    return ops.of(eqn.primitive).host(**eqn.params).call(a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_triangular_solve(dtype):
    rng = np.random.default_rng(0)
    a, b = normal(rng, (2, 4, 4), dtype), normal(rng, (2, 4, 3), dtype)
    for number in range(32):
        left, lower, transpose, conjugate, unit = (bool(number >> k & 1) for k in range(5))
        if (number % 3 and dtype != "complex128") or (conjugate and dtype.startswith("float")):
            continue
        options = {"lower": lower, "transpose_a": transpose, "conjugate_a": conjugate, "unit_diagonal": unit}
        right = b if left else np.ascontiguousarray(np.swapaxes(b, -1, -2))
        same(lambda a, b, **_: lax.linalg.triangular_solve(a, b, left_side=left, **options), a, right)  # noqa: B023


def test_reflectors():
    rng = np.random.default_rng(0)
    factors, taus = map(np.asarray, jnp.linalg.qr(normal(rng, (5, 3), "float32"), mode="raw"))
    factors = np.ascontiguousarray(factors.T)
    same(lax.linalg.householder_product, factors, taus)
    same(lax.linalg.householder_product, factors, taus[:0])
    for left in (True, False):
        for transpose in (True, False):
            c = normal(rng, (5, 2) if left else (2, 5), "float32")
            same(lambda *x: lax.linalg.ormqr(*x, left=left, transpose=transpose), factors, taus, c)  # noqa: B023


@pytest.mark.parametrize("n", [1, 2, 6])
def test_tridiagonal_solve(n):
    rng = np.random.default_rng(0)
    same(lax.linalg.tridiagonal_solve, *(normal(rng, (2, n), "float64") for _ in range(3)), normal(rng, (2, n, 3), "float64"))


# -- through the compiler, at symbolic sizes


def matrices(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


def positive(rng, shape):
    return definite(matrices(rng, shape))


N = [{"n": 5}, {"n": 1}, {"n": 8}]
B = [{"b": 2}, {"b": 1}, {"b": 0}]


@pytest.mark.parametrize(
    ("fun", "shapes", "sizes", "make"),
    [
        (jnp.linalg.cholesky, ("n, n",), N, positive),
        (jnp.linalg.cholesky, ("b, 4, 4",), B, positive),
        (jnp.linalg.slogdet, ("b, 3, 3",), B, positive),
        (jnp.linalg.pinv, ("n, 3",), N[:1], matrices),
        (lambda a: jnp.linalg.qr(a)[1], ("n, 3",), N, matrices),
        (lambda a: jnp.abs(jnp.linalg.svd(a, full_matrices=False)[0]), ("b, 5, 3",), B, matrices),
        (jnp.linalg.eigvalsh, ("n, n",), N, positive),
        (jax.scipy.linalg.expm, ("3, 3",), [{}], matrices),
        (lambda a, w: lax.linalg.cholesky_update(jnp.triu(a), w), ("n, n", "n"), N, [positive, matrices]),
        (lambda a, c: lax.linalg.symmetric_product(a, c, alpha=2.0, beta=0.5), ("n, 3", "n, n"), N, [matrices, positive]),
        (lambda p: lax.linalg.lu_pivots_to_permutation(p, 6), ("b, 4",), B,
         lambda rng, shape: rng.integers(0, 6, shape).astype(np.int32)),
        (jax.grad(lambda a: jnp.linalg.cholesky(a).sum()), ("n, n",), N, positive),
        (lambda a: lax.map(jnp.linalg.cholesky, a), ("b, 3, 3",), B, positive),
    ],
)  # fmt: skip
def test_agrees(agrees, fun, shapes, sizes, make):
    agrees(fun, shapes, sizes, make=make, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("low", [0, -9, -30])
def test_pivots_out_of_bounds(agrees, low):
    """They are data: nothing is read or written outside of the permutation."""
    fun = lambda p: lax.linalg.lu_pivots_to_permutation(p, 6)
    agrees(fun, ["b, n"], [{"b": 40, "n": 6}, {"b": 2, "n": 1}], make=lambda rng, s: rng.integers(low, 30, s).astype(np.int32))


@pytest.mark.parametrize(
    ("fun", "shapes", "make"),
    [
        (jnp.linalg.inv, ("n, n",), positive),
        (jnp.linalg.solve, ("n, n", "n, 3"), [positive, matrices]),
        (jax.grad(lambda a: jnp.linalg.slogdet(a)[1]), ("n, n",), positive),
    ],
)
def test_one_equation_is_a_version_of_its_own(agrees, fun, shapes, make):
    """JAX asks whether the matrix has one row: it would broadcast, or knows a formula."""
    agrees(fun, shapes, N, make=make, rtol=2e-4, atol=2e-4, compiles=2)


def test_other_dtypes_are_islands():
    def solve(a, b):
        return lax.linalg.triangular_solve(a, b, left_side=True, lower=True)

    a = (np.eye(3) * 2).astype(jnp.bfloat16)
    b = np.ones((3, 2), jnp.bfloat16)
    f = sod2.jit(solve)
    np.testing.assert_array_equal(f(a, b), jax.jit(solve)(a, b))
    (island,) = f.cache_info().versions[0].islands
    assert "LAPACK has no bfloat16" in island
