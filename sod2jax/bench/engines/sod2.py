"""sod2.jit: compiled once for all sizes, whole or without parts of its compiler."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from sod2jax import stages
from sod2jax.api import jit
from sod2jax.bench.engines.engine import Engine, Size
from sod2jax.ir.program import HostCall, walk
from sod2jax.rewrite.inline import inline


class Sod2(Engine):
    def __init__(self, *given: Any, disable: tuple[str, ...] = ()):
        self._options = {"disable": disable} if disable else None
        super().__init__(*given)

    def prepare(self) -> None:
        w = self.workload
        self._function = jit(w.fun, shapes=(None, *w.shapes), constraints=w.constraints, compiler_options=self._options)
        self._last: Size = w.steady[0]

    def call(self, taken: tuple, size: Size) -> Any:
        return jax.block_until_ready(self._function(self.params, *taken))

    def compilations(self) -> int:
        return self._function.cache_info().compiles

    @cached_property
    def _traced(self) -> stages.Traced:
        """Once more, to look into it: `sod2.jit` keeps its own to itself."""
        return self._function.trace(self.params, *self.workload.make_inputs(self._last))

    @cached_property
    def _compiled(self) -> stages.Compiled:
        return self._traced.lower().compile()

    def temp_bytes(self, inputs: tuple, size: Size) -> int:
        self._last = size
        return self._compiled.memory_analysis(**size).temp_size_in_bytes

    def kept_bytes(self) -> int:
        return self._compiled.memory_analysis(**self._last).cached_size_in_bytes

    def facts(self) -> dict[str, Any]:
        info = self._function.cache_info()
        if not info.versions:
            return {}
        islands = sorted({text for version in info.versions for text in version.islands})
        program = self._compiled.program
        steps = list(walk(program.steps))
        return {
            "eqns": count_eqns(inline(self._traced.jaxpr).jaxpr),
            "kernels": len(program.kernels),
            "steps": len(steps),
            "host calls": sum(isinstance(step, HostCall) for step in steps),
            "compiled in seconds": sum(version.seconds for version in info.versions),
            **({"computed by XLA": islands} if islands else {}),
        }


def count_eqns(jaxpr: Jaxpr) -> int:
    """Those in the bodies of loops and branches included."""
    params = [value for eqn in jaxpr.eqns for value in eqn.params.values()]
    leaves = jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, ClosedJaxpr | Jaxpr))
    inner = [x.jaxpr if isinstance(x, ClosedJaxpr) else x for x in leaves if isinstance(x, ClosedJaxpr | Jaxpr)]
    return len(jaxpr.eqns) + sum(map(count_eqns, inner))
