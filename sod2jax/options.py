"""The options of `sod2.jit` that steer compilation, validated when a function is decorated.

What is designed but not built yet is refused here by name, before anything is traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from sod2jax import compat
from sod2jax.errors import SpecError, not_yet

BACKENDS = ("auto", "cpu")
_LATER_BACKENDS = ("opencl", "gpu", "xla", "stablehlo", "tpu", "cuda", "rocm")
DISABLE = ("fusion", "order", "memory", "variants")
COMPILER_OPTIONS = {
    "disable": "parts of the compiler to leave out, to find which one is at fault: a list of 'fusion', 'order', 'memory' and "
    "'variants' (of kernels and loops, between which sizes choose)",
    "islands": "whether XLA computes what sod2jax has no rule for (default: True); False makes that an UnsupportedError",
    "cpu": "name of the CPU to compile for, such as 'x86-64-v3' (default: this machine's)",
}


@dataclass(frozen=True)
class Options:
    """What `pipeline.compile` may depend on beside the trace itself. Hashable."""

    backend: str = "auto"
    precision: str | None = None  # as `jax.default_matmul_precision` takes it
    cpu: str | None = None  # target CPU; None is the machine at hand
    disable: frozenset[str] = frozenset()  # of DISABLE
    islands: bool = True  # whether XLA computes what no rule covers


def make_options(
    *, backend="auto", buckets=None, precision=None, in_shardings=None, out_shardings=None, compiler_options=None
) -> Options:
    """Validates the options of `sod2.jit`; SpecError for wrong ones, UnsupportedError for those that are not there yet."""
    if backend is None:
        backend = "auto"
    if not isinstance(backend, str) or backend not in BACKENDS:
        if backend in _LATER_BACKENDS:
            raise not_yet(f"backend={backend!r} of sod2.jit", remedy=f"Use one of {', '.join(map(repr, BACKENDS))}.")
        raise SpecError(f"sod2.jit got backend={backend!r}; it must be one of {', '.join(map(repr, BACKENDS))}")
    if buckets is not None:
        raise not_yet("buckets= of sod2.jit", remedy="Without it one compilation serves every size exactly.")
    for name, value in (("in_shardings", in_shardings), ("out_shardings", out_shardings)):
        if value is not None and not compat.is_unspecified(value):
            raise not_yet(f"{name}= of sod2.jit", remedy="sod2jax runs on one device; use jax.jit for sharded computations.")
    known = _compiler_options(compiler_options)
    return Options(
        backend, _precision(precision), known.get("cpu"), frozenset(known.get("disable", ())), known.get("islands", True)
    )


def _precision(precision: Any) -> str | None:
    if precision is None:
        return None
    if isinstance(precision, jax.lax.Precision):
        return precision.name.lower()
    try:
        with jax.default_matmul_precision(precision):
            return precision
    except (ValueError, TypeError) as err:
        raise SpecError(f"sod2.jit got precision={precision!r}: {err}") from None


def _compiler_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise SpecError(f"sod2.jit got compiler_options={options!r}; it must be a dict")
    for key in options:
        if key not in COMPILER_OPTIONS:
            known = "; ".join(f"{k!r}: {v}" for k, v in COMPILER_OPTIONS.items())
            raise SpecError(f"No such compile option: {key!r}. sod2jax knows {known}. Options of XLA belong to jax.jit.")
    disable = options.get("disable", ())
    if isinstance(disable, str) or not set(disable) <= set(DISABLE):
        raise SpecError(f"compiler_options={{'disable': {disable!r}}}: a list of {', '.join(map(repr, DISABLE))} is needed")
    if not isinstance(options.get("islands", True), bool):
        raise SpecError(f"compiler_options={{'islands': {options['islands']!r}}}: True or False is needed")
    return dict(options)
