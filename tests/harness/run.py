"""Runs one case through `sod2.jit` and says how it went.

A pass is "native" if only kernels ran, "library" if a library of the process was called, "island" if XLA compiled a part of it.
"refused" is what JAX does not run either; the rest "fails", with a reason that is short and the same for the same trouble.
"""

from __future__ import annotations

import gc
import re
import time
import warnings
from dataclasses import asdict, dataclass

import jax
from harness import compare
from harness.cases import Case, allowed, harnesses

import sod2jax as sod2
from sod2jax import pipeline

CLEAR_EVERY = 100  # cases, after which the memory of what was compiled is given back
_runs = 0


@dataclass(frozen=True)
class Outcome:
    name: str
    group: str
    mode: str
    status: str  # of `report.CLASSES`
    reason: str = ""
    detail: str = ""  # shapes, sizes, the whole message
    seconds: float = 0.0  # of sod2jax, without what JAX took

    as_dict = asdict


def run(case: Case) -> Outcome:
    global _runs
    _runs += 1
    if _runs % CLEAR_EVERY == 0:
        jax.clear_caches()
        gc.collect()
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of casts that lose something: the harnesses mean them
        found = allowed(case)
        if found is None:
            return Outcome(case.name, case.group, case.mode, "refused")
        start = time.perf_counter()
        status, reason, detail = outcome(case, *found)
    return Outcome(case.name, case.group, case.mode, status, reason, detail, time.perf_counter() - start)


def outcome(case: Case, variant, wanted) -> tuple[str, str, str]:
    """Status, reason and detail of a case that JAX allows."""
    made: list[pipeline.Executable] = []
    compiled = sod2.jit(harnesses()[case.name].dyn_fun, shapes=variant.shapes)
    group = "stable_sort" if "isstable_True" in case.name else case.group
    about = f"shapes={variant.shapes}, arguments " + "; ".join(
        ", ".join(f"{x.dtype}{list(x.shape)}" for x in arguments) for arguments in variant.arguments
    )
    original = pipeline.compile
    pipeline.compile = lambda *args: made.append(original(*args)) or made[-1]
    try:
        for arguments, want in zip(variant.arguments, wanted, strict=True):
            got = jax.tree.leaves(compiled(*arguments))
            if message := compare.differs(group, got, want, arguments):
                return "fails", f"wrong {message.partition(':')[0]}", f"{message}\n{about}"
    except Exception as error:
        return "fails", reason(error), f"{type(error).__name__}: {error}\n{about}"
    finally:
        pipeline.compile = original
    if len(made) != 1:
        return "fails", f"{len(made)} compilations", f"{compiled.cache_info()}\n{about}"
    kinds = {host.kind for host in made[0].program.hosts}
    return next((kind for kind in ("island", "callback", "library") if kind in kinds), "native"), "", about


def reason(error: Exception) -> str:
    """The same words for the same trouble: no numbers, no shapes."""
    text = str(error).strip().partition("\n")[0]
    if found := re.search(r"does not support the primitive `([\w-]+)`", text):
        return f"no rule for {found[1]}"
    text = re.sub(r"`[^`]*\.py:[^`]*`|bound at \S+|0x\w+|\[[^\]]*\]|\([^)]*\)|\d+", "", text)
    return f"{type(error).__name__}: {' '.join(text.split())[:90]}"
