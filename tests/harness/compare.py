"""Whether results are as good as JAX's.

* Shapes, dtypes and weak types are the same. Integers, booleans and whatever is only moved or rounded are equal; floats are near,
  by their dtype; NaN is where NaN is.
* Sums, products and what is made of them are near by the largest element, and by the dtype of the least precise argument: the
  order of operations is not ours to give, and XLA multiplies complex64 with a preferred complex128 in single precision.
* Factorisations have many right answers (signs, phases, order, bases of what is repeated), and so has the order of equal keys
  where a sort need not be stable. They are compared by what any right one rebuilds, and bases by being orthonormal: `REBUILD`.
"""

from __future__ import annotations

import jax
import ml_dtypes
import numpy as np

TOLERANCE = {"float64": 1e-11, "float32": 2e-5, "float16": 3e-3, "bfloat16": 2e-2}

# Groups whose float results are exact whatever the machine: elements that are moved, chosen or rounded.
EXACT = {
    "abs", "argmax", "argmin", "bitcast_convert_type", "broadcast_in_dim", "ceil", "clamp", "concatenate", "conj",
    "convert_element_type", "cummax", "cummin", "device_put", "dynamic_slice", "dynamic_update_slice", "floor", "gather",
    "imag", "iota", "max", "min", "neg", "nextafter", "pad", "real", "reduce_max", "reduce_min", "reduce_precision",
    "reduce_window_max", "reduce_window_min", "reshape", "rev", "round", "scatter", "scatter_max", "scatter_min", "select_n",
    "sign", "slice", "sort", "squeeze", "stable_sort", "stop_gradient", "top_k", "transpose",
}  # fmt: skip

# Groups whose errors are of the size of the largest element.
SUMS = {
    "cholesky", "conv_general_dilated", "cumlogsumexp", "cumprod", "cumsum", "custom_linear_solve", "dot_general", "eig",
    "eigh", "fft", "lu", "qr", "reduce", "reduce_prod", "reduce_sum", "reduce_window_add", "reduce_window_mul",
    "scatter_add", "scatter_mul", "select_and_scatter_add", "svd", "triangular_solve", "tridiagonal_solve",
}  # fmt: skip


def differs(group: str, got, want, arguments=()) -> str:
    """What is wrong with the results `got` (leaves), or ""."""
    if len(got) != len(want):
        return f"{len(got)} results instead of {len(want)}"
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        if (g.shape, g.dtype, g.weak_type) != (w.shape, w.dtype, w.weak_type):
            return f"type: result {k} is {g.aval} instead of {w.aval}"
    got, want = [numpy(x) for x in got], [numpy(x) for x in want]
    least = max(map(tolerance, arguments), default=0)
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        near = 0 if group in EXACT else tolerance(w)
        if message := apart(g, w, max(near, least) if near and group in SUMS else near, group in SUMS):
            if group in REBUILD and not rebuilt_apart(group, got, want):
                return ""
            return f"value: result {k}: {message}"
    return ""


def numpy(x) -> np.ndarray:
    return np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended) else x)


def tolerance(x: np.ndarray) -> float:
    if x.dtype.kind == "c":
        return TOLERANCE[x.real.dtype.name]
    return TOLERANCE.get(x.dtype.name, 0)  # 0 for integers, and for floats of 8 bits and less


def apart(got: np.ndarray, want: np.ndarray, near: float, as_whole: bool) -> str:
    """How many elements are further from JAX's than `near` allows, or ""."""
    if not want.size:
        return ""
    if want.dtype.kind == "V" or want.dtype.name in vars(ml_dtypes):
        got, want = (x.astype(np.float32) for x in (got, want))
    with np.errstate(all="ignore"):
        if want.dtype.kind == "c":
            # Parts separately, as an infinity or NaN in one says nothing of the other; errors are of the size of the whole.
            sizes = np.abs(want)
            pairs = [(got.real, want.real), (got.imag, want.imag)]
        else:
            sizes, pairs = np.abs(want) if near else 0, [(got, want)]
        if near:
            sizes = np.where(np.isfinite(sizes), sizes, 0)
            bound = near * (1 + sizes + (sizes.max() if as_whole else 0))
        bad = np.zeros(want.shape, bool)
        for g, w in pairs:
            same = g == w
            if w.dtype.kind == "f":
                same |= np.isnan(g) & np.isnan(w)
            if near:
                same |= np.abs(g - w) <= bound
            bad |= ~same
    if not bad.any():
        return ""
    where = tuple(map(int, np.argwhere(bad)[0]))
    return f"{bad.sum()} of {bad.size} differ, first {list(where)}: {got[where]!r} instead of {want[where]!r}"


# -- factorisations


def dagger(x):
    return np.conj(np.swapaxes(x, -1, -2))


def rebuild_svd(s, u=None, vt=None):
    if u is None:
        return [s], []
    k = s.shape[-1]
    return [s, (u[..., :k] * s[..., None, :]) @ vt[..., :k, :]], [u, dagger(vt)]


def rebuild_eigh(v, w):
    return [w, (v * w[..., None, :]) @ dagger(v)], [v]


def rebuild_qr(q, r, *more):
    return [q[..., : r.shape[-2]] @ r, *more], [q]


def rebuild_lu(lu, pivots, permutation):
    m, n = lu.shape[-2:]
    k = min(m, n)
    lower = np.tril(lu[..., :k], -1) + np.eye(m, k, dtype=lu.dtype)
    product = lower @ np.triu(lu[..., :k, :])
    back = np.argsort(permutation, axis=-1)
    return [np.take_along_axis(product, back[..., None], -2)], []


def rebuild_eig(w, *vectors):
    """Eigenvalues in the order of their parts, and each vector scaled so that its largest element is real."""
    order = np.lexsort((np.round(w.imag, 3), np.round(w.real, 3)), axis=-1)
    found = [np.take_along_axis(w, order, -1)]
    for v in vectors:
        v = np.take_along_axis(v, order[..., None, :], -1)
        if v.size:
            largest = np.take_along_axis(v, np.argmax(np.round(np.abs(v), 3), -2)[..., None, :], -2)
            v = v * (np.abs(largest) / largest)
        found.append(v)
    return found, []


def rebuild_sort(*operands):
    """Unless it is stable, what stands beside equal keys comes in any order."""
    order = np.lexsort([x.ravel() for x in reversed(operands)])
    return [operands[0], *(x.ravel()[order] for x in operands)], []


def rebuild_top(values, positions):
    """Equal values come in any order."""
    return [values], []


# What any right answer gives again: a function from the results to (what must be near JAX's, what must be orthonormal).
REBUILD = {
    "svd": rebuild_svd, "eigh": rebuild_eigh, "qr": rebuild_qr, "lu": rebuild_lu, "eig": rebuild_eig, "sort": rebuild_sort,
    "approx_top_k": rebuild_top,
}  # fmt: skip


def rebuilt_apart(group: str, got, want) -> str:
    """What a factorisation, or an order, rebuilds wrongly, or ""."""
    got, want = ([wide(x) for x in leaves] for leaves in (got, want))
    near = 50 * max(tolerance(x) for x in want if x.dtype.kind in "fc" or group == "sort")
    with np.errstate(all="ignore"):
        (mine, bases), (theirs, _) = REBUILD[group](*got), REBUILD[group](*want)
        for g, w in zip(mine, theirs, strict=True):
            if message := apart(g, w, near, True):
                return message
        for q in bases:
            product = dagger(q) @ q
            identity = np.broadcast_to(np.eye(q.shape[-1]), product.shape)
            if np.isfinite(q).all() and (message := apart(product, identity, near, True)):
                return f"not orthonormal: {message}"
    return ""


def wide(x: np.ndarray) -> np.ndarray:
    """NumPy multiplies no bfloat16."""
    return x.astype(np.float32) if x.dtype.name in vars(ml_dtypes) else x
