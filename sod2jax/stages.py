"""The stages of a compilation, as in `jax.stages`: `f.trace(*a) -> Traced .lower() -> Lowered .compile() -> Compiled`.

* A stage is read-only and keeps the one before it. `Lowered` compiles lazily: `as_text` of a late stage and `compile()` share one
  run of the pipeline.
* Sizes may be symbolic: a `Compiled` serves every size that its guards allow, and its analyses take the sizes as keywords
  (default: those of the call that it was traced for).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax

from sod2jax import binding, compat, pipeline
from sod2jax.analyse.explain import Report, explain
from sod2jax.errors import ShapeError, SpecError, not_yet
from sod2jax.ir.expr import Expr, as_expr, to_sympy
from sod2jax.ir.program import Branch, HostCall, Loop, Step, blocks
from sod2jax.options import Options
from sod2jax.specs import Leaf, holds
from sod2jax.trace import Traced as Trace

KINDS = ("jaxpr", "facts", "plan", "loops", "llvm", "asm")
_LATER_KINDS = ("opencl", "stablehlo")


class Stage:
    """What all stages know: the arguments and results of the traced function."""

    _trace: Trace
    _options: Options

    @property
    def fun_name(self) -> str:
        return self._trace.name

    @property
    def in_tree(self):
        """Tree structure of the pair (positional arguments, keyword arguments), static ones left out."""
        return self._trace.in_tree

    @property
    def out_tree(self):
        return self._trace.out_tree

    @property
    def in_avals(self):
        """Tree of input avals; symbolic dims stand in their shapes."""
        return jax.tree.unflatten(self.in_tree, list(self._trace.closed_jaxpr.in_avals))

    @property
    def out_avals(self):
        return jax.tree.unflatten(self.out_tree, list(self._trace.out_avals))

    @property
    def args_info(self):
        """Tree of `jax.stages.ArgInfo`: shape, dtype and whether the argument is donated."""
        infos = [
            jax.stages.ArgInfo(a, x.donated) for a, x in zip(self._trace.closed_jaxpr.in_avals, self._trace.inputs, strict=True)
        ]
        return jax.tree.unflatten(self.in_tree, infos)

    @property
    def donate_argnums(self) -> tuple[int, ...]:
        """Flat tuple of donated argument indices."""
        return tuple(i for i, x in enumerate(self._trace.inputs) if x.donated)

    @property
    def out_info(self):
        """Tree of `jax.ShapeDtypeStruct`s of the results."""
        structs = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in self._trace.out_avals]
        return jax.tree.unflatten(self.out_tree, structs)

    @property
    def dims(self) -> tuple[str, ...]:
        """The symbols in the shapes."""
        return tuple(d.name for d in self._trace.symbols)

    @property
    def guards(self) -> tuple[str, ...]:
        """What must hold for the sizes of a call, as text."""
        return tuple(str(g.cond) for g in self._trace.guards())


class Traced(Stage):
    """A function traced to a jaxpr, its sizes symbolic where the specs say so. Like `jax.stages.Traced`."""

    def __init__(self, trace: Trace, options: Options):
        self._trace, self._options = trace, options

    @property
    def jaxpr(self):
        return self._trace.closed_jaxpr

    def lower(self) -> Lowered:
        """Ready to be compiled; nothing is compiled yet."""
        return Lowered(self._trace, self._options)


class Lowered(Stage):
    """A function on its way to machine code; `as_text` shows each station. Like `jax.stages.Lowered`."""

    def __init__(self, trace: Trace, options: Options):
        self._trace, self._options = trace, options

    @functools.cached_property
    def _executable(self):
        return pipeline.compile(self._trace, self._options)

    def as_text(self, kind: str = "plan") -> str:
        """The program as text after a stage: "jaxpr", "facts", "plan", "loops", "llvm" or "asm".

        Raises UnsupportedError for "opencl" and "stablehlo", which are not there yet, ValueError for other names.
        """
        if kind in _LATER_KINDS:
            raise not_yet(f"as_text({kind!r})", remedy=f"The kinds that exist are {', '.join(map(repr, KINDS))}.")
        if kind not in KINDS:
            raise SpecError(f"unknown kind of text: {kind!r}; the kinds are {', '.join(map(repr, KINDS))}")
        return str(self._trace.closed_jaxpr) if kind == "jaxpr" else self._executable.texts(kind)

    def explain(self) -> Report:
        """What the compiler found out and what it will do; formulas of sizes evaluated at the sizes that were traced for."""
        executable = self._executable
        return explain(executable.facts, executable.program, name=self.fun_name, sizes=self._trace.hints or None)

    def compile(self) -> Compiled:
        """Machine code for every size that the guards allow."""
        return Compiled(self._trace, self._options, self._executable)

    def cost_analysis(self, **sizes: int) -> dict[str, float]:
        """As `Compiled.cost_analysis`."""
        return cost_analysis(self._trace, self._executable, sizes)


@dataclass(frozen=True)
class MemoryStats:
    """Bytes that one call needs, in the words of XLA's `CompiledMemoryStats`."""

    argument_size_in_bytes: int
    output_size_in_bytes: int
    alias_size_in_bytes: int  # outputs that are arguments handed back, or lie over donated ones where they can
    temp_size_in_bytes: int  # the arena: peak of everything that lives only during the call
    cached_size_in_bytes: int  # packed weights and the like, kept between calls
    generated_code_size_in_bytes: int


class Compiled(Stage):
    """Machine code of a function, for every size that its guards allow. Like `jax.stages.Compiled`; cannot be transformed."""

    def __init__(self, trace: Trace, options: Options, executable):
        self._trace, self._options, self._executable = trace, options, executable
        self._function = binding.Function(self._refuse, _refuse_tracers, canonicalize)
        leaves = [x.stored for x in trace.inputs]
        tree = binding.tree_of_words(trace.in_tree, [x.dtype for x in trace.inputs])
        # Weak types do not matter to compiled code, and its configuration was settled when it was traced.
        key = binding.Key(tree, (), [x.dtype for x in leaves], [len(x.shape) for x in leaves], None, None)
        self._function.add(make_version(trace, executable, key))

    def __call__(self, *args, **kwargs):
        return self._function(*args, **kwargs)

    def as_text(self, kind: str = "asm") -> str:
        """The compiled code; see `Lowered.as_text`."""
        return self._executable.texts(kind)

    @property
    def program(self):
        """The plan that the runtime executes (`sod2jax.ir.program.Program`)."""
        return self._executable.program

    def memory_analysis(self, **sizes: int) -> MemoryStats:
        """Bytes at the given sizes (`memory_analysis(b=8, s=128)`); sizes left out are those of the traced call."""
        program, env = self.program, sizes_of(self._trace, sizes)
        outputs = [_nbytes(o.shape, o.dtype).eval(env) for o in program.outputs]
        pairs = zip(outputs, program.outputs, strict=True)
        return MemoryStats(
            argument_size_in_bytes=sum(_nbytes(x.shape, x.dtype).eval(env) for x in self._trace.inputs if x.used),
            output_size_in_bytes=sum(outputs),
            alias_size_in_bytes=sum(n for n, o in pairs if o.forward is not None or o.donor is not None),
            temp_size_in_bytes=_arena(program).eval(env),
            cached_size_in_bytes=sum(s.nbytes.eval(env) for s in program.slots if s.kind == "cached"),
            generated_code_size_in_bytes=getattr(self._executable, "code_bytes", 0) or 0,
        )

    def cost_analysis(self, **sizes: int) -> dict[str, float]:
        """Estimated work at the given sizes: `flops` and `bytes accessed`, the keys that XLA uses."""
        return cost_analysis(self._trace, self._executable, sizes)

    def memory_formula(self):
        """Peak bytes of temporary memory (the arena) as a sympy expression in the dims."""
        return to_sympy(_arena(self.program))

    def max_dim(self, name: str, *, bytes: int, **sizes: int) -> int:
        """The largest size of dim `name` whose temporary memory fits into `bytes`, the other dims being given.

        ValueError if none fits, or if nothing bounds it. Values that break a guard or a constraint are passed over.
        """
        others = sizes_of(self._trace, sizes, besides=name)
        if name not in self.dims:
            raise SpecError(f"{self.fun_name} has no dim {name!r}; its dims are {', '.join(self.dims) or '(none)'}")
        lo, hi = self._trace.bounds[name]
        arena = _arena(self.program)
        fits = lambda n: arena.eval({**others, name: n}) <= bytes
        n = _largest(fits, lo, hi)
        if n is None and hi is None and fits(lo):
            raise SpecError(f"any {name} fits: the temporary memory of {self.fun_name} does not grow with it ({arena} bytes)")
        guards = [g.cond for g in self._trace.guards()]
        allowed = lambda n: all(holds(c, {**others, name: n}) for c in guards)
        for candidate in range(n if n is not None else -1, max(lo - 1, -1, (n or 0) - 65536), -1):
            if allowed(candidate) and fits(candidate):
                return candidate
        raise SpecError(f"no {name} >= {lo} fits into {bytes} bytes: the temporary memory of {self.fun_name} is {arena} bytes")

    def _refuse(self, args, kwargs, reasons, key):
        """Raises what `jax.stages.Compiled` raises for a call that it was not compiled for."""
        leaves, in_tree = compat.tracing_registry.flatten((args, kwargs))
        if in_tree != self.in_tree:
            raise TypeError(compat.tree_mismatch_message(in_tree, self.in_tree))
        given = []
        for x, info in zip(leaves, self._trace.inputs, strict=True):
            aval = compat.abstractify(x)
            given.append(Leaf(info.path, aval.dtype, tuple(aval.shape)))
        error, message = mismatch(self._trace, given)
        raise error(message or f"{self.fun_name}: " + "; ".join(reasons))


def _refuse_tracers(args, kwargs):
    tracer = next(x for x in jax.tree.leaves((args, kwargs)) if isinstance(x, compat.Tracer))
    raise TypeError(
        "Cannot apply JAX transformations to a function lowered and compiled for a particular signature. Detected argument of "
        f"Tracer type {type(tracer)}."
    )


def mismatch(trace: Trace, given: Sequence[Leaf]) -> tuple[type[Exception], str]:
    """How a call's leaves differ from those that `trace` was made for ("" if they do not), and the error for it."""
    lines, env = [], {}
    for d in trace.symbols:
        shape = given[d.input].shape
        if d.axis < len(shape):
            env[d.name], left = divmod(shape[d.axis] - d.offset, d.scale)
            if left or env[d.name] < 0:
                env.pop(d.name)
    for was, now in zip(trace.inputs, given, strict=True):
        wanted = [e.eval(env) if e.free <= env.keys() else None for e in was.shape]
        if was.dtype != now.dtype or wanted != list(now.shape):
            lines.append(f"Argument '{was.path}' compiled with {was} and called with {now}")
    if lines:
        head = "Argument types differ from the types for which this computation was compiled. The mismatches are:\n"
        return ShapeError, head + "\n".join(lines)
    broken = [g for g in trace.guards() if (g.cond.lhs.free | g.cond.rhs.free) <= env.keys() and not holds(g.cond, env)]
    sizes = ", ".join(f"{n} = {v}" for n, v in env.items())
    text = "\n".join(
        f"{trace.name} was compiled for sizes with {g.cond}, and called with {sizes}: {g.broken(env)}" for g in broken
    )
    return next((g.error for g in broken if g.error is not None), ShapeError), text


# -- a compiled trace at work


def canonicalize(leaf) -> jax.Array:
    """A leaf that is no plain array of the CPU (NumPy, a scalar, another device's) as one; TypeError for what cannot be one."""
    if jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.extended):
        raise TypeError(f"Argument '{leaf}' of type {type(leaf)} has no plain dtype.")
    return binding.as_array(leaf)


def make_version(trace: Trace, executable, key, tag: object = None, keep_unused: bool = False):
    """The runtime's view of a compiled trace. `keep_unused`: as for `jax.jit`, arguments that nothing reads are donated, too."""
    return binding.Version(
        executable.runtime,
        key,
        kept=list(trace.kept),
        out_tree=binding.tree_of_results(trace.out_tree, [a.dtype for a in trace.out_avals]),
        out_weak_types=[bool(getattr(a, "weak_type", False)) for a in trace.out_avals],
        donated=[i for i, x in enumerate(trace.inputs) if x.donated],
        paths=[x.path for x in trace.inputs],
        tag=tag,
        read=[i for i in trace.kept if trace.inputs[i].used or keep_unused],
    )


# -- sizes and bytes


def sizes_of(trace: Trace, sizes: Mapping[str, int], besides: str = "") -> dict[str, int]:
    """A value for every dim: as given, else as in the traced call. ValueError for unknown or missing ones."""
    names = [d.name for d in trace.symbols]
    if unknown := [n for n in sizes if n not in names]:
        raise SpecError(f"{trace.name} has no dim {unknown[0]!r}; its dims are {', '.join(names) or '(none)'}")
    env = {**trace.hints, **sizes}
    if missing := [n for n in names if n not in env and n != besides]:
        raise SpecError(
            f"give a size for {', '.join(missing)}, for example {missing[0]}=128: {trace.name} was traced without sizes"
        )
    return {n: int(env[n]) for n in names if n in env}


def cost_analysis(trace: Trace, executable, sizes: Mapping[str, int]) -> dict[str, float]:
    flops, accessed = _cost(executable.program, executable.program.steps, sizes_of(trace, sizes))
    return {"flops": float(flops), "bytes accessed": float(accessed)}


def _cost(program, steps, env: Mapping[str, int]) -> tuple[int, int]:
    """(flops, bytes) of steps; of a branch, the most; of a loop whose length no size tells, one iteration; not what prepares."""
    nbytes = lambda slots: sum(program.slots[n].nbytes.eval(env) for n in slots)
    costs = [(0, 0)]
    for step in steps:
        inner = [_cost(program, block, env) for block in blocks(step)]
        match step:
            case Step() if not step.prepare:
                costs.append((step.work.eval(env), nbytes(step.slots)))
            case HostCall():
                costs.append((0, nbytes((*step.reads, *step.writes))))
            case Branch():
                costs.append(tuple(map(max, zip(*inner, strict=True))))
            case Loop():
                times = 1 if step.length is None else max(step.length.eval(env), 0)
                costs.append(tuple(times * sum(both) for both in zip(*inner, strict=True)))
    return tuple(map(sum, zip(*costs, strict=True)))


def _arena(program) -> Expr:
    return as_expr(0) if program.arena is None else program.arena


def _nbytes(shape, dtype) -> Expr:
    n = as_expr(dtype.itemsize)
    for d in shape:
        n = n * d
    return n


def _largest(fits, lo: int, hi: int | None, limit: int = 1 << 40) -> int | None:
    """The largest n in [lo, hi] that fits, taking that memory grows with n; None if none does or, without `hi`, all do."""
    if not fits(lo):
        return None
    top = limit if hi is None else hi
    step = 1
    while lo + step <= top and fits(lo + step):
        step *= 2
    good, bad = lo + step // 2, min(lo + step, top + 1)
    if bad > top and fits(top):
        return None if hi is None else top
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good
