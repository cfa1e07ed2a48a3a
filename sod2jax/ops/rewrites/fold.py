"""Constants computed at compile time: eqns of small known operands, by NumPy.

* Only operations that IEEE rounds correctly (or that are integer, or move elements) are here, so NumPy and XLA agree to the bit:
  exp(1.0) waits for run time.
* Results with denormals are left alone: XLA's CPU code flushes them to zero.
* `broadcast_in_dim` and `iota` of scalars stay eqns: sources that loops recompute are cheaper than arrays in memory.
"""

from __future__ import annotations

import operator

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jax.extend.core import primitives as p


def same(x, **_):
    return x


def convert(x, *, new_dtype, **_):
    """Out-of-range floats to integers, which C leaves open, are not folded."""
    new_dtype = np.dtype(new_dtype)
    if new_dtype.kind in "iu" and x.dtype.kind not in "iub":
        info, wide = np.iinfo(new_dtype), x.astype(np.float64)
        if not (np.isfinite(wide).all() and (wide > info.min - 1.0).all() and (wide < info.max + 1.0).all()):
            return None
    return x.astype(new_dtype)


def divide(x, y):
    if x.dtype.kind not in "iu":
        # By a scalar, XLA multiplies with the reciprocal.
        return x / y if x.shape == y.shape else None
    if (y == 0).any():
        return None
    quotient = x // y
    return quotient + ((quotient < 0) & (quotient * y != x))  # towards zero


def remainder(x, y):
    return None if x.dtype.kind in "iu" and (y == 0).any() else np.fmod(x, y)


def extreme(function):
    """0.0 against -0.0 is open, so floats that are equal are not folded."""

    def fold(x, y):
        return None if x.dtype.kind not in "iub" and (x == y).any() else function(x, y)

    return fold


def select(which, *cases):
    which = np.clip(which.astype(np.int64), 0, len(cases) - 1)
    return np.choose(np.broadcast_to(which, np.shape(cases[0])), cases)


def clamp(low, x, high):
    return None if x.dtype.kind not in "iub" else np.minimum(np.maximum(x, low), high)


def broadcast_in_dim(x, *, shape, broadcast_dimensions, **_):
    if x.ndim == 0 or not all(isinstance(size, (int, np.integer)) for size in shape):
        return None
    inner = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, x.shape, strict=True):
        inner[axis] = size
    return np.broadcast_to(x.reshape(inner), shape)


def slice_(x, *, start_indices, limit_indices, strides):
    steps = strides or (1,) * x.ndim
    return x[tuple(map(slice, map(int, start_indices), map(int, limit_indices), map(int, steps)))]


def square(x):
    return x * x


def reshape(x, *, new_sizes, dimensions, **_):
    return (x if dimensions is None else np.transpose(x, dimensions)).reshape([int(n) for n in new_sizes])


# primitive: function of the operands and params
FUNCTIONS = {
    p.add_p: np.add, p.sub_p: np.subtract, p.mul_p: np.multiply, p.div_p: divide, p.rem_p: remainder, p.neg_p: np.negative,
    p.abs_p: np.abs, p.sign_p: np.sign, p.floor_p: np.floor, p.ceil_p: np.ceil, p.square_p: square,
    p.is_finite_p: np.isfinite, p.max_p: extreme(np.maximum), p.min_p: extreme(np.minimum), p.clamp_p: clamp,
    p.and_p: np.bitwise_and, p.or_p: np.bitwise_or, p.xor_p: np.bitwise_xor, p.not_p: np.invert,
    p.eq_p: operator.eq, p.ne_p: operator.ne, p.lt_p: operator.lt, p.le_p: operator.le, p.gt_p: operator.gt, p.ge_p: operator.ge,
    p.select_n_p: select, p.convert_element_type_p: convert, p.copy_p: same, p.stop_gradient_p: same,
    p.broadcast_in_dim_p: broadcast_in_dim, p.slice_p: slice_,
    p.reshape_p: reshape,
    p.squeeze_p: lambda x, *, dimensions: np.squeeze(x, tuple(dimensions)),
    p.transpose_p: lambda x, *, permutation: np.transpose(x, permutation),
    p.concatenate_p: lambda *xs, dimension: np.concatenate(xs, dimension),
    p.rev_p: lambda x, *, dimensions: np.flip(x, dimensions),
}  # fmt: skip

# Correctly rounded in hardware for these; narrower floats are computed through f32, which is not the same thing for a root.
ROOT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def root(x):
    return np.sqrt(x) if x.dtype in ROOT_DTYPES and (x >= 0).all() else None


FUNCTIONS[p.sqrt_p] = root


def evaluate(cx, eqn):
    """The value of an eqn whose operands are all known."""
    if not all(isinstance(v, Literal) or v in cx.consts for v in eqn.invars):
        return None
    operands = [cx.known(v) for v in eqn.invars]
    if any(x is None for x in operands):
        return None
    aval = eqn.outvars[0].aval
    function = FUNCTIONS[eqn.primitive]
    params = {} if isinstance(function, np.ufunc) else _params(eqn)
    with np.errstate(all="ignore"):
        value = function(*operands, **params)
    if value is None:
        return None
    value = np.ascontiguousarray(value).reshape(np.shape(value))
    if value.dtype != aval.dtype or value.shape != tuple(aval.shape) or value.size > cx.largest_constant or _has_denormals(value):
        return None
    return cx.constant(value, aval)


# Params that say nothing about the value.
SILENT = {"accuracy", "out_sharding", "sharding"}


def _params(eqn):
    return {name: value for name, value in eqn.params.items() if name not in SILENT}


def _has_denormals(value) -> bool:
    if value.dtype.kind in "iub":
        return False
    if value.dtype.kind == "c":
        return _has_denormals(value.real) or _has_denormals(value.imag)
    magnitude = np.abs(value.astype(np.float64))
    smallest = jnp.finfo(value.dtype).tiny
    return bool(((magnitude > 0) & (magnitude < smallest)).any())


RULES = dict.fromkeys(FUNCTIONS, (evaluate,))
