"""Loop rules for elementwise functions that are written in JAX: one eqn to the planner, many operations to a kernel.

The function is traced for scalars, once per dtypes and params, and its eqns are pulled one by one where the element is wanted.
(A `decompose` rule would trace it for arrays: right for loops and changes of shape, too many eqns for long formulas.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from sod2jax.ir.loops import Value
from sod2jax.ops import scalar
from sod2jax.ops.elementwise import read


def inlined(function: Callable) -> Callable:
    """`function(*scalars, **params)`, which is JAX code, as `f(b, *values, **params) -> values` for use in a loop rule."""

    @cache
    def traced(dtypes: tuple[np.dtype, ...], params: tuple) -> ClosedJaxpr:
        with jax.enable_x64(True):  # Python numbers take the dtype of what they meet; nothing becomes narrower
            return jax.make_jaxpr(partial(function, **dict(params)))(*(jax.ShapeDtypeStruct((), d) for d in dtypes))

    def apply(b, *values: Value, **params) -> list[Value]:
        closed = traced(tuple(x.dtype for x in values), tuple(sorted(params.items())))
        return scalar.apply(b, closed.jaxpr, closed.consts, *values)

    return apply


def composite(function: Callable) -> Callable:
    """The rule `pull` for an elementwise `function(*operands, **params)`, which is JAX code for scalars."""
    apply = inlined(function)
    return lambda b, out, index, *operands, **params: apply(b, *(read(x, index) for x in operands), **params)[out.number]
