"""A program against JAX: compiled once with symbolic sizes, run at several.

* `jax.jit` says what is right, compiled in a hurry (without XLA's costly passes). Where it differs from us, JAX op by op
  decides (`jax.disable_jit`), since XLA itself is wrong on some nested loops: `Verdict.doubt` tells of such a program.
* A difference of floats counts if it is larger than what `jax.jit` itself makes of inputs that are off by a few roundings: sums
  of large terms may cancel, and then the last bits of the terms are what is left.
* An error of JAX's must be an error of ours. Donated arguments are deleted where JAX deletes them, others stay as they are. Left
  out are those without elements, and those that JAX drops at these sizes: a version for all sizes may have a use for them.
* The first sizes come once more at the end, and give the same bits if the same version computes them. With SOD2_CHECK=2 the
  same program without memory planning does, too.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from programs.program import Program
from programs.terms import NARROW

import sod2jax as sod2
from sod2jax import compat

SIZES = [(16, 3, 5), (5, 4, 16), (33, 2, 33), (2, 33, 1), (13, 64, 13), (64, 17, 7), (5, 130, 2), (8, 8, 8), (7, 12, 4)]
EDGES = [(0, 5, 2), (1, 1, 1), (7, 0, 7), (3, 3, 3), (1, 7, 3), (0, 0, 0), (2, 2, 1), (4, 1, 0), (1, 64, 0), (4, 4, 2)]
HURRY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclass(frozen=True)
class Verdict:
    """What is wrong with our results, or ""; and where `jax.jit` differs from JAX op by op, or ""."""

    wrong: str = ""
    doubt: str = ""


def sizes_of(below, symbolic: bool = True) -> list[dict[str, int]]:
    """An ordinary size, then one at the edge, then any; the edge comes first now and then. One alone stays static."""
    chosen = [SIZES[below(len(SIZES))], EDGES[below(len(EDGES))], (SIZES + EDGES)[below(len(SIZES) + len(EDGES))]]
    if below(4) == 3:
        chosen.reverse()
    if not symbolic and below(3):
        chosen = chosen[:1]
    return [dict(zip("abc", sizes, strict=True)) for sizes in dict.fromkeys(chosen)]


def judge(program: Program, sizes) -> Verdict:
    with program.context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # donated arrays that were not usable, sizes that became static
        return _Judge(program).verdict(sizes)


class _Judge:
    def __init__(self, program: Program):
        self.program = program
        self.fun = program.function()
        self.compiled = sod2.jit(self.fun, **program.jit_options())
        self.oracle = jax.jit(self.fun, compiler_options=HURRY, donate_argnums=program.donated)
        self.narrow = any(x.dtype in NARROW for x in program.inputs) or any(name in str(program) for name in NARROW)

    def verdict(self, sizes) -> Verdict:
        doubt, first = "", None
        checked = int(os.environ.get("SOD2_CHECK") or 0) >= 2
        options = self.program.jit_options() | {"compiler_options": {"disable": ["memory"]}}
        unplanned = sod2.jit(self.fun, **options) if checked else None
        for env in sizes:
            got, _ = self.run(self.compiled, env)
            verdict = self.compare(env, got)
            if verdict.wrong:
                return verdict
            doubt = doubt or verdict.doubt
            first = (got, len(self.compiled.cache_info().versions)) if first is None else first
            if unplanned is not None and bits(self.run(unplanned, env)[0]) != bits(got):
                return Verdict(f"{env}: other bits without memory planning", doubt)
        versions = self.compiled.cache_info().versions
        if self.program.symbolic or len(versions) == first[1]:  # else a version for more sizes took the first one's place
            again, _ = self.run(self.compiled, sizes[0])
            if bits(first[0]) != bits(again):
                return Verdict(f"{sizes[0]}: other bits when it is called once more", doubt)
        if self.program.symbolic and len(versions) > 1 and not any(v.guards for v in versions):  # guards answer questions
            return Verdict(str(self.compiled.cache_info()), doubt)
        return Verdict(doubt=doubt)

    def run(self, fun, env):
        """(results or an exception, which arguments were deleted)"""
        arguments = self.program.arguments(env)
        given = [jnp.array(x) for x in arguments] if self.program.donated else [np.array(x) for x in arguments]
        try:
            results = jax.block_until_ready(fun(*given))
        except Exception as err:
            return err, ()
        if not self.program.donated:
            assert bits(given) == bits(arguments), "an argument was written to"
        return results, tuple(isinstance(x, jax.Array) and x.size > 0 and x.is_deleted() for x in given)

    def compare(self, env, got) -> Verdict:
        want, deleted = self.run(self.oracle, env)
        if isinstance(want, Exception) or isinstance(got, Exception):
            if isinstance(want, Exception) and isinstance(got, Exception):
                return Verdict()
            if isinstance(want, Exception) and self.traces(env):
                return Verdict()  # JAX's compiler gave up: an rfft of nothing
            told = [f"{type(x).__name__}: {x}" if isinstance(x, Exception) else "a value" for x in (got, want)]
            return Verdict(f"{env}: {told[0]}; but JAX: {told[1]}")
        if self.program.donated:
            again, gone = self.run(self.compiled, env)
            if gone != deleted and not self.only_unused_differ(env, gone, deleted):
                return Verdict(f"{env}: deleted {gone}, but JAX deletes {deleted}")
            if bits(again) != bits(got):
                return Verdict(f"{env}: other bits when it is called again")
        if len(got) != len(want):
            return Verdict(f"{env}: {len(got)} outputs, not {len(want)}")
        eager, doubt = None, ""
        for k, (x, y) in enumerate(zip(got, want, strict=True)):
            if (x.shape, x.dtype, x.weak_type) != (y.shape, y.dtype, y.weak_type):
                return Verdict(f"{env}, output {k}: {x.aval} is not {y.aval}")
            message = differs(x, y, self.narrow)
            if not message:
                continue
            if eager is None:
                eager = self.op_by_op(env)
            if not differs(x, eager[k], self.narrow):
                doubt = f"{env}, output {k}: JAX op by op agrees with us, and jax.jit does not: {message}"
            elif not self.is_rough(env, x, y, eager[k], k):
                return Verdict(f"{env}, output {k}: {message}; from JAX op by op: {differs(x, eager[k], self.narrow)}")
        return Verdict(doubt=doubt)

    def only_unused_differ(self, env, gone, deleted) -> bool:
        """Whether all that we deleted and JAX did not is what JAX drops: the length of a loop may be known there."""
        used = compat.without_unused(jax.make_jaxpr(self.fun)(*self.program.arguments(env)))[1]
        return all(a >= b and (a == b or not u) for a, b, u in zip(gone, deleted, used, strict=True))

    def traces(self, env) -> bool:
        """Whether the program is right for JAX, whatever its compiler says."""
        try:
            return jax.eval_shape(self.fun, *self.program.arguments(env)) is not None
        except Exception:
            return False

    def op_by_op(self, env):
        arguments = list(map(jnp.array, self.program.arguments(env)))
        try:
            with jax.disable_jit():
                return self.fun(*arguments)
        except ValueError:  # a scan over nothing
            return jax.jit(self.fun)(*arguments)

    def is_rough(self, env, got, want, eager, k: int) -> bool:
        """Whether output k of JAX moves as far if the inputs move by a few roundings, or if it is computed in another order."""
        if not jnp.issubdtype(want.dtype, jnp.inexact):
            return False
        if not (np.isfinite(got).all() and np.isfinite(want).all() and np.isfinite(eager).all()):
            return False
        rng = np.random.default_rng(1)

        def moved(x, term):
            if term.exact or x.dtype not in (np.float32, np.float64):
                return jnp.array(x)
            return jnp.array((x * (1 + 5e-7 * rng.standard_normal(x.shape))).astype(x.dtype))

        nearby = [moved(x, term) for x, term in zip(self.program.arguments(env), self.program.inputs, strict=True)]
        again = self.oracle(*nearby)[k]
        off = max(np.max(np.abs(np.asarray(again) - want)), np.max(np.abs(np.asarray(eager) - want)))
        return bool(np.max(np.abs(got - want)) <= 8 * off)


def bits(results) -> list[bytes] | str:
    if isinstance(results, Exception):
        return type(results).__name__
    return [np.asarray(x).tobytes() for x in results]


def differs(got, want, narrow: bool) -> str:
    """`narrow`: floats of 16 bits are involved, and XLA may skip roundings to them."""
    if not got.size:
        return ""
    if not jnp.issubdtype(got.dtype, jnp.inexact):
        return "" if (bad := np.sum(np.asarray(got) != np.asarray(want))) == 0 else f"{bad} of {got.size} differ"
    wide = np.complex128 if jnp.issubdtype(got.dtype, jnp.complexfloating) else np.float64
    got, want = (np.asarray(x).astype(wide) for x in (got, want))
    tolerance = (2e-2 if narrow else 1e-4) * (1 + np.max(np.abs(want), initial=0, where=np.isfinite(want)))
    with np.errstate(invalid="ignore"):
        bad = ~((np.abs(got - want) <= tolerance) | (got == want) | (np.isnan(got) & np.isnan(want)))
        off = np.max(np.abs(got - want))
    return f"{bad.sum()} of {got.size} differ, by up to {off:.3g} of {tolerance:.3g}" if bad.any() else ""
