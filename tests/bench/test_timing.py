"""The timing tools, with calls whose order and time are known."""

import os
import subprocess
import sys

import jax.numpy as jnp
import pytest

from sod2jax.bench.timing import interleaved, quantile, ratio, timed


def test_timed_returns_the_result_when_it_is_ready():
    seconds, result = timed(jnp.add, jnp.arange(3), 1)
    assert seconds > 0
    assert result.tolist() == [1, 2, 3]


def test_rounds_rotate_and_leave_the_warmup_out():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = interleaved(calls, rounds=4, warmup=1)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 4, "b": 4, "c": 4}
    assert ["".join(order[i : i + 3]) for i in range(0, 15, 3)] == ["cab", "abc", "bca", "cab", "abc"]


def test_ratio_is_taken_within_rounds():
    assert ratio({"a": [1.0, 30.0, 2.0], "b": [2.0, 60.0, 1.0]}, "a", "b") == 0.5


@pytest.mark.parametrize(("q", "want"), [(0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1, 4)])
def test_quantile(q, want):
    assert quantile([4, 1, 3, 2], q) == want


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no CPU affinity")
def test_use_threads_limits_every_engine():
    code = "from sod2jax.bench.timing import use_threads; use_threads(1); import os; print(len(os.sched_getaffinity(0)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout == "1\n"
