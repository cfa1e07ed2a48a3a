"""Loop rules for elementwise functions that are written in JAX: one eqn to the planner, many operations to a kernel.

The function is traced for scalars, once per dtypes and params, and its eqns are pulled one by one where the element is wanted.
(A `decompose` rule would trace it for arrays: right for loops and changes of shape, too many eqns for long formulas.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from sod2jax.ir.loops import Value
from sod2jax.ops._base import Out, of
from sod2jax.ops.elementwise import read


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as an operand of rank 0."""

    value: Value
    shape = ()

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype

    def __getitem__(self, index) -> Value:
        return self.value


def composite(function: Callable) -> Callable:
    """The rule `pull` for `function(*operands, **params)`, whose operands and results are scalars."""

    @cache
    def traced(dtypes: tuple[np.dtype, ...], params: tuple) -> ClosedJaxpr:
        with jax.enable_x64(True):  # Python numbers take the dtype of what they meet; nothing becomes narrower
            return jax.make_jaxpr(partial(function, **dict(params)))(*(jax.ShapeDtypeStruct((), d) for d in dtypes))

    def pull(b, out, index, *operands, **params):
        closed = traced(tuple(x.dtype for x in operands), tuple(sorted(params.items())))
        return evaluate(b, closed, [read(x, index) for x in operands])[out.number]

    return pull


def evaluate(b, closed: ClosedJaxpr, values: list[Value]) -> list[Value]:
    """The results of a jaxpr of scalars, by the loop rules of its eqns."""
    jaxpr = closed.jaxpr
    env = dict(zip(jaxpr.invars, values, strict=True))
    env |= {
        var: b.const(np.asarray(value)[()], var.aval.dtype) for var, value in zip(jaxpr.constvars, closed.consts, strict=True)
    }

    def value_of(atom) -> Value:
        return b.const(np.asarray(atom.val)[()], atom.aval.dtype) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        record, operands = of(eqn.primitive), [value_of(atom) for atom in eqn.invars]
        if record.inner is not None:
            results = evaluate(b, eqn.params[record.inner], operands)
        else:
            outs = [Out((), v.aval.dtype, number) for number, v in enumerate(eqn.outvars)]
            results = [record.pull(b, out, (), *map(Scalar, operands), **eqn.params) for out in outs]
        env.update(zip(eqn.outvars, results, strict=True))
    return [value_of(atom) for atom in jaxpr.outvars]
