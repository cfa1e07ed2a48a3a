"""`sod2.jit`: JAX's `jit`, compiled once for all sizes.

* A call goes straight into C++ (`binding.Function`), which looks for a version that fits: pytree, static arguments, dtypes,
  ranks, weak types, JAX's configuration, then sizes and guards. Python runs only when none fits (`_miss`) or under a
  transformation (`_inline`, which hands over to `jax.jit` of the same function).
* With `shapes=` a miss first checks the contract (ShapeError), then traces with the user's symbols.
* Without it, calls that differ only in sizes form a family. The first is compiled as it is; from then on every dim that was not
  the same in all misses of the family is a symbol, so the second compilation usually is the last.
* Each compilation keeps the reason why it happened; `max_compiles` turns one too many into an error that lists them.
"""

from __future__ import annotations

import copy
import functools
import logging
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from sod2jax import binding, compat, pipeline, stages, switches
from sod2jax.arguments import Arguments, Call
from sod2jax.errors import CompileLimitError, SpecError, StaticSizeWarning
from sod2jax.ir import text
from sod2jax.ir.fixed import Fixed, Place
from sod2jax.options import Options, make_options
from sod2jax.specs import Contract, Leaf, holds
from sod2jax.trace import Signature, Traced, automatic_signature, contract_signature, fun_name, static_signature, trace

logger = logging.getLogger("sod2jax")


@dataclass(frozen=True)
class VersionInfo:
    """One version: its symbolic arguments, the guards that a call must meet, calls served, why and how long it compiled.

    `islands` are the operations that XLA computes, for want of a rule: which, why, and the user's line. `fixed` are the symbolic
    sizes that became numbers: which, who needed it, the user's line and what to write instead; other values compile anew.
    """

    arguments: str
    guards: tuple[str, ...]
    hits: int
    why: str
    seconds: float
    islands: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class CacheInfo:
    """What `f.cache_info()` returns: compilations, calls served without one, and every version."""

    compiles: int
    hits: int
    versions: tuple[VersionInfo, ...]

    def __str__(self):
        lines = [f"{self.compiles} compilation{'s' * (self.compiles != 1)}, {self.hits} hit{'s' * (self.hits != 1)}"]
        for i, v in enumerate(self.versions, 1):
            lines.append(f"{i}. {v.arguments}: {v.hits} hit{'s' * (v.hits != 1)}, compiled in {v.seconds:.2f} s because {v.why}")
            lines.extend(f"     guard {g}" for g in v.guards)
            lines.extend(f"     {text}" for text in v.fixed)
            lines.extend(f"     computed by XLA: {name}" for name in v.islands)
        return "\n".join(lines)


@dataclass
class _Compilation:
    """What Python remembers of one version."""

    signature: Signature
    traced: Traced
    why: str
    seconds: float = 0.0
    islands: tuple[str, ...] = ()
    version: Any = None

    def fits(self, call: Call) -> bool:
        """Whether the sizes of a call (of the same family) are within this version."""
        env = {}
        for d in self.signature.symbols:
            env[d.name], left = divmod(call.leaves[d.input].shape[d.axis] - d.offset, d.scale)
            if left or env[d.name] < 0:
                return False
        shapes = tuple(tuple(e.eval(env) for e in shape) for shape in self.signature.shapes)
        return shapes == call.shapes and all(holds(g.cond, env) for g in self.traced.guards())


class _Family:
    """Versions for the same pytree, static arguments, dtypes, ranks and JAX configuration, and the sizes that led to them."""

    def __init__(self):
        self.history: list[tuple[tuple[int, ...], ...]] = []
        self.compilations: list[_Compilation] = []


class JitFunction(binding.Function):
    """A function compiled by `sod2.jit`. Calls go through C++; the methods here are for everything else."""

    def __init__(self, fun: Callable, arguments: Arguments, contract: Contract, options: Options, max_compiles, jit_options):
        super().__init__(
            self._miss,
            self._inline,
            stages.canonicalize,
            static_argnums=arguments.static_argnums,
            static_argnames=arguments.static_argnames,
        )
        functools.update_wrapper(self, fun)
        self._fun = fun
        self._arguments = arguments
        self.contract = contract
        self._options = options
        self._max_compiles = max_compiles
        self._jit_options = jit_options
        self._as_jax_jit = _jax_jit(fun, arguments, options, jit_options)
        self._lock = threading.RLock()
        self._forget()

    def _forget(self):
        self._families: dict[Any, _Family] = {}
        self._compilations: list[_Compilation] = []
        self._warned: set[tuple[str, Place]] = set()

    def __repr__(self):
        return f"<sod2.jit of {self._fun!r}>"

    # -- copies, as of functions of jax.jit: each compiles for itself

    def __copy__(self):
        return self._copy(self._fun, dict)

    def __deepcopy__(self, memo):
        return self._copy(copy.deepcopy(self._fun, memo), functools.partial(copy.deepcopy, memo=memo))

    def _copy(self, fun: Callable, copied: Callable):
        arguments = self._arguments.of(fun)
        made = type(self)(fun, arguments, self.contract, self._options, self._max_compiles, self._jit_options)
        vars(made).update(copied({name: value for name, value in vars(self).items() if name not in vars(made)}))
        return made

    def __reduce__(self):
        raise TypeError(f"{self!r} cannot be pickled, like functions of jax.jit: pickle the function and compile it there")

    # -- stages

    @compat.api_boundary
    def trace(self, *args, **kwargs) -> stages.Traced:
        """Traces for these arguments: arrays, or `jax.ShapeDtypeStruct`s whose dims may be symbolic. Nothing is compiled."""
        switches.check(fun_name(self._fun), runs=False)
        call = self._arguments.read(args, kwargs)
        return stages.Traced(self._trace(args, kwargs, call, self._signature(call)), self._options)

    @compat.api_boundary
    def lower(self, *args, **kwargs) -> stages.Lowered:
        """`trace(*args).lower()`."""
        return self.trace(*args, **kwargs).lower()

    @compat.api_boundary
    def eval_shape(self, *args, **kwargs):
        """Shapes and dtypes of the results, without computing them. See `jax.eval_shape`."""
        return self.trace(*args, **kwargs).out_info

    @compat.api_boundary
    def explain(self, *args, **kwargs) -> stages.Report:
        """What the compiler makes of the function for arguments like these: sizes, guards, operator classes, kernels, memory.

        A `Report`: prints as text, and `.html()` is an offline page. No machine code is made.
        """
        return self.lower(*args, **kwargs).explain()

    # -- the cache

    def cache_info(self) -> CacheInfo:
        """Compilations so far, hits, and for every version its guards, why it was compiled and what of it XLA computes."""
        versions = tuple(
            VersionInfo(
                arguments=describe(c.traced.inputs),
                guards=tuple(str(g.cond) for g in c.traced.guards()),
                hits=max(c.version.hits - 1, 0),  # the call that compiled it is no hit
                why=c.why,
                seconds=c.seconds,
                islands=c.islands,
                fixed=tuple(map(str, c.traced.fixed)),
            )
            for c in self._compilations
        )
        return CacheInfo(len(versions), sum(v.hits for v in versions), versions)

    @compat.api_boundary
    def clear_cache(self) -> None:
        """Forgets all versions and what the automatic mode has learnt."""
        with self._lock:
            self.clear()
            self._forget()

    # -- callbacks of the C++ call path

    @compat.api_boundary
    def _inline(self, args, kwargs):
        """The call as part of a JAX computation around it (or op by op, under `jax.disable_jit`)."""
        if self.contract.given:
            call = self._arguments.read(args, kwargs)
            if all(isinstance(d, int) for shape in call.shapes for d in shape):
                contract_signature(fun_name(self._fun), self.contract, call)
        return self._as_jax_jit(*args, **kwargs)

    @compat.api_boundary
    def _miss(self, args, kwargs, reasons: Sequence[str], key):
        """No version fits: compile one, or raise. The call runs what is returned, even if the cache is cleared meanwhile.

        A 1-tuple is the result of the call itself.
        """
        if jax.config.jax_no_tracing:
            raise RuntimeError(f"re-tracing function {self._fun} for `sod2.jit`, but 'no_tracing' is set")
        call = self._arguments.read(args, kwargs)
        if key is None:
            return None  # the runtime could not read a leaf, and JAX has no word for why
        switches.check(fun_name(self._fun))
        if switches.by_jax():
            return (self._as_jax_jit(*args, **kwargs),)
        with self._lock:
            family = self._families.setdefault(_family_key(call), _Family())
            signature = self._signature(call, family)
            for done in family.compilations:
                if done.fits(call):
                    return done.version  # another thread was faster
            why = self._why(call, family, signature, reasons)
            self._check_limit(call, why)
            return self._compile(args, kwargs, call, family, signature, why, key)

    def _signature(self, call: Call, family: _Family | None = None) -> Signature:
        name = fun_name(self._fun)
        if self.contract.given:
            return contract_signature(name, self.contract, call)
        if family is None:
            return static_signature(name, call, self.contract)
        return automatic_signature(call, [*family.history, call.shapes])

    def _trace(self, args, kwargs, call: Call, signature: Signature) -> Traced:
        traced = trace(self._arguments, args, kwargs, call, signature, self._options.precision)
        for fixed in traced.fixed:
            self._warn(fixed)
        return traced

    def _warn(self, fixed: Fixed) -> None:
        """Says once per line that a size became a number."""
        if (key := (str(fixed.size), fixed.place)) not in self._warned:
            self._warned.add(key)
            text = f"{fun_name(self._fun)} compiles once per value of {fixed.size}: {fixed}"
            warnings.warn_explicit(text, StaticSizeWarning, fixed.place.file, max(fixed.place.line, 1))

    def _compile(self, args, kwargs, call: Call, family: _Family, signature: Signature, why: str, key):
        name = fun_name(self._fun)
        loud = jax.config.jax_log_compiles or jax.config.jax_explain_cache_misses
        log = functools.partial(logger.log, logging.WARNING if loud else logging.DEBUG)
        leaves = tuple(Leaf(x.path, x.dtype, s) for x, s in zip(call.leaves, signature.shapes, strict=True))
        log("Compiling %s for %s because %s", name, describe(leaves), why)
        start = time.perf_counter()
        traced = self._trace(args, kwargs, call, signature)
        middle = time.perf_counter()
        executable = pipeline.compile(traced, self._options)
        done = _Compilation(signature, traced, why, islands=tuple(text.island_texts(executable.program)))
        done.version = stages.make_version(traced, executable, key, tag=done, keep_unused=self._jit_options["keep_unused"])
        done.seconds = time.perf_counter() - start
        log("Finished compiling %s in %.3f s (of which tracing %.3f s)", name, done.seconds, middle - start)
        self.add(done.version)
        family.history.append(call.shapes)
        family.compilations.append(done)
        self._compilations.append(done)
        return done.version

    # -- reasons

    def _why(self, call: Call, family: _Family, signature: Signature, reasons: Sequence[str]) -> str:
        if not self._compilations:
            return "it is the first call"
        if not family.compilations:
            return "; ".join(dict.fromkeys(reasons)) or "the arguments are of other types than before"
        if not self.contract.given:
            last = family.compilations[-1].signature
            if news := _new_symbols(call, family, signature, last):
                return "; ".join(news)
        reasons = _fixed_before(family, signature) or reasons
        return "; ".join(dict.fromkeys(reasons)) or "the sizes differ from those compiled for"

    def _check_limit(self, call: Call, why: str) -> None:
        if self._max_compiles is None or len(self._compilations) < self._max_compiles:
            return
        past = "\n".join(f"  {i}. {describe(c.traced.inputs)}, because {c.why}" for i, c in enumerate(self._compilations, 1))
        remedies = dict.fromkeys(f.remedy for c in self._compilations for f in c.traced.fixed if f.remedy)
        advice = [*remedies] if self.contract.given else ["give sizes that vary a name with shapes=", *remedies]
        advice = ", or ".join([*advice, "mark less as static", "raise max_compiles"])
        raise CompileLimitError(
            f"{fun_name(self._fun)} would compile once more, and max_compiles={self._max_compiles} is used up. Compiled so far:\n"
            f"{past}\nThis call, {describe(call.leaves)}, needs another because {why}. {advice[0].upper()}{advice[1:]}."
        )


def _jax_jit(fun: Callable, arguments: Arguments, options: Options, jit_options) -> Callable:
    """`jax.jit` of the same function: what JAX's transformations see of it."""
    inner = fun
    if options.precision is not None:

        @functools.wraps(fun)
        def inner(*args, **kwargs):
            with jax.default_matmul_precision(options.precision):
                return fun(*args, **kwargs)

    return jax.jit(
        inner,
        static_argnums=arguments.static_argnums,
        static_argnames=arguments.static_argnames,
        donate_argnums=arguments.donate_argnums,
        donate_argnames=arguments.donate_argnames,
        **jit_options,
    )


def _family_key(call: Call) -> tuple:
    statics = tuple((where, type(value), value) for where, value in call.statics)
    leaves = tuple((x.dtype, len(x.shape), x.weak_type) for x in call.leaves)
    return call.in_tree, statics, leaves, compat.trace_context()


def _new_symbols(call: Call, family: _Family, signature: Signature, last: Signature) -> list[str]:
    """In words, which dims are symbols now that were static, or are told apart now that were one symbol."""
    news = []
    for leaf, shape, old, sizes in zip(call.leaves, signature.shapes, last.shapes, family.history[-1], strict=True):
        for axis, (e, was) in enumerate(zip(shape, old, strict=True)):
            if e.free and not was.free:
                news.append(
                    f"axis {axis} of {leaf.path} was {sizes[axis]} and is now {leaf.shape[axis]}: it becomes the symbol {e}"
                )
            elif e.free and e != was:
                news.append(f"axis {axis} of {leaf.path} is no longer always equal to {was}: it becomes the symbol {e}")
    return news


def _fixed_before(family: _Family, signature: Signature) -> list[str]:
    """In words, which sizes of a call differ from those that became numbers in the versions so far, and why they did."""
    found: dict[tuple, str] = {}
    for c in family.compilations:
        for f in c.traced.fixed:
            if c.signature.shapes == signature.shapes and f.broken_by(signature.hints):
                axes = [
                    f"axis {d.axis} of {c.traced.inputs[d.input].path} makes {d.name} = {signature.hints[d.name]}"
                    for d in signature.symbols
                    if d.name in f.size.free
                ]
                found[f.size, f.place] = f"{' and '.join(axes)}; {f}"
    return list(found.values())


def describe(leaves: Sequence[Leaf], limit: int = 6) -> str:
    """The argument types for people. Of many, those with symbols: "tokens int32[b,s] and 199 more"."""
    shown = leaves
    if len(leaves) > limit:
        symbolic = [x for x in leaves if any(getattr(d, "free", ()) for d in x.shape)]
        shown = (symbolic or leaves)[:limit]
    more = len(leaves) - len(shown)
    return (", ".join(f"{x.path} {x}" for x in shown) or "no arguments") + (f" and {more} more" if more else "")


_MISSING: Any = object()


def jit(
    fun: Callable = _MISSING,
    /,
    *,
    shapes=None,
    constraints: str | Sequence[str] = (),
    abstracted_axes=None,
    backend: str = "auto",
    buckets=None,
    max_compiles: int | None = None,
    precision=None,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Sequence[str] | None = None,
    keep_unused: bool = False,
    inline: bool = False,
    in_shardings=None,
    out_shardings=None,
    compiler_options: dict[str, Any] | None = None,
):
    """Compiles `fun` once for all sizes. Like `jax.jit`, which compiles once per size.

    What each option of `jax.config` does to such a function says `sod2jax.switches`.

    Usable as `@sod2.jit`, as `@sod2.jit(shapes=...)` and as a call. The compiled function takes and returns pytrees of arrays, as
    under `jax.jit`; called with tracers (inside of `jax.jit`, `grad`, `vmap`, `scan`, ...) it is part of what surrounds it.

    Args:
      fun: a pure function of arrays, scalars and pytrees of them.
      shapes: which dims vary: one entry per positional argument, each a pytree prefix of None (all dims static) and strings:
        "b, s, 64" (names are symbols, numbers are demands), "b, ..." (any further static dims), "2*k, _" (an even size, any
        static size), "f32[b, s]" (the dtype, too). A dict maps parameter names to entries; one string stands for all
        arguments. Without `shapes`, dims become symbols when they change between calls.
      constraints: what holds for the symbols: "s <= 512", "h % 32 == 0", "a == 2*b". Broken ones raise `errors.ShapeError`; the
        compiler may rely on them.
      abstracted_axes: `{0: "n"}` or a pytree prefix of such, the spelling of earlier JAX versions; the same as `shapes`.
      backend: "auto" or "cpu".
      buckets: not supported yet.
      max_compiles: raise `errors.CompileLimitError` instead of compiling more versions than this.
      precision: of matrix products and convolutions, as `jax.default_matmul_precision` takes it.
      static_argnums, static_argnames, donate_argnums, donate_argnames, keep_unused, inline: as in `jax.jit`.
      in_shardings, out_shardings: not supported yet.
      compiler_options: `{"cpu": name}` compiles for another CPU than this machine's; `{"islands": False}` refuses operations that
        only XLA computes; `{"disable": [...]}` leaves out "fusion", "order", "memory" (their planning) or "variants" (versions of
        kernels and loops, between which sizes choose), to see what each is worth or which is at fault.

    Raises:
      errors.ShapeError (a TypeError) when called with a rank, dtype or size that breaks `shapes` or `constraints`.
      errors.UnsupportedError for what neither sod2jax nor XLA computes on a CPU; nothing is computed then.
    """
    if fun is _MISSING:  # used as a factory: all options are bound, the function comes later
        return functools.partial(jit, **{name: value for name, value in locals().items() if name != "fun"})
    compat.check_callable(fun)
    if max_compiles is not None and (not isinstance(max_compiles, int) or isinstance(max_compiles, bool) or max_compiles < 1):
        raise SpecError(f"sod2.jit got max_compiles={max_compiles!r}; it must be a positive int or None")
    arguments = Arguments(
        fun,
        static_argnums=static_argnums,
        static_argnames=static_argnames,
        donate_argnums=donate_argnums,
        donate_argnames=donate_argnames,
    )
    options = make_options(
        backend=backend,
        buckets=buckets,
        precision=precision,
        in_shardings=in_shardings,
        out_shardings=out_shardings,
        compiler_options=compiler_options,
    )
    contract = Contract(shapes, constraints, abstracted_axes, arguments.signature)
    return JitFunction(fun, arguments, contract, options, max_compiles, {"keep_unused": keep_unused, "inline": inline})
