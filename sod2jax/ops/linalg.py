"""Linear algebra by LAPACK, through SciPy: the library that JAX itself calls on a CPU, so results agree to the bit.

* Each function takes one matrix (or a matrix and what belongs to it) and returns what the primitive does; `batched` runs it over
  leading axes. A factorisation that fails is filled with NaN, as JAX does.
* Matrices without elements, which LAPACK's interfaces refuse, have results all the same: a full Q is the identity.
* What JAX's own CPU lowering writes in terms of lax is decomposed: rank-one updates, symmetric products, custom_linear_solve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial

import jax
import numpy as np
from jax import lax
from jax.extend.core import jaxpr_as_fun
from jax.extend.core import primitives as p

from sod2jax import compat, state_compat
from sod2jax.ir.program import Host
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop
from sod2jax.ops.index import BOOL, INT, clamped, within
from sod2jax.recent import Recent

PREFIXES = {np.dtype(np.float32): "s", np.dtype(np.float64): "d", np.dtype(np.complex64): "c", np.dtype(np.complex128): "z"}
COMPLEX_NAMES = {"orgqr": "ungqr", "ormqr": "unmqr", "syevd": "heevd", "sytrd": "hetrd"}


@cache
def routine(name: str, dtype: np.dtype) -> Callable:
    """LAPACK's (or BLAS') routine of that name for a dtype."""
    from scipy.linalg import blas, lapack

    stem, *rest = name.split("_")
    if dtype.kind == "c":
        stem = COMPLEX_NAMES.get(stem, stem)
    full = "_".join([PREFIXES[dtype] + stem, *rest])
    return getattr(lapack, full, None) or getattr(blas, full)


@lru_cache(maxsize=1024)
def work_for(name: str, dtype: np.dtype, *sizes: int, **options: int) -> int:
    """The workspace with which a routine runs fastest (and in the blocks that JAX lets it use)."""
    work, *_ = routine(f"{name}_lwork", dtype)(*sizes, **options)
    return rounded_up(work)


def rounded_up(work) -> int:
    """A size that came as a float, maybe rounded down to float32."""
    return math.ceil(np.nextafter(work.real, np.inf))


def with_work(name: str, *arguments, like: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """A routine that answers `lwork=-1` with the workspace it wants, asked once per shapes; the results before it."""
    function = routine(name, like[0].dtype)
    key = (name, like[0].dtype, *(x.shape for x in like), *(x for x in arguments if not isinstance(x, np.ndarray)))
    work = _works.get(key, lambda: rounded_up(function(*arguments, lwork=-1)[-2][0]))
    *results, _, _ = function(*arguments, lwork=work)
    return tuple(results)


_works = Recent(1024)  # bytes by routine, shapes and options


def or_nan(ok: bool, *results: np.ndarray) -> tuple[np.ndarray, ...]:
    if ok:
        return results
    return tuple(np.full_like(x, complex(np.nan, np.nan) if x.dtype.kind == "c" else np.nan) for x in results)


# -- one matrix at a time


def cholesky(a):
    c, info = routine("potrf", a.dtype)(a, lower=1, clean=0)
    return or_nan(info == 0, c)


def lu(a):
    permutation = np.arange(len(a), dtype=np.int32)
    if a.size == 0:
        return a, permutation[:0], permutation
    factors, pivots, info = routine("getrf", a.dtype)(a)
    for i, j in enumerate(pivots):
        permutation[[i, j]] = permutation[[j, i]]
    return *or_nan(info >= 0, factors), pivots.astype(np.int32), permutation


def geqrf(a):
    return with_work("geqrf", a, like=[a])


def geqp3(a, pivots):
    if a.size == 0:
        return a, np.arange(1, 1 + len(pivots), dtype=pivots.dtype), a.reshape(-1)
    factors, order, taus = with_work("geqp3", a, like=[a])
    return factors, order.astype(pivots.dtype), taus


def householder_product(a, taus):
    if taus.size == 0:
        return (np.eye(*a.shape, dtype=a.dtype),)
    return with_work("orgqr", a, taus, like=[a, taus])


def ormqr(a, taus, c, *, left, transpose):
    if taus.size == 0:
        return (c,)
    adjoint = "N" if not transpose else "C" if a.dtype.kind == "c" else "T"
    a = a[:, : len(taus)]
    return with_work("ormqr", "L" if left else "R", adjoint, a, taus, c, like=[a, taus, c])


def qr(a, *, pivoting, full_matrices, **_):
    m, n = a.shape
    if a.size == 0:
        q = np.eye(m, m if full_matrices else min(m, n), dtype=a.dtype)
        return q, np.zeros((q.shape[1], n), a.dtype), *([np.zeros(n, np.int32)] if pivoting else [])
    factors, *order, taus = with_work("geqp3" if pivoting else "geqrf", a, like=[a])
    size = m if full_matrices or m < n else n
    reflectors = np.zeros((m, size), a.dtype, order="F")
    reflectors[:, : min(n, size)] = factors[:, : min(n, size)]
    (q,) = householder_product(reflectors, taus)
    return q, np.triu(factors[:size]), *(x.astype(np.int32) - 1 for x in order)


def eigh(a, *, lower, **_):
    w, v, info = routine("syevd", a.dtype)(a, lower=int(lower))
    return or_nan(info == 0, v, w)


def svd(a, *, full_matrices, compute_uv, algorithm=None, **_):
    if a.size == 0:
        u, vt = (np.eye(n, n if full_matrices else 0, dtype=a.dtype) for n in a.shape)
        return (a.real.reshape(-1), u, vt.T) if compute_uv else (a.real.reshape(-1),)
    name = "gesvd" if algorithm is not None and algorithm.name == "QR" else "gesdd"
    options = {"compute_uv": int(compute_uv), "full_matrices": int(full_matrices)}
    u, s, vt, info = routine(name, a.dtype)(a, lwork=work_for(name, a.dtype, *a.shape, **options), **options)
    return or_nan(info == 0, s, u, vt) if compute_uv else or_nan(info == 0, s)


def eig(a, *, compute_left_eigenvectors, compute_right_eigenvectors, **_):
    wanted = {"compute_vl": int(compute_left_eigenvectors), "compute_vr": int(compute_right_eigenvectors)}
    ok = bool(np.isfinite(a).all())
    given = a if ok else np.zeros_like(a)
    *w, vl, vr, info = routine("geev", a.dtype)(given, lwork=work_for("geev", a.dtype, len(a), **wanted), **wanted)
    if len(w) == 2:
        w = [pairs(*w)]
        vl, vr = (conjugate_pairs(w[0], v) for v in (vl, vr))
    vectors = [v for v, want in ((vl, compute_left_eigenvectors), (vr, compute_right_eigenvectors)) if want]
    return or_nan(ok and info == 0, *w, *vectors)


def pairs(real, imag):
    out = np.empty(real.shape, np.result_type(real, np.complex64))
    out.real, out.imag = real, imag
    return out


def conjugate_pairs(w, vectors):
    """LAPACK's packed eigenvectors of a real matrix: of a conjugate pair, one column is real, the next one imaginary."""
    if len(vectors) != len(w):
        return vectors  # not asked for
    out = vectors.astype(w.dtype)
    for i in np.flatnonzero(w.imag > 0):
        out[:, i].imag = vectors[:, i + 1]
        out[:, i + 1] = out[:, i].conj()
    return out


def schur(a, *, compute_schur_vectors, **_):
    function = routine("gees", a.dtype)
    options = {"compute_v": int(compute_schur_vectors), "sort_t": 0}
    work = function(_never, a, lwork=-1, **options)[-2]
    form, *_rest, vectors, _, info = function(_never, a, lwork=rounded_up(work[0]), **options)
    return or_nan(info == 0, form, vectors) if compute_schur_vectors else or_nan(info == 0, form)


def _never(*_):
    return 0


def hessenberg(a):
    n = len(a)
    h, taus, info = routine("gehrd", a.dtype)(a, lo=0, hi=n - 1, lwork=work_for("gehrd", a.dtype, n, lo=0, hi=n - 1))
    return or_nan(info == 0, h, taus)


def tridiagonal(a, *, lower):
    lower = int(lower)
    c, d, e, taus, info = routine("sytrd", a.dtype)(a, lower=lower, lwork=work_for("sytrd", a.dtype, len(a), lower=lower))
    return or_nan(info == 0, c, d, e, taus)


def tridiagonal_solve(dl, d, du, b, **_):
    if len(d) == 1:
        return or_nan(d[0] != 0, b / d[0] if d[0] else b)
    *_work, x, info = routine("gtsv", b.dtype)(dl[1:], d, du[:-1], b)
    return or_nan(info == 0, x)


def triangular_solve(a, b, *, left_side, lower, transpose_a, conjugate_a, unit_diagonal):
    if conjugate_a and not transpose_a:
        a = a.conj()
    transposed = (2 if conjugate_a else 1) if transpose_a else 0
    options = {"side": int(not left_side), "lower": int(lower), "trans_a": transposed, "diag": int(unit_diagonal)}
    return (routine("trsm", a.dtype)(1.0, a, b, **options),)


# -- as functions of the process


def batched(function: Callable, ranks: Sequence[int], *arrays: np.ndarray) -> Sequence[np.ndarray]:
    """`function` over the leading axes of all `arrays`, whose matrices have so many axes."""
    batch = arrays[0].shape[: arrays[0].ndim - ranks[0]]
    if not batch:
        return function(*arrays)
    flat = [x.reshape(math.prod(batch), *x.shape[len(batch) :]) for x in arrays]
    results = zip(*(function(*matrices) for matrices in zip(*flat, strict=True)), strict=True)
    return [np.stack(x).reshape(*batch, *x[0].shape) for x in results]


def library(prim, name: str, function: Callable, ranks: Sequence[int], lacks: Callable | None = None) -> None:
    """The record of a primitive that is computed matrix by matrix."""

    def host(**params) -> Host:
        one = partial(function, **params) if params else function

        def bind(*operands):
            return jax.tree.leaves(prim.bind(*operands, **params))

        def call(*arrays):
            if any(x.size == 0 for x in arrays):
                with state_compat.compiling(x64=True):  # dtypes stay as they are
                    outs = jax.eval_shape(bind, *arrays)
                if all(x.size == 0 for x in outs):
                    return [np.empty(x.shape, x.dtype) for x in outs]
            if prim is GEQP3 and arrays[1].any():  # SciPy's interface leaves all columns free
                with state_compat.compiling(x64=True):
                    return list(map(np.asarray, jax.jit(bind)(*arrays)))
            return batched(one, ranks, *arrays)

        return Host(name, call)

    defop(OpDef(prim, Dyn.ISDOS, Mapping.MANY_TO_MANY, host=host, lacks=lacks or _lacks_dtype))


def _lacks_dtype(a, *_, **__) -> str:
    return "" if a.dtype in PREFIXES else f"LAPACK has no {a.dtype}"


def _lacks_of_eigh(a, *, subset_by_index, algorithm, **_) -> str:
    chosen = algorithm is not None and algorithm.name in ("QDWH", "JACOBI")
    return _lacks_dtype(a) or ("an algorithm or a subset that LAPACK's syevd has not" if subset_by_index or chosen else "")


def _lacks_of_svd(a, *, subset_by_index, algorithm=None, **_) -> str:
    chosen = algorithm is not None and algorithm.name in ("JACOBI", "POLAR")
    return _lacks_dtype(a) or ("an algorithm or a subset that LAPACK's gesdd has not" if subset_by_index or chosen else "")


def _lacks_of_eig(a, *, implementation=None, **_) -> str:
    return _lacks_dtype(a) or ("another library" if implementation is not None and implementation.name != "LAPACK" else "")


def _lacks_of_schur(a, *, sort_eig_vals, **_) -> str:
    return _lacks_dtype(a) or ("sorted eigenvalues" if sort_eig_vals else "")


def _lacks_of_tridiagonal_solve(a, *_, perturb_singular, **__) -> str:
    return _lacks_dtype(a) or ("perturb_singular" if perturb_singular else "")


GEQP3 = compat.primitive("geqp3")

library(p.cholesky_p, "cholesky", cholesky, (2,))
library(p.lu_p, "lu", lu, (2,))
library(compat.primitive("geqrf"), "geqrf", geqrf, (2,))
library(GEQP3, "geqp3", lambda a, pivots, **_: geqp3(a, pivots), (2, 1))
library(p.householder_product_p, "householder_product", householder_product, (2, 1))
library(compat.primitive("ormqr"), "ormqr", ormqr, (2, 1, 2))
library(p.qr_p, "qr", qr, (2,))
library(p.eigh_p, "eigh", eigh, (2,), _lacks_of_eigh)
library(p.svd_p, "svd", svd, (2,), _lacks_of_svd)
library(p.eig_p, "eig", eig, (2,), _lacks_of_eig)
library(p.schur_p, "schur", schur, (2,), _lacks_of_schur)
library(p.hessenberg_p, "hessenberg", hessenberg, (2,))
library(p.tridiagonal_p, "tridiagonal", tridiagonal, (2,))
library(p.tridiagonal_solve_p, "tridiagonal_solve", tridiagonal_solve, (1, 1, 1, 2), _lacks_of_tridiagonal_solve)
library(p.triangular_solve_p, "triangular_solve", triangular_solve, (2, 2))


# -- in simpler primitives


def permutation(b, outs, pivots, *, permutation_size):
    """Row swaps, done one after the other, as the order of rows that they leave.

    Indices are JAX's: a negative one counts from the end, one out of bounds reads the nearest row and writes none.
    """
    (out,) = outs
    *batch, size = out.shape
    with b.tasks(batch) as index:
        with b.loop(size) as i:
            out.store((*index, i), b.position(i, out.dtype))
        with b.loop(pivots.shape[-1]) as i:
            j = b.convert(pivots[(*index, i)], INT)
            from_end = b.op("add", j, b.position(size, INT), dtype=INT)
            j = b.op("select", b.op("lt", j, b.const(0, INT), dtype=BOOL), from_end, j, dtype=INT)
            nearest = clamped(b, j, INT, size - 1)
            first, second = out.load((*index, i)), out.load((*index, nearest))
            out.store((*index, i), second)
            with b.when(within(b, j, size - 1)):
                out.store((*index, nearest), first)


def cholesky_update(r, w):
    """R of R'R + ww', by one Givens rotation per row. No row is taken by its number: there is none if the matrix is empty."""
    columns = lax.iota(np.int32, w.shape[0])

    def rotate(w, step):
        k, row = step

        def diagonal(v):
            return lax.reduce_sum(lax.select(columns == k, v, lax.full_like(v, 0)), (0,))

        x, y = diagonal(row), diagonal(w)
        largest = lax.max(abs(x), abs(y))
        x, y0 = x / largest, y / largest
        inverse = 1 / lax.sqrt(x * x + y0 * y0)
        c = lax.select(y == 0, lax.full_like(x, 1), x * inverse)
        s = lax.select(y == 0, lax.full_like(x, 0), -y0 * inverse)
        return c * w + s * row, c * row - s * w

    return lax.scan(rotate, w, (columns, r))[1]


def symmetric_product(a, c, *, alpha, beta):
    batch = tuple(range(a.ndim - 2))
    last = a.ndim - 1
    product = lax.dot_general(a, a, (((last,), (last,)), (batch, batch)), precision=lax.Precision.HIGHEST)
    return alpha * product + beta * c


def custom_linear_solve(*operands, const_lengths, jaxprs):
    """The solution alone: the products with the matrix are for derivatives."""
    lengths = [const_lengths.matvec, const_lengths.vecmat, const_lengths.solve, const_lengths.transpose_solve]
    start = sum(lengths[:2])
    return jaxpr_as_fun(jaxprs.solve)(*operands[start : start + lengths[2]], *operands[sum(lengths) :])


defop(OpDef(compat.primitive("lu_pivots_to_permutation"), Dyn.ISDOS, Mapping.MANY_TO_MANY, nest=permutation))
defop(OpDef(compat.primitive("cholesky_update"), Dyn.ISDOS, Mapping.MANY_TO_MANY, decompose=cholesky_update))
defop(OpDef(compat.primitive("symmetric_product"), Dyn.ISDOS, Mapping.MANY_TO_MANY, decompose=symmetric_product))
defop(
    OpDef(compat.primitive("linear_solve"), Dyn.ISDOS, Mapping.MANY_TO_MANY,
          decompose=custom_linear_solve)
)  # fmt: skip
