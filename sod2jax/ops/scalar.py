"""Jaxprs of scalars inside of a loop rule: the combiner of a scatter or of a reduction, by the loop rules of its eqns."""

from __future__ import annotations

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from sod2jax import compat, state_compat
from sod2jax.errors import unsupported_primitive
from sod2jax.ir.loops import Value
from sod2jax.ops._base import Out, of


class Scalar:
    """A value as an operand of rank 0 (`ops.Tensor`)."""

    shape = ()

    def __init__(self, value: Value):
        self.value, self.dtype = value, value.dtype

    def __getitem__(self, index) -> Value:
        return self.value


def apply(b, jaxpr, consts, *values: Value) -> list[Value]:
    """The results of `jaxpr`, all of whose variables are scalars, for `values`."""
    env = {v: b.const(c, v.aval.dtype) for v, c in zip(jaxpr.constvars, map(np.asarray, consts), strict=True)}
    env.update(zip(jaxpr.invars, values, strict=True))

    def read(atom):
        return b.const(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        record, operands = of(eqn.primitive), list(map(read, eqn.invars))
        if record is not None and (inner := _inner(eqn, record)) is not None:
            inner, closed_over = (inner.jaxpr, inner.consts) if isinstance(inner, ClosedJaxpr) else (inner, ())
            results = apply(b, inner, closed_over, *operands)
        elif record is None or record.pull is None or any(v.aval.shape for v in (*eqn.invars, *eqn.outvars)):
            raise unsupported_primitive(eqn.primitive.name, compat.user_line(eqn), detail="in a function of scalars")
        else:
            outs = (Out((), np.dtype(v.aval.dtype), k) for k, v in enumerate(eqn.outvars))
            results = [record.pull(b, out, (), *map(Scalar, operands), **eqn.params) for out in outs]
        env.update(zip(eqn.outvars, results, strict=True))
    return list(map(read, jaxpr.outvars))


def _inner(eqn, record) -> Jaxpr | ClosedJaxpr | None:
    """What an eqn calls or decomposes into."""
    if record.inner is not None:
        return eqn.params[record.inner]
    if record.decompose is None:
        return None
    results = []

    def simpler(*operands):
        results.append(record.decompose(*operands, **eqn.params))
        return () if results[0] is NotImplemented else results[0]

    with state_compat.context_of(eqn):
        closed = jax.make_jaxpr(simpler)(*(v.aval for v in eqn.invars))
    return None if results[0] is NotImplemented else closed
