"""What our rules do not cover, handed to XLA: an eqn becomes the call of a function that computes it at the sizes of the call.

* The function is `jax.jit` of the eqn alone. JAX compiles it anew for other sizes; everything around it stays as it is. Of each
  island the executables for the latest sizes are kept.
* Sizes that stand in its params (also within jaxprs) come as further operands, and are put there before it is compiled.
* So it is with libraries whose params hold sizes: the length of a real Fourier transform.
* What JAX itself cannot compile is JAX's error, raised here, at the sizes that are traced for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, DropVar, Jaxpr, JaxprEqn, Var, jaxpr_as_fun

from sod2jax import compat, ops, state_compat
from sod2jax.errors import unsupported_primitive
from sod2jax.ir.dims import Dim, expr_of
from sod2jax.ir.expr import sym
from sod2jax.ir.program import Host
from sod2jax.ops import island
from sod2jax.recent import Recent
from sod2jax.rewrite.at_sizes import at_sizes, param_at
from sod2jax.rewrite.interpreter import close
from sod2jax.rewrite.nested import rewritten_bodies

MOST = 32  # combinations of sizes for which an island's executables are kept


def islands(closed: ClosedJaxpr, hints: Mapping[str, int], allowed: bool = True) -> ClosedJaxpr:
    """`closed` with calls of XLA where no rule helps; UnsupportedError where XLA does not help either, or is not `allowed`."""
    return _Rewriter(closed.jaxpr, hints, allowed).run(closed)


class _Rewriter:
    def __init__(self, jaxpr: Jaxpr, hints: Mapping[str, int], allowed: bool):
        self.jaxpr, self.hints, self.allowed = jaxpr, hints, allowed
        self.eqns: list[JaxprEqn] = []
        self.values: dict[str, Var] = {}  # of symbols

    def run(self, closed: ClosedJaxpr) -> ClosedJaxpr:
        for eqn in self.jaxpr.eqns:
            self.eqns.append(self.served(eqn))
        if len(self.eqns) == len(self.jaxpr.eqns) and all(map(operator.is_, self.eqns, self.jaxpr.eqns)):
            return closed
        return close(self.jaxpr, self.jaxpr.constvars, closed.consts, self.eqns, self.jaxpr.outvars)

    def served(self, eqn: JaxprEqn) -> JaxprEqn:
        """`eqn` as something that can run."""
        if why := island.reason(eqn):
            return self.island(eqn, why)
        record = ops.of(eqn.primitive)
        if record.control is not None:
            return rewritten_bodies(eqn, lambda body: islands(body, self.hints, self.allowed))
        if record.host is None or not (sizes := symbols_of(eqn.params)):
            return eqn
        host = record.host(**eqn.params)
        at = _AtSizes(lambda env: record.host(**params_at(eqn, env)).call, tuple(sizes))
        return self.calling(eqn, Host(host.name, at, host.kind), eqn.invars, sizes)

    def island(self, eqn: JaxprEqn, why: str) -> JaxprEqn:
        line = compat.user_line(eqn)
        if obstacle := island.obstacle(eqn) or ("" if self.allowed else "and islands are off"):
            raise unsupported_primitive(eqn.primitive.name, line, detail=f"{why}, {obstacle}")
        operands = list(dict.fromkeys(v for v in eqn.invars if isinstance(v, Var)))
        sizes = symbols_of(eqn.params)

        def at(env):
            return _ByXla(_alone(self.jaxpr, eqn.replace(params=params_at(eqn, env)), operands))

        compiled = _AtSizes(at, tuple(sizes))
        if all(expr_of(size).free <= self.hints.keys() for v in (*operands, *eqn.outvars) for size in v.aval.shape):
            avals = at_sizes(_alone(self.jaxpr, eqn, operands), self.hints).in_avals
            compiled.at({name: self.hints[name] for name in sizes}).check(avals)
        note = f"{why}, {line}" if line else why
        return self.calling(eqn, Host(eqn.primitive.name, compiled, "island", note), operands, sizes)

    def calling(self, eqn: JaxprEqn, host: Host, operands: Sequence, sizes: Mapping[str, Dim]) -> JaxprEqn:
        """The call of a host function that is given the values of `sizes`, too."""
        for name, size in sizes.items():
            if name not in self.values:
                self.eqns.append(island.value_of(size.scope.dim(sym(name))))
                self.values[name] = self.eqns[-1].outvars[0]
        return island.calling(eqn, host, [*operands, *(self.values[name] for name in sizes)])


class _AtSizes:
    """A function of arrays and of the values of `names`: `make({name: value})` gives the one for these values."""

    def __init__(self, make: Callable[[dict[str, int]], Callable], names: tuple[str, ...]):
        self.make, self.names = make, names
        self.made = Recent(MOST)

    def at(self, env: Mapping[str, int]) -> Callable:
        return self.made.get(tuple(env.values()), lambda: self.make(dict(env)))

    def __call__(self, *operands):
        n = len(operands) - len(self.names)
        return self.at(dict(zip(self.names, map(int, operands[n:]), strict=True)))(*operands[:n])


class _ByXla:
    """A jaxpr as a function of NumPy arrays, compiled by XLA for their shapes, on the CPU and in the precision of its trace."""

    def __init__(self, closed: ClosedJaxpr):
        self.closed = closed
        self.made = Recent(MOST)  # a function of JAX for each combination of shapes, since JAX frees executables by function
        self.wide = jax.config.jax_enable_x64

    def function(self, *shapes):
        return self.made.get(shapes, lambda: jax.jit(jaxpr_as_fun(self.closed)))

    def check(self, avals: Sequence) -> None:
        """Raises JAX's error if it has no code for this."""
        with state_compat.compiling(self.wide):
            self.function(*(tuple(a.shape) for a in avals)).lower(*avals)

    def __call__(self, *arrays):
        with state_compat.compiling(self.wide), jax.default_device(jax.local_devices(backend="cpu")[0]):
            return [np.asarray(x) for x in self.function(*(x.shape for x in arrays))(*arrays)]


def _alone(jaxpr: Jaxpr, eqn: JaxprEqn, operands: Sequence) -> ClosedJaxpr:
    """A jaxpr of `eqn` and nothing else."""
    outvars = [Var(v.aval) if isinstance(v, DropVar) else v for v in eqn.outvars]
    invars = list(dict.fromkeys(v for v in operands if isinstance(v, Var)))
    info = jaxpr.debug_info.with_unknown_names()
    return ClosedJaxpr(Jaxpr((), invars, outvars, [eqn.replace(outvars=outvars)], eqn.effects, info), ())


def params_at(eqn: JaxprEqn, env: Mapping[str, int]) -> dict:
    """The params of an eqn at the sizes `env`."""
    return {name: param_at(value, env) for name, value in eqn.params.items()}


def symbols_of(params) -> dict[str, Dim]:
    """The symbols of all sizes in params: name -> a Dim that has it."""
    return {name: size for size in _sizes(params) for name in sorted(expr_of(size).free)}


def _sizes(value) -> Iterator[Dim]:
    match value:
        case Dim():
            yield value
        case dict():
            for inner in value.values():
                yield from _sizes(inner)
        case tuple() | list():
            for inner in value:
                yield from _sizes(inner)
        case compat.ShapedArray():
            yield from _sizes(value.shape)
        case ClosedJaxpr():
            yield from _sizes(value.jaxpr)
        case Jaxpr():
            yield from _sizes([v.aval for v in (*value.constvars, *value.invars)])
            for eqn in value.eqns:
                yield from _sizes(eqn.params)
                yield from _sizes([v.aval for v in eqn.outvars])
