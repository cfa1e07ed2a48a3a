"""The harnesses that JAX tests its primitives with, as cases: which run on a CPU, with what arguments, at what other sizes.

* JAX builds its list under the dtypes of the moment: with x64, as its own tests do.
* A case is a harness in one of two modes: "fixed" at the harness' own sizes, "symbolic" with a symbol for leading dims.
* Which leading dims may vary, JAX says: a variant is allowed if `jax.jit` runs the function at both sizes of it. Tried are all
  arguments as long as the first one together, then each argument by itself, the first one first.
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


def variants(case: Case) -> Iterator[Variant]:
    """What to try, best first."""
    given = arguments(harnesses()[case.name])
    if case.mode == "fixed":
        yield Variant(None, (given,))
        return
    ranked = [k for k, x in enumerate(given) if x.ndim]
    alike = [k for k in ranked if len(given[k]) == len(given[ranked[0]])]
    for varied in dict.fromkeys([tuple(alike), *((k,) for k in ranked)]):
        if varied:
            n = max(2, len(given[varied[0]]))
            shapes = tuple("n, ..." if k in varied else None for k in range(len(given)))
            sizes = tuple(tuple(longer(x, m) if k in varied else x for k, x in enumerate(given)) for m in (n, n + 3))
            yield Variant(shapes, sizes)


def longer(x: np.ndarray, size: int) -> np.ndarray:
    """`x` with `size` rows: its own again and again."""
    return x[np.arange(size) % len(x)] if len(x) else np.zeros((size, *x.shape[1:]), x.dtype)


def allowed(case: Case) -> tuple[Variant, Sequence[list]] | None:
    """The first variant that JAX runs, with its results at each size; None if there is none."""
    harness = harnesses()[case.name]
    for variant in variants(case):
        try:
            wanted = [jax.block_until_ready(jax.tree.leaves(jax.jit(harness.dyn_fun)(*x))) for x in variant.arguments]
        except Exception:  # whatever JAX finds wrong with it
            continue
        return variant, wanted
    return None
