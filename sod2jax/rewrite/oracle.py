"""JAX as the judge of rewriting: two jaxprs run eqn by eqn on the same arguments give the same bits.

* Arguments are random, with NaN, infinities, -0.0 and ties among the floats; `whole=True` gives small integers instead, whose
  sums are exact in any order.
* Integers are small and not negative, so that they serve as indices.
* Eqn by eqn, with `jit` disabled: XLA then fuses nothing, and a difference is the rewriting's.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, check_jaxpr, jaxpr_as_fun

from sod2jax.rewrite.at_sizes import at_sizes

_SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan)


def arguments(closed: ClosedJaxpr, seed: int = 0, whole: bool = False) -> list[np.ndarray]:
    """Random arguments of a jaxpr without symbols."""
    rng = np.random.default_rng(seed)
    return [_argument(rng, aval.shape, np.dtype(aval.dtype), whole) for aval in closed.in_avals]


def _argument(rng, shape, dtype, whole: bool) -> np.ndarray:
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu" or whole:
        return rng.integers(0 if dtype.kind in "iu" else -4, 4, shape).astype(dtype)
    value = rng.standard_normal(shape)
    return np.where(rng.random(shape) < 0.2, rng.choice(_SPECIAL, shape), value).astype(dtype)


def difference(
    before: ClosedJaxpr, after: ClosedJaxpr, sizes: Mapping[str, int], seed: int = 0, whole: bool = False
) -> str | None:
    """What tells `before` from `after` at `sizes`, or None if all outputs agree to the bit, in dtype, shape and weak type."""
    before, after = at_sizes(before, sizes), at_sizes(after, sizes)
    check_jaxpr(after.jaxpr)
    args = arguments(before, seed, whole)
    for number, (x, y) in enumerate(zip(before.out_avals, after.out_avals, strict=True)):
        if x.str_short() != y.str_short() or x.weak_type != y.weak_type:
            return f"output {number} is {x} before and {y} after"
    with jax.disable_jit():
        results = jaxpr_as_fun(before)(*args), jaxpr_as_fun(after)(*args)
    for number, (x, y, aval) in enumerate(zip(*results, before.out_avals, strict=True)):
        x, y = np.asarray(x, aval.dtype), np.asarray(y, aval.dtype)  # a literal comes as a Python number
        if not _same_bits(x, y):
            return f"output {number} at {dict(sizes)}: {x} before and {y} after"
    return None


def _same_bits(x: np.ndarray, y: np.ndarray) -> bool:
    if x.dtype.kind in "biu":
        return np.array_equal(x, y)
    nan = np.isnan(x)
    return np.array_equal(nan, np.isnan(y)) and x[~nan].tobytes() == y[~nan].tobytes()
