"""Timing engines side by side: what a busy machine does to one of them it does to all, so their ratios can be trusted.

* A call is over when its result is ready (`jax.block_until_ready`).
* Steady state is measured in rounds; a round runs every engine once, and each round starts with another engine.
* A ratio is the median over the rounds of the ratio within a round, never the ratio of two separate measurements.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import jax


def use_threads(count: int) -> None:
    """Gives every engine of this process the same `count` CPUs. Call it before the first array exists: XLA counts CPUs once."""
    os.environ["SOD2_NUM_THREADS"] = str(count)
    if hasattr(os, "sched_setaffinity"):  # elsewhere than on Linux, XLA takes all CPUs
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def timed(call: Callable, *args) -> tuple[float, Any]:
    """(seconds until the result of `call(*args)` is ready, the result)."""
    start = time.perf_counter()
    result = jax.block_until_ready(call(*args))
    return time.perf_counter() - start, result


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int, warmup: int = 1) -> dict[str, list[float]]:
    """Seconds of each call in each of `rounds` rounds, by the name of the call."""
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warmup, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            elapsed, _ = timed(calls[name])
            if turn >= 0:
                seconds[name].append(elapsed)
    return seconds


def ratio(seconds: Mapping[str, list[float]], over: str, under: str) -> float:
    """The median over the rounds of time `over` / time `under`."""
    return median(a / b for a, b in zip(seconds[over], seconds[under], strict=True))


def quantile(values: list[float], q: float) -> float:
    """The smallest of `values` that at least the share `q` of them does not exceed."""
    return sorted(values)[max(0, math.ceil(q * len(values) - 1e-9) - 1)]
