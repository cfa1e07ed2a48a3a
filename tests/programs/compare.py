"""A program against `jax.jit`: compiled once with symbolic sizes, run at several.

A difference of floats counts if it is larger than what `jax.jit` itself makes of inputs that are off by a few roundings: sums of
large terms may cancel, and then the last bits of the terms are what is left.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from programs.terms import NARROW, Program

import sod2jax as sod2

SIZES = [(0, 5), (1, 1), (7, 0), (16, 3), (1, 64), (33, 2), (2, 33), (130, 7), (13, 64), (64, 17), (5, 130)]


def sizes_of(below) -> list[dict[str, int]]:
    """Four of `SIZES`, never (1, 1) first: JAX asks whether a is b, and the first call's sizes may answer."""
    rest, chosen = list(SIZES), []
    while len(chosen) < 4:
        chosen.append(rest.pop(below(len(rest))))
    chosen.sort(key=lambda pair: pair == (1, 1))
    return [{"a": a, "b": b} for a, b in chosen]


def wrong(program: Program, sizes) -> str:
    """What differs from `jax.jit`, or ""."""
    fun = program.function()
    compiled = sod2.jit(fun, shapes=program.specs())
    narrow = any(x.dtype in NARROW for x in (*program.inputs, *(line.term for line in program.lines)))
    narrow = narrow or any(name in str(program) for name in NARROW)
    for env in sizes:
        arguments = program.arguments(env)
        try:
            wanted = jax.jit(fun)(*arguments)
        except (IndexError, TypeError, ValueError):
            continue  # not at this size, says JAX
        for k, (got, want) in enumerate(zip(compiled(*arguments), wanted, strict=True)):
            if (got.shape, got.dtype, got.weak_type) != (want.shape, want.dtype, want.weak_type):
                return f"{env}, output {k}: {got.aval} is not {want.aval}"
            if (message := differs(got, want, narrow)) and not is_rough(program, arguments, got, want, k):
                return f"{env}, output {k}: {message}"
    versions = compiled.cache_info().versions
    if len(versions) > 1 and not any(v.guards for v in versions):  # guards come of what jax.numpy asks of sizes
        return str(compiled.cache_info())
    return ""


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


def is_rough(program: Program, arguments, got, want, k: int) -> bool:
    """Whether output k of `jax.jit` moves as far if the inputs move by a few roundings."""
    if not jnp.issubdtype(want.dtype, jnp.inexact) or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return False
    rng = np.random.default_rng(1)
    loose = [not x.exact for x in program.inputs] if not all(x.exact for x in program.inputs) else [True] * len(arguments)

    def moved(x):
        return (x * (1 + 5e-7 * rng.standard_normal(x.shape))).astype(x.dtype)

    nearby = [moved(x) if inexact and x.dtype == np.float32 else x for x, inexact in zip(arguments, loose, strict=True)]
    again = jax.jit(program.function())(*nearby)[k]
    return bool(np.max(np.abs(got - want)) <= 8 * np.max(np.abs(again - want)))
