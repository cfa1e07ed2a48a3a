"""The harnesses that JAX tests its primitives with, as cases: which run on a CPU, with what arguments, at what other sizes.

* JAX builds its list under the dtypes of the moment: with x64, as its own tests do.
* A case is a harness in one of two modes: "fixed" at the harness' own sizes, "symbolic" with a symbol for leading dims.
* Which leading dims may vary, JAX says: a variant is allowed if `jax.jit` runs the function at two sizes of each. Symbols are
  added as long as JAX can trace it, so `dot(a, b)` gets one for the rows of `a`, and an `add` one that both arguments share.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np

MODES = ("fixed", "symbolic")


@dataclass(frozen=True)
class Case:
    mode: str
    name: str  # JAX's full name of the harness: its group, then what is special
    group: str

    def __str__(self):
        return f"{self.mode}-{self.name}"


@dataclass(frozen=True)
class Variant:
    """Sizes that a case is run at: the arguments of each, and what `shapes=` says of them (None: nothing)."""

    shapes: tuple[str | None, ...] | None
    arguments: tuple[tuple[np.ndarray, ...], ...]


@cache
def harnesses() -> dict[str, Any]:
    """Those for CPUs, in the order of their names: JAX's own order goes through sets of types."""
    with jax.enable_x64(True):
        from jax._src.internal_test_util.test_harnesses import all_harnesses
    found = {h.fullname: h for h in all_harnesses if h.filter("cpu")}
    return {name: found[name] for name in sorted(found)}


@cache
def cases() -> tuple[Case, ...]:
    return tuple(Case(mode, name, h.group_name) for name, h in harnesses().items() for mode in MODES)


def sample(count: int, seed: int) -> list[Case]:
    """About `count` cases: of every group one, and of large groups more, but not in proportion (the square root of it)."""
    groups: dict[str, list[Case]] = {}
    for case in cases():
        groups.setdefault(case.group, []).append(case)
    shares = {group: len(found) ** 0.5 for group, found in groups.items()}
    rng, chosen = np.random.default_rng(seed), set()
    for group, found in groups.items():
        wanted = min(len(found), max(1, round(count * shares[group] / sum(shares.values()))))
        chosen.update(found[int(k)] for k in rng.choice(len(found), wanted, replace=False))
    return [case for case in cases() if case in chosen]


def arguments(harness) -> tuple[np.ndarray, ...]:
    """The arguments that are not static, the same ones every time."""
    return tuple(map(np.asarray, harness.dyn_args_maker(np.random.RandomState(zlib.crc32(harness.fullname.encode())))))


def fixed(given) -> Iterator[Variant]:
    yield Variant(None, (given,))


def symbolic(fun, given) -> Iterator[Variant]:
    """As many symbols as JAX can trace: first arguments of the same length share one, then each gets one for itself."""
    ranked = [k for k, x in enumerate(given) if x.ndim]
    alike = [tuple(j for j in ranked if len(given[j]) == len(given[k])) for k in ranked]
    chosen: list[tuple[int, ...]] = []  # the arguments of each symbol
    for group in dict.fromkeys([*alike, *((k,) for k in ranked)]):
        if not any(k in other for other in chosen for k in group) and traces(fun, resized(given, [*chosen, group])):
            chosen.append(group)
    if chosen:
        yield resized(given, chosen)
    if len(chosen) > 1:
        yield resized(given, chosen[:1])


def resized(given, groups) -> Variant:
    """The arguments of each group at two other lengths, with a symbol for it."""
    shapes: list[str | None] = [None] * len(given)
    sizes = [list(given), list(given)]
    for number, (symbol, group) in enumerate(zip("nmkl", groups)):
        shortest = max(2, len(given[group[0]]))
        for k in group:
            shapes[k] = f"{symbol}, ..."
            sizes[0][k], sizes[1][k] = longer(given[k], shortest), longer(given[k], shortest + 3 + number)
    return Variant(tuple(shapes), tuple(map(tuple, sizes)))


def traces(fun, variant: Variant) -> bool:
    try:
        for x in variant.arguments:
            jax.eval_shape(fun, *x)
    except Exception:  # whatever JAX finds wrong with it
        return False
    return True


def longer(x: np.ndarray, size: int) -> np.ndarray:
    """`x` with `size` rows: its own again and again."""
    return x[np.arange(size) % len(x)] if len(x) else np.zeros((size, *x.shape[1:]), x.dtype)


def allowed(case: Case) -> tuple[Variant, Sequence[list]] | None:
    """The first variant that JAX runs, with its results at each size; None if there is none."""
    harness = harnesses()[case.name]
    given = arguments(harness)
    for variant in fixed(given) if case.mode == "fixed" else symbolic(harness.dyn_fun, given):
        try:
            wanted = [jax.block_until_ready(jax.tree.leaves(jax.jit(harness.dyn_fun)(*x))) for x in variant.arguments]
        except Exception:  # whatever JAX finds wrong with it
            continue
        return variant, wanted
    return None
