"""Values for arguments of other sizes: of the dtype, the range and the scale of an example.

`like(example)` gives the keywords with which `draw` makes such arrays, so that a script can make the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from sod2jax import compat

SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0)


def draw(
    dtype, shape: Sequence[int], seed: int | Sequence[int], *, low=0, high=8, mean=0.0, scale=1.0, odds=0.5, special=False
) -> np.ndarray:
    """A random array: integers from `low` to `high`, booleans true with probability `odds`, floats normal around `mean`.

    A negative `scale` makes floats that are nowhere below 0. `special` puts NaN, infinities and zeros of both signs into floats.
    Typed keys get random words.
    """
    rng = np.random.default_rng(seed)
    if (keys := compat.key_dtype(getattr(dtype, "name", dtype))) is not None:
        words = rng.integers(0, 1 << 32, (*shape, *compat.element_shape(keys)), np.uint32)
        return compat.key_array(keys, jnp.asarray(words))
    dtype = jnp.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < odds
    if jnp.issubdtype(dtype, jnp.integer):
        return rng.integers(low, high, shape, np.uint64 if low >= 0 else np.int64, endpoint=True).astype(dtype)
    values = rng.standard_normal(shape) * abs(scale) + mean
    if jnp.issubdtype(dtype, jnp.complexfloating):
        values = values + 1j * rng.standard_normal(shape) * abs(scale)
    elif scale < 0:
        values = np.abs(values)
    if special and values.size:
        places = rng.integers(0, values.size, 1 + min(values.size // 8, 8))
        values.reshape(-1)[places] = rng.choice(SPECIAL, len(places))
    return values.astype(dtype)


def like(example: Any) -> dict[str, Any]:
    """Keywords of `draw` for values such as those of an example; none where it has no values (a ShapeDtypeStruct)."""
    if hasattr(example, "shape") and (not hasattr(example, "__array__") or compat.element_shape(example.dtype) is not None):
        return {}
    x = np.asarray(example)
    if not x.size:
        return {}
    if x.dtype.kind == "b":
        return {"odds": float(x.mean())}
    if jnp.issubdtype(x.dtype, jnp.integer):
        return {"low": int(x.min()), "high": int(x.max())}
    x = x.astype(np.complex128 if jnp.issubdtype(x.dtype, jnp.complexfloating) else np.float64)
    x = x[np.isfinite(x)]
    if not x.size:
        return {}
    mean, spread = x.mean(), float(x.std())
    if x.size == 1 or not spread:
        spread = float(np.abs(x).max()) or 1.0
    if np.iscomplexobj(x):
        return {"mean": _short(mean), "scale": _short(spread / np.sqrt(2))}
    return {"mean": _short(mean), "scale": _short(-spread if x.min() >= 0 else spread)}


def _short(value):
    """Three digits: enough for a scale, and a script stays readable."""
    return complex(_short(value.real), _short(value.imag)) if np.iscomplexobj(value) else float(f"{value:.3g}")


def call_text(dtype, shape: Sequence[int], seed: Sequence[int], keywords: Mapping[str, Any]) -> str:
    """The call of `draw` as Python text."""
    rest = "".join(f", {k}={v!r}" for k, v in keywords.items())
    name = dtype.name if compat.element_shape(dtype) is not None else np.dtype(dtype).name
    return f'draw("{name}", {tuple(shape)}, {tuple(seed)}{rest})'
