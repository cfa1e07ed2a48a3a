"""One call of the sweep against JAX: compiled once at ordinary sizes, then called at all of its sizes.

* What JAX answers (results, or its error) is kept on disk if a folder is given, as it costs most of the time.
* Where values differ, JAX op by op has the last word: XLA's simplification is not always true to infinities.
* An answer is right if values, shapes, dtypes, weak types and the tree are JAX's; where JAX raises, an error of the same kind.
* A compilation at sizes of 0 and 1 may be a version of its own: `compiles` counts all, `general` those at other sizes.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from harness.compare import apart, numpy, tolerance

import sod2jax as sod2

from .calls import Call
from .under import WRAPPERS

# Errors by which a caller is told that its call is wrong; ours may be another of them, for JAX's own differ from size to size.
REFUSALS = (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError, NotImplementedError)


@dataclass
class Outcome:
    """`status`: right, wrong, refused (by jax.jit, too), skipped (JAX cannot do this), bad (JAX refuses the call)."""

    function: str
    name: str
    text: str
    status: str
    problems: list[str] = field(default_factory=list)
    compiles: int = 0
    general: int = 0
    static: bool = False  # whether sizes became static: a version per size
    reasons: list[str] = field(default_factory=list)
    islands: list[str] = field(default_factory=list)
    xla: list[str] = field(default_factory=list)  # where jax.jit is not what JAX computes op by op, as we do
    seconds: float = 0.0

    as_dict = asdict


def check(
    call: Call, under: str = "", cache: Path | None = None, everything: bool = True, say: Callable = print, automatic=False
) -> Outcome:
    begun = time.monotonic()
    outcome = Outcome(call.function, str(call), call.text, "right")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check(call, WRAPPERS[under](call), outcome, cache, everything, say, automatic)
    outcome.seconds = round(time.monotonic() - begun, 2)
    return outcome


def _check(call, wrapped, outcome, cache, everything, say, automatic) -> None:
    runs = list(wrapped.sizes(everything))
    oracle = _Oracle(wrapped, cache)
    wanted = []
    for sizes, special in runs:
        say(f"jax {sizes}")
        wanted.append(oracle(sizes, special))
        if len(wanted) == 1 and isinstance(wanted[0], _Error):
            if call.refused:
                outcome.status = "refused"
            else:
                outcome.status = "skipped" if wrapped.optional else "bad"
                outcome.problems.append(f"jax.jit: {wanted[0]}")
                return
    fun = wrapped.function()
    compiled = sod2.jit(fun) if automatic else sod2.jit(fun, shapes=tuple(a.spec for a in wrapped.arguments))
    for (sizes, special), want in zip(runs, wanted):
        say(f"sod2 {sizes}")
        before = compiled.cache_info().compiles
        got = answer(compiled, wrapped.values(sizes, special))
        arguments = wrapped.values(sizes, special)
        message = differs(got, want, arguments)
        if (
            message
            and isinstance(got, _Result)
            and isinstance(want, _Result)
            and not differs(got, op_by_op(fun, arguments), arguments)
        ):
            outcome.xla.append(f"{_text(sizes)}: {message}")
        elif message:
            outcome.problems.append(f"{_text(sizes)}{' with NaN and infinities' if special else ''}: {message}")
        if set(sizes.values()).isdisjoint({0, 1}):
            outcome.general += compiled.cache_info().compiles - before
    info = compiled.cache_info()
    outcome.compiles = info.compiles
    for version in info.versions:
        outcome.static |= info.compiles > 1 and any(_pins(guard) for guard in version.guards)
        if info.compiles > 1:
            outcome.reasons.append("; ".join(version.fixed) or f"{version.why} [{'; '.join(version.guards)}]")
        outcome.islands.extend(version.islands)
    outcome.islands = sorted({line.partition(":")[0] for line in outcome.islands})
    if outcome.problems:
        outcome.status = "wrong"


def _pins(guard: str) -> bool:
    """Whether a guard makes a number of a size: of one that is not 0 or 1, which may have versions of their own."""
    found = re.fullmatch(r"(\w+) == (\w+)", guard)
    return found is not None and any(side.isdigit() and int(side) > 1 for side in found.groups())


def _text(sizes) -> str:
    return ", ".join(f"{s}={size}" for s, size in sizes.items()) or "no sizes"


@dataclass(frozen=True)
class _Error:
    """What was raised: the names of its classes, its own first."""

    kinds: tuple[str, ...]
    message: str

    def __str__(self):
        return f"{self.kinds[0]}: {self.message[:200]}"

    @property
    def refusal(self) -> bool:
        return not {k.__name__ for k in REFUSALS}.isdisjoint(self.kinds)


@dataclass(frozen=True)
class _Result:
    tree: str
    types: tuple[tuple, ...]
    values: tuple[np.ndarray, ...]


class _Oracle:
    def __init__(self, wrapped, folder: Path | None):
        self.wrapped, self.folder, self.function = wrapped, folder, jax.jit(wrapped.function())

    def __call__(self, sizes, special) -> _Error | _Result:
        key = f"{jax.__version__} {self.wrapped} {self.wrapped.source} {self.wrapped.arguments} {sorted(sizes.items())} {special}"
        path = self.folder and self.folder / hashlib.sha256(key.encode()).hexdigest()
        if path and path.exists():
            return pickle.loads(path.read_bytes())
        found = answer(self.function, self.wrapped.values(sizes, special))
        if path:
            unfinished = path.with_suffix(f".{os.getpid()}")
            unfinished.write_bytes(pickle.dumps(found))
            unfinished.replace(path)
        return found


def answer(function: Callable, arguments) -> _Error | _Result:
    try:
        leaves, tree = jax.tree.flatten(function(*arguments))
        leaves = jax.block_until_ready(list(map(jnp.asarray, leaves)))
        types = tuple((tuple(x.shape), str(x.dtype), bool(x.weak_type)) for x in leaves)
        return _Result(str(tree), types, tuple(map(numpy, leaves)))
    except Exception as error:
        return _Error(tuple(k.__name__ for k in type(error).__mro__), str(error).strip().partition("\n")[0])


def op_by_op(function: Callable, arguments) -> _Error | _Result:
    """What JAX computes without XLA's rewriting, which makes `log(c) + (z - z)` of infinities a number."""
    with jax.disable_jit():
        return answer(function, arguments)


def differs(got: _Error | _Result, want: _Error | _Result, arguments) -> str:
    """What is wrong with the answer `got`, or ""."""
    if isinstance(want, _Error):
        if not isinstance(got, _Error):
            return f"answers {got.types} where JAX raises {want}"
        if got.refusal or got.kinds[0] == want.kinds[0]:
            return ""
        return f"raises {got} where JAX raises {want}"
    if isinstance(got, _Error):
        return f"raises {got}"
    if got.tree != want.tree:
        return f"the tree is {got.tree} instead of {want.tree}"
    if got.types != want.types:
        j = next(j for j, (g, w) in enumerate(zip(got.types, want.types)) if g != w)
        return f"result {j} is {got.types[j]} instead of {want.types[j]}"
    least = max((tolerance(x) for x in arguments if isinstance(x, np.ndarray)), default=0)
    for j, (g, w) in enumerate(zip(got.values, want.values)):
        near = tolerance(w)
        if message := apart(g, w, max(near, least) if near else 0, True):
            return f"result {j}: {message}"
    return ""
