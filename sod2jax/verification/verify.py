"""`sod2.verify`: a function of `sod2.jit` against `jax.jit` of the same function, size after size.

* The signature says which dims vary; `sizes` picks values for them; `values` makes arguments like the examples.
* Arguments whose shape does not vary are used as they are: weights keep their values.
* Sizes at which JAX raises are skipped. Everything else must agree (`compare`): an error where JAX has none is a failure.
* Failures of the same output are one failure. It is made small dim by dim, by bisection between a size that fails and one that
  does not, until no dim can be lowered.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import Progress

from sod2jax import compat
from sod2jax.api import JitFunction
from sod2jax.arguments import Call
from sod2jax.errors import SpecError, UnsupportedError
from sod2jax.ir.dims import shape_exprs
from sod2jax.lowering import targets
from sod2jax.specs import Contract
from sod2jax.trace import Signature, Traced, contract_signature, fun_name
from sod2jax.verification.compare import Difference, difference, tolerance
from sod2jax.verification.report import Failure, Skip, Source, VerifyReport, literal, script, sizes_text
from sod2jax.verification.sizes import Sizes, Space, candidates, combine, nbytes, tile_edges
from sod2jax.verification.values import call_text, draw, like

MOST_STEPS = 60  # comparisons to make one failure small
MOST_FAILURES = 3  # that are made small
PATIENCE = 2.0  # seconds before a bar shows


@compat.api_boundary
def verify(
    f: JitFunction,
    *args,
    kwargs: Mapping[str, Any] | None = None,
    sizes: Mapping[str, Iterable[int]] | Sequence[Mapping[str, int]] | None = None,
    shapes=None,
    constraints: str | Sequence[str] = (),
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    special: bool = False,
    most: int = 40,
    memory: int = 256 << 20,
) -> VerifyReport:
    """Compares a function of `sod2.jit` with plain JAX over edge sizes: 0, 1, 2, primes, tiles and bounds and their neighbours.

    Args:
      f: what `sod2.jit` returned. It is called as it is, and compiles as it would for these calls.
      *args: example arguments: pytrees of arrays, scalars, or `jax.ShapeDtypeStruct`s, whose dims may be symbolic. At other sizes
        the arguments are random, with the dtypes, ranges and scales of the examples: integers from the smallest to the largest
        of the example (token ids), normal floats. Arguments of constant shape keep their values; static arguments stay.
      kwargs: example keyword arguments of `f`.
      sizes: {"s": [0, 1, 512]}: candidates for some dims instead of those chosen; [{"b": 2, "s": 7}, ...]: just these.
      shapes, constraints: which dims vary, as in `sod2.jit`, for a function that has no `shapes=` of its own.
      seed: of sizes and values.
      rtol, atol: tolerances for floats. By default `rtol` depends on the coarsest float dtype of the computation (1e-4 for f32,
        1e-9 for f64, 2e-2 for bf16 and f16), and `atol` is `rtol` times the largest expected number of an output. Integers and
        booleans must be equal; shapes, dtypes and weak types too.
      special: sprinkle NaN, infinities and zeros of both signs into float arguments.
      most: combinations of sizes to try.
      memory: bytes that arguments, results and the largest intermediate values may take, roughly; larger sizes are not tried.

    Returns:
      A `VerifyReport`: `.ok`, `.failures`, `.checked`, `.skipped`, `.compiles`, `.raise_if_failed()`; prints as text.

    Raises:
      errors.SpecError (a ValueError) if no dim varies, or `sizes` names an unknown dim or breaks a constraint.
      errors.ShapeError (a TypeError) if the examples break the contract of `f`.
      errors.UnsupportedError if the function has an operation that sod2jax has no rule for.
    """
    if not isinstance(f, JitFunction):
        raise SpecError(f"sod2.verify checks functions of sod2.jit, got {f!r}; decorate it: sod2.jit(f, shapes=...)")
    kwargs = dict(kwargs or {})
    call, signature = _read(f, args, kwargs, shapes, constraints)
    traced = f._trace(args, kwargs, call, signature)
    work = _avals(traced.closed_jaxpr.jaxpr)
    dtypes = {dtype for _, dtype in work}
    space = Space.of(signature, lambda env: _bytes(traced, work, env) <= memory)
    chosen = _choose(f, space, signature, traced, dtypes, sizes, most, seed)
    rtol = tolerance(dtypes) if rtol is None else rtol
    trial = Trial(f, args, kwargs, call, signature, seed, special, rtol, atol)
    compiles = f.cache_info().compiles
    try:
        checked, skipped, failing = [], [], {}
        for env in _shown(chosen, f"verify {fun_name(f)}"):
            outcome = trial.run(env)
            (skipped if isinstance(outcome, Skip) else checked).append(outcome if isinstance(outcome, Skip) else env)
            if isinstance(outcome, Difference):
                failing.setdefault(_kind(outcome), []).append((env, outcome))
        failures = tuple(_failure(trial, space, met, number < MOST_FAILURES) for number, met in enumerate(failing.values()))
    finally:
        trial.reference.clear_cache()
    compiles = f.cache_info().compiles - compiles
    return VerifyReport(fun_name(f), tuple(checked), tuple(skipped), failures, compiles)


def _read(f: JitFunction, args: tuple, kwargs: dict, shapes, constraints) -> tuple[Call, Signature]:
    call = f._arguments.read(args, kwargs)
    if shapes is None:
        signature = f._signature(call)
        if not signature.symbols and not f.contract.given:
            raise SpecError(
                f"sod2.verify needs to know which dims of {fun_name(f)} vary, and it has no shapes=. Say it with shapes= "
                'of sod2.jit or of sod2.verify (such as shapes="b, s, 64"), or with jax.ShapeDtypeStructs of symbolic dims.'
            )
        return call, signature
    if f.contract.given:
        raise SpecError(f"{fun_name(f)} has shapes= of its own; sod2.verify takes shapes= for functions that have none")
    contract = Contract(shapes, constraints, None, f._arguments.signature)
    return call, contract_signature(fun_name(f), contract, call)


def _choose(f, space: Space, signature: Signature, traced: Traced, dtypes, sizes, most: int, seed: int) -> list[Sizes]:
    if sizes is not None and not isinstance(sizes, Mapping):
        return [_checked(f, space, env) for env in sizes]
    if unknown := sorted(set(sizes or {}) - set(space.names)):
        raise SpecError(f"sizes= names {unknown[0]!r}; the dims of {fun_name(f)} are {', '.join(space.names) or '(none)'}")
    if not space.names:
        return [{}]
    guards = [g.cond for g in traced.guards()]
    edges = tile_edges(targets.host(), dtypes)
    given = {n: [h] for n, h in signature.hints.items()}
    tried = {n: [*(sizes or {}).get(n, candidates(n, edges, space.conds, guards, given.get(n, ())))] for n in space.names}
    chosen = combine(space, tried, {} if sizes else signature.hints, most, seed)
    if not chosen:
        raise SpecError(f"sod2.verify found no sizes of {fun_name(f)} within its constraints and memory=; give some: sizes=")
    return chosen


def _checked(f, space: Space, env: Mapping[str, int]) -> Sizes:
    if set(env) != set(space.names):
        raise SpecError(f"sizes= has {dict(env)}; the dims of {fun_name(f)} are {', '.join(space.names) or '(none)'}")
    env = {n: int(env[n]) for n in space.names}
    if (cond := space.broken(env)) is not None:
        raise SpecError(f"sizes= has {sizes_text(env)}, which breaks {cond}")
    return env


# -- one trial


@dataclass
class Trial:
    """The function, its plain version, and what it takes to make arguments."""

    f: JitFunction
    args: tuple
    kwargs: dict
    call: Call
    signature: Signature
    seed: int
    special: bool
    rtol: float
    atol: float | None

    def __post_init__(self):
        arguments, precision = self.f._arguments, self.f._options.precision
        self.static = {"static_argnums": arguments.static_argnums, "static_argnames": arguments.static_argnames}
        self.reference = jax.jit(_plain(self.f.__wrapped__), **self.static)
        self.precision = jax.default_matmul_precision(precision) if precision else contextlib.nullcontext()
        self.examples = jax.tree.leaves((self.call.args, self.call.kwargs))

    def leaves(self, env: Sizes) -> Iterator[tuple[Any, tuple[int, ...], bool]]:
        """(example, shape, whether its values are kept) of each argument leaf."""
        for example, shape in zip(self.examples, self.signature.shapes, strict=True):
            concrete = not isinstance(example, jax.ShapeDtypeStruct)
            yield example, tuple(e.eval(env) for e in shape), concrete and not any(e.free for e in shape)

    def arguments(self, env: Sizes) -> tuple[tuple, dict]:
        """Fresh arguments: the function may delete donated ones."""
        made = []
        for i, ((example, shape, kept), leaf) in enumerate(zip(self.leaves(env), self.call.leaves, strict=True)):
            if kept:
                made.append(jnp.array(example, copy=True) if leaf.donated else example)
            else:
                made.append(jnp.asarray(draw(leaf.dtype, shape, (self.seed, i), **self.keywords(example, leaf.dtype))))
        return self.f._arguments.with_leaves(self.args, self.kwargs, self.call, made)

    def keywords(self, example, dtype) -> dict[str, Any]:
        special = {"special": True} if self.special and jnp.issubdtype(dtype, jnp.inexact) else {}
        return {**like(example), **special}

    def run(self, env: Sizes) -> Difference | Skip | None:
        """What differs at these sizes; a Skip where JAX raises; None if all is well."""
        args, kwargs = self.arguments(env)
        try:
            with self.precision:
                expected = jax.block_until_ready(self.reference(*args, **kwargs))
        except Exception as err:
            return Skip(env, _first_line(err))
        try:
            found = jax.block_until_ready(self.f(*args, **kwargs))
        except UnsupportedError:
            raise
        except Exception as err:
            return Difference("", f"raises {_first_line(err)}")
        return difference(found, expected, rtol=self.rtol, atol=self.atol)

    def script(self, env: Sizes) -> str:
        """A program that makes this call."""
        made = []
        for i, ((example, shape, kept), leaf) in enumerate(zip(self.leaves(env), self.call.leaves, strict=True)):
            text = call_text(leaf.dtype, shape, (self.seed, i), self.keywords(example, leaf.dtype))
            made.append((kept and literal(example)) or Source(text))
        args, kwargs = self.f._arguments.with_leaves(self.args, self.kwargs, self.call, made)
        about = f"{fun_name(self.f)} at {sizes_text(env)} differs from jax.jit: found by sod2.verify with seed={self.seed}."
        if any(kept and literal(example) is None for example, _, kept in self.leaves(env)):
            about += "\nArrays of constant shape are random here, in the scale of yours: put your own if nothing differs."
        return script(self.f, args, kwargs, self.static, about, self.rtol, self.atol)


def _plain(fun):
    """A new function around `fun`, so that its traces can be forgotten."""

    def plain(*args, **kwargs):
        return fun(*args, **kwargs)

    plain.__signature__ = compat.fun_signature(fun)
    return plain


def _first_line(err: Exception) -> str:
    return f"{type(err).__name__}: {next(iter(str(err).splitlines()), '')}"


def _kind(d: Difference) -> tuple[str, bool]:
    return d.path, d.message.startswith("raises ")


# -- failures


def _failure(trial: Trial, space: Space, met: Sequence[tuple[Sizes, Difference]], shrink: bool) -> Failure:
    env, found = min(met, key=lambda pair: sum(pair[0].values()))
    if shrink:
        env, found = smallest(trial, space, env, found)
    return Failure(env, found.path, found.message, tuple(sizes for sizes, _ in met), trial.script(env))


def smallest(trial: Trial, space: Space, env: Sizes, found: Difference) -> tuple[Sizes, Difference]:
    """Sizes near 0 that fail in the same way: each dim in turn is halved towards a size that does not fail."""
    steps = 0
    tried: dict[tuple, Difference | None] = {}

    def fails(wanted: Mapping[str, int], name: str) -> tuple[Sizes, Difference] | None:
        """The nearest allowed sizes, if they are smaller and fail too."""
        nonlocal steps
        near = space.nearest(wanted, [name])
        if near is None or not space.fits(near) or near[name] >= env[name] or sum(near.values()) >= sum(env.values()):
            return None
        key = tuple(near.values())
        if key not in tried:
            steps += 1
            outcome = trial.run(near)
            tried[key] = outcome if isinstance(outcome, Difference) and _kind(outcome) == _kind(found) else None
        return (near, tried[key]) if tried[key] is not None else None

    lowered = True
    while lowered and steps < MOST_STEPS:
        lowered = False
        for name in space.names:
            good = -1  # the largest size known not to fail
            while env[name] - good > 1 and steps < MOST_STEPS:
                middle = (good + env[name]) // 2 if good >= 0 else 0
                if (hit := fails({**env, name: middle}, name)) is None:
                    good = middle
                else:
                    (env, found), lowered = hit, True
    return env, found


# -- memory


def _avals(jaxpr) -> set[tuple[tuple, np.dtype]]:
    """Shape and dtype of every value, also in the jaxprs of its eqns."""
    found = set()
    for v in (*jaxpr.invars, *(v for eqn in jaxpr.eqns for v in eqn.outvars)):
        if hasattr(v.aval, "dtype") and not jax.dtypes.issubdtype(v.aval.dtype, jax.dtypes.extended):
            found.add((shape_exprs(v.aval), np.dtype(v.aval.dtype)))
    for inner in _inner(jaxpr):
        found |= _avals(inner)
    return found


def _inner(jaxpr) -> Iterator[Any]:
    for eqn in jaxpr.eqns:
        for param in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")):
            if hasattr(param, "eqns") or hasattr(param, "jaxpr"):
                yield getattr(param, "jaxpr", param)


def _bytes(traced: Traced, work: set, env: Sizes) -> int:
    """Arguments, results, and twice the largest value in between; sizes that the data decide do not count."""
    ends = [(x.shape, x.dtype) for x in traced.inputs] + [(shape_exprs(a), a.dtype) for a in traced.out_avals]
    known = lambda shape: frozenset().union(*(e.free for e in shape)) <= env.keys()
    largest = max((nbytes(shape, dtype, env) for shape, dtype in work if known(shape)), default=0)
    return sum(nbytes(shape, dtype, env) for shape, dtype in ends if known(shape)) + 2 * largest


# -- progress


def _shown(items: Sequence[Sizes], what: str) -> Iterator[Sizes]:
    """The items; after `PATIENCE` seconds with a bar on stderr, if that is a terminal."""
    console = Console(stderr=True)
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        bar = task = None
        for number, item in enumerate(items):
            if bar is None and console.is_terminal and time.perf_counter() - start > PATIENCE:
                bar = stack.enter_context(Progress(console=console, transient=True))
                task = bar.add_task(what, total=len(items))
            if bar is not None:
                bar.update(task, completed=number)
            yield item
