"""The computations of generic reductions (`lax.reduce` with any function): jaxprs of scalars, run while a kernel is built.

* One that is a monoid of `ir.loops.FOLDS` is recognised by its only eqn, and becomes an ordinary fold.
* Any other runs by the loop rules of its eqns (`ops.scalar`), and its running values lie in the outputs (`running_fold`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr
from jax.extend.core import primitives as p

from sod2jax.ir.expr import Expr, ceildiv, const, minimum
from sod2jax.ir.loops import Value
from sod2jax.ops import scalar
from sod2jax.ops._base import Array, Nest

FOLDS = {
    p.add_p: "add", p.mul_p: "mul", p.max_p: "max", p.min_p: "min", p.and_p: "and", p.or_p: "or", p.xor_p: "xor",
}  # fmt: skip
# fold: the JAX function of two arrays
FUNCTIONS = {
    "add": lax.add, "mul": lax.mul, "max": lax.max, "min": lax.min,
    "and": lax.bitwise_and, "or": lax.bitwise_or, "xor": lax.bitwise_xor,
}  # fmt: skip
COLUMNS = 256  # elements of a row that one task takes


def monoid(closed: ClosedJaxpr) -> str | None:
    """The fold that `closed`, a function of two scalars, is."""
    jaxpr = closed.jaxpr
    if len(jaxpr.eqns) != 1 or len(jaxpr.invars) != 2:
        return None
    (eqn,) = jaxpr.eqns
    of_both = len(eqn.invars) == 2 and all(v in eqn.invars for v in jaxpr.invars)
    if not of_both or list(eqn.outvars) != list(jaxpr.outvars):
        return None
    fold = FOLDS.get(eqn.primitive)
    return fold if fold == "add" or jaxpr.outvars[0].aval.dtype.kind != "c" else None  # accumulators are real


def complex_start(fold: str, dtype):
    """What a product or an extreme of complex numbers starts with; None for folds that kernels have accumulators for."""
    if dtype.kind != "c" or fold == "add":
        return None
    return np.array({"mul": 1, "max": -np.inf, "min": np.inf}[fold], dtype)


@contextmanager
def rows(b: Nest, shape: Sequence[Expr]):
    """Tasks over an array of `shape`: the last axis is cut into parts, so that short outer axes do not starve threads.

    Gives a function that opens a vector loop over one part and gives the index.
    """
    if not shape:
        with b.tasks(()):
            yield contextmanager(lambda: (yield ()))
        return
    *outer, last = shape
    with b.tasks([*outer, ceildiv(last, const(COLUMNS))]) as (*rest, part):

        @contextmanager
        def columns():
            with b.loop(minimum(const(COLUMNS), last - part * COLUMNS), "vector") as i:
                yield (*rest, b.simplify(part * COLUMNS + i))

        yield columns


def running_fold(
    b: Nest,
    outs: Sequence[Array],
    extents: Sequence[Expr],
    start: Sequence[Value],
    element: Callable[[tuple[Expr, ...], tuple[Expr, ...]], tuple[Value | None, list[Value]]],
    closed: ClosedJaxpr,
) -> None:
    """outs[index] = `closed` over all k below `extents`, in order, of element(index, k): (where it counts, its values)."""
    with rows(b, outs[0].shape) as columns:
        with columns() as index:
            for out, value in zip(outs, start, strict=True):
                out.store(index, value)
        with ExitStack() as loops:
            k = tuple(loops.enter_context(b.loop(e)) for e in extents)
            with columns() as index:
                inside, values = element(index, k)
                new = scalar.apply(b, closed.jaxpr, closed.consts, *(out.load(index) for out in outs), *values)
                for out, value in zip(outs, new, strict=True):
                    out.store(index, value, inside)
