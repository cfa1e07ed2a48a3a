"""The compiler, stage by stage: rewrite, analyse, fuse and lower, plan memory, machine code, load."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

from sod2jax import binding, rewrite, state_compat
from sod2jax.analyse import rdp
from sod2jax.analyse.demands import demand
from sod2jax.errors import Sod2Error, internal, not_yet
from sod2jax.ir import check, text
from sod2jax.ir.expr import as_expr
from sod2jax.ir.facts import facts_text
from sod2jax.ir.loops import Kernel
from sod2jax.ir.program import Extern, Input, Program
from sod2jax.lowering import jit, targets
from sod2jax.lowering.assemble import assemble
from sod2jax.lowering.pieces import Lowerer
from sod2jax.ops.outputs import separate
from sod2jax.options import Options
from sod2jax.trace import Traced

_BUGS = (LookupError, AttributeError, AssertionError, StopIteration)
# Exceptions of a stage that are mistakes of sod2jax: any, where no function of JAX's runs that refuses something by its own.
_INTERNAL = {"demand": _BUGS, "rewrite": _BUGS, "check": ()}

FRAMES = 10_000  # of Python, at most, while compiling
SAMPLES = (64, 256)  # sizes that the arena is planned for where a call gave none


class Executable:
    """A planned program, with the texts of all stages; machine code is made when `runtime` is first asked for."""

    def __init__(self, traced: Traced, options: Options):
        self.traced = traced
        self.compile_seconds: dict[str, float] = {}
        self.target = targets.named(options.cpu) if options.cpu else targets.host()
        with traced.scope.opened():  # rules that trace JAX functions ask questions, too
            self.program = self._plan(traced, options)
        if check.level():
            with self._timed("check"):
                check.check(self.program, samples=20)

    def _plan(self, traced: Traced, options: Options) -> Program:
        disable, box = options.disable, traced.scope.box
        with self._timed("demand"):
            demand(traced.closed_jaxpr.jaxpr, traced.live_jaxpr.jaxpr, traced.scope)
        with self._timed("rewrite"):
            simple = rewrite.run(traced.live_jaxpr, box)
            self.rewritten = separate(rewrite.islands(simple, traced.hints, options.islands))
        with self._timed("lower"):
            lowering = Lowerer(box, self.target, disable, samples(traced)[-1]).lower(self.rewritten, parameters(traced))
        with self._timed("plan"):
            inputs = [Input(x.path, x.dtype, tuple(map(as_expr, x.shape))) for x in (leaf.stored for leaf in traced.inputs)]
            donated = [i for i, x in enumerate(traced.inputs) if x.donated]
            rest = {"donated": donated, "symbols": traced.symbols, "guards": traced.guards(), "bounds": traced.bounds}
            return assemble(traced.name, lowering, inputs, samples(traced), disable, **rest)

    @cached_property
    def runtime(self) -> binding.Program:
        """The program in the runtime, with machine code. UnsupportedError if it was compiled for another machine."""
        if self.target.triple != targets.host().triple:
            raise not_yet(
                f"running code for {self.target.name} on {targets.host().name}", remedy="Its texts and its object code are there."
            )
        brought = binding.library_kernels(self.program)
        with self._timed("code"):
            compiled = jit.compile(self._generated, self.target)
        generated = iter(compiled.addresses)
        addresses = [brought[k.name] if isinstance(k, Extern) else next(generated) for k in self.program.kernels]
        with self._timed("load"):
            return binding.load(self.program, addresses, compiled.keepalive)

    @property
    def _generated(self) -> list[Kernel]:
        return [k for k in self.program.kernels if isinstance(k, Kernel)]

    def object_code(self) -> bytes:
        """A relocatable object file with all kernels, for the target."""
        return jit.object(self._generated, self.target)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        except Exception as error:
            if isinstance(error, (Sod2Error, MemoryError)) or not isinstance(error, _INTERNAL.get(stage, Exception)):
                raise
            raise internal(self.traced.name, stage, error) from error
        self.compile_seconds[stage] = time.perf_counter() - start

    @cached_property
    def facts(self):
        return rdp.analyse(self.rewritten, self.traced.scope.box)

    def texts(self, kind: str) -> str:
        """The program after a stage; kinds as in `stages.Lowered.as_text`, and "rewritten"."""
        match kind:
            case "rewritten":
                return str(self.rewritten)
            case "facts":
                return facts_text(self.facts)
            case "plan":
                return text.program_text(self.program)
            case "loops":
                return "\n\n".join(map(text.kernel_text, self._generated))
            case "llvm":
                return jit.ir(self._generated, self.target)
            case "asm":
                return jit.asm(self._generated, self.target)
        raise ValueError(f"no text of kind {kind!r}")


def compile(traced: Traced, options: Options) -> Executable:
    """Machine code for `traced`, at every size that its guards allow. Raises UnsupportedError before anything is lowered."""
    with state_compat.compiling(traced.x64), state_compat.symbolic_traces, _deep_recursion:
        executable = Executable(traced, options)
    traced.scope.box.forget()  # a version keeps its scope for the sake of its guards
    return executable


class _DeepRecursion:
    """Raises Python's recursion limit while any thread compiles: every pass takes some frames for each level of control flow."""

    def __init__(self):
        self.lock = threading.Lock()
        self.compilations = 0
        self.before = 0

    def __enter__(self) -> None:
        with self.lock:
            if self.compilations == 0:
                self.before = sys.getrecursionlimit()
                sys.setrecursionlimit(max(self.before, FRAMES))
            self.compilations += 1

    def __exit__(self, *_) -> None:
        with self.lock:
            self.compilations -= 1
            if self.compilations == 0:
                with suppress(RecursionError):  # the caller is deeper than that
                    sys.setrecursionlimit(self.before)


_deep_recursion = _DeepRecursion()


def parameters(traced: Traced) -> frozenset[int]:
    """Inputs that look like weights: packed and prepared once, for as long as the same arrays come back.

    Where sizes are symbolic, every input of constant shape; else the leaves of containers, since a lone array is what a call is
    about. A wrong guess costs the memory of the prepared buffers, and their preparation at each call. A typed key is none.
    """
    dynamic = bool(traced.symbols)
    return frozenset(
        i
        for i, x in enumerate(traced.inputs)
        if not x.donated
        and x.stored is x
        and all(size.value is not None for size in x.shape)
        and (dynamic or not x.path.isidentifier())
    )


def samples(traced: Traced) -> list[dict[str, int]]:
    """Sizes to plan the arena for; the last one is the one that counts: the call's, or a middling one within bounds."""
    found = []
    for size in SAMPLES:
        sizes = {}
        for d in traced.symbols:
            lo, hi = traced.bounds[d.name]
            sizes[d.name] = max(lo, min(size, hi if hi is not None else size))
        found.append(sizes)
    return [*found, dict(traced.hints)] if traced.hints else found
