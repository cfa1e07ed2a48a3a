"""Two results side by side: structure, shapes, dtypes, weak types, then values within tolerances by dtype.

* |found - expected| <= rtol * |expected| + atol, where `atol` is by default `rtol` times the largest finite number expected: sums
  of large terms that cancel are as exact as their terms.
* NaN must be where NaN is, infinities too; integers and booleans must be equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import compat

RTOL = {8: 1e-9, 4: 1e-4, 2: 2e-2, 1: 2e-1}  # by the bytes of a float


@dataclass(frozen=True)
class Difference:
    """What differs, and in which output."""

    path: str
    message: str


def tolerance(dtypes: Iterable) -> float:
    """The relative tolerance for a computation in these dtypes: that of the coarsest float."""
    widths = [np.finfo(np.float32).bits // 8]
    floats = [jnp.dtype(d) for d in dtypes if jnp.issubdtype(d, jnp.inexact)]
    widths = [d.itemsize // 2 if jnp.issubdtype(d, jnp.complexfloating) else max(1, d.itemsize) for d in floats] or widths
    return RTOL[min(widths)]


def difference(found, expected, *, rtol: float, atol: float | None = None) -> Difference | None:
    """The first output that differs, by the order of the pytree; None if none does."""
    trees = jax.tree.structure(found), jax.tree.structure(expected)
    if trees[0] != trees[1]:
        return Difference("", f"the result is the pytree {trees[0]}, and should be {trees[1]}")
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves_with_path(expected), strict=True)
    for f, (path, e) in pairs:
        values = (np.asarray(compat.key_words(x)) for x in (f, e))
        if message := _type_differs(f, e) or _values_differ(*values, rtol, atol):
            return Difference(jax.tree_util.keystr(path), message)
    return None


def _type_differs(found, expected) -> str:
    for what in ("shape", "dtype", "weak_type"):
        f, e = getattr(found, what, None), getattr(expected, what, None)  # typed keys have no weak type
        if f != e:
            return f"the {what.replace('_', ' ')} is {f}, and should be {e}"
    return ""


def _values_differ(found: np.ndarray, expected: np.ndarray, rtol: float, atol: float | None) -> str:
    if not expected.size:
        return ""
    if not jnp.issubdtype(expected.dtype, jnp.inexact):
        bad = found != expected
        return _worst(found, expected, bad, np.zeros(expected.shape)) if bad.any() else ""
    wide = np.complex128 if jnp.issubdtype(expected.dtype, jnp.complexfloating) else np.float64
    f, e = found.astype(wide), expected.astype(wide)
    with np.errstate(all="ignore"):
        size = np.where(np.isfinite(e), np.abs(e), 0.0)
        least = rtol * size.max() if atol is None else atol
        off = np.abs(f - e)
        good = (off <= rtol * size + least) | (f == e) | (np.isnan(f) & np.isnan(e))
    return "" if good.all() else _worst(found, expected, ~good, off)


def _worst(found: np.ndarray, expected: np.ndarray, bad: np.ndarray, off: np.ndarray) -> str:
    """Where the difference is largest, NaN and infinities before all."""
    order = np.where(bad, np.where(np.isfinite(off), off, np.inf), -1.0)
    at = tuple(int(i) for i in np.unravel_index(np.argmax(order), bad.shape))
    where = f" at [{', '.join(map(str, at))}]" if at else ""
    count = f"{bad.sum()} of {bad.size} elements differ, most" if bad.size > 1 else "the value differs"
    return f"{count}{where}: {found[at]!s}, and should be {expected[at]!s}"
