"""JAX's public functions against `jax.jit`, a sample of their calls: `run.py` runs all of them.

`known.txt` lists the calls that are known to be wrong. Which calls an ordinary run takes is drawn anew each time: the seed stands
in the header and in each failure, and `--seed` repeats it.
"""

from __future__ import annotations

import os
import random
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from sweep import calls, check
from sweep.check import _Error, _Result, differs
from sweep.under import WRAPPERS

KNOWN = Path(__file__).with_name("known.txt")
UNDER = ("",)  # `run.py --under` has the transformations


def known() -> dict[str, str]:
    lines = [line.strip() for line in KNOWN.read_text().splitlines()]
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def pytest_generate_tests(metafunc):
    if "swept" in metafunc.fixturenames:
        config = metafunc.config
        rng = random.Random(config.option.seed)
        every = [c for c in calls.table()[0] if not c.refused]
        chosen = rng.sample(every, min(config.getoption("--sweep-calls"), len(every)))
        drawn = [(call, rng.choice(UNDER)) for call in chosen]
        metafunc.parametrize("swept", drawn, ids=[f"{under or 'plain'}-{call}" for call, under in drawn])


def test_call(swept, pytestconfig):
    call, under = swept
    name = f"{under} {call}".strip()
    if reason := next((reason for pattern, reason in known().items() if fnmatchcase(name, pattern)), None):
        pytest.skip(f"known to be wrong: {reason}")
    outcome = check.check(call, under, everything=False, say=lambda text: None)
    assert outcome.status in ("right", "skipped"), "\n".join(
        [f"{name}: {call.text}", *outcome.problems, f"--seed {pytestconfig.option.seed} repeats it"]
    )


def test_every_public_function_has_a_call_or_a_reason():
    every, without = calls.table()
    missing = set(calls.public_functions()) - {c.function for c in every} - set(without)
    assert not missing
    assert not {c.function for c in every} & set(without)


def test_known_failures_name_calls():
    names = [f"{under} {call}".strip() for call in calls.table()[0] for under in ("", *WRAPPERS)]
    assert not [pattern for pattern in known() if not any(fnmatchcase(name, pattern) for name in names)]


def test_a_call_is_read_from_its_text():
    call = calls.read("jax.numpy.take", 0, "F(f(n, m), at(n, k), axis=0) * p", False)
    assert [a.spec for a in call.arguments] == ["n, m", "k", "p"]  # a size that no argument has gets one of its own
    assert call.symbols == ("n", "m", "k", "p")
    assert "p = a2.shape[0]" in call.source
    table, positions, _ = call.values({"n": 3, "m": 2, "k": 4, "p": 1}, False)
    assert table.shape == (3, 2)
    assert positions.max() < 3
    bound = calls.read("jax.numpy.dot", 0, "(lambda p, q: p @ q)(f(n), f(n))", False)
    assert bound.symbols == ("n",)


def test_special_values_are_sprinkled_into_plain_floats_only():
    call = calls.read("jax.numpy.add", 0, "F(f(n), pf(n))", False)
    sprinkled, positive = call.values({"n": 40}, True)
    assert not np.isfinite(sprinkled).all()
    assert np.isfinite(positive).all()


def result(x, weak=False):
    return _Result("*", ((x.shape, str(x.dtype), weak),), (x,))


@pytest.mark.parametrize(
    ("got", "want", "complaint"),
    [
        (result(np.float32([1, 2])), result(np.float32([1, 2])), ""),
        (result(np.float32([1, 2])), result(np.float32([1, 3])), "1 of 2 differ"),
        (result(np.int32([1, 2])), result(np.int32([1, 3])), "1 of 2 differ"),
        (result(np.float32([])), result(np.float32([1])), "is ((0,)"),
        (result(np.float32([1]), True), result(np.float32([1])), "True) instead of"),
        (result(np.float32([1])), _Error(("ValueError",), "no"), "answers"),
        (_Error(("ValueError",), "no"), result(np.float32([1])), "raises ValueError"),
        (_Error(("ShapeError", "TypeError"), "no"), _Error(("ValueError",), "no"), ""),
        (_Error(("KeyError", "LookupError"), "no"), _Error(("ValueError",), "no"), "raises KeyError"),
    ],
)
def test_answers_and_errors_are_compared(got, want, complaint):
    message = differs(got, want, ())
    assert complaint in message
    assert bool(message) == bool(complaint)


def test_what_one_call_needs_is_counted():
    call = calls.read("jax.numpy.add", 0, "F(f(n, m), f(m))", False)
    outcome = check.check(call, say=lambda text: None)
    assert (outcome.status, outcome.compiles, outcome.static) == ("right", 1, False)
    per_size = calls.read("jax.numpy.add", 0, "F(f(n), float(n.__index__()))", False)
    outcome = check.check(per_size, say=lambda text: None)
    assert outcome.status == "right"
    assert outcome.compiles > 2
    assert outcome.static


@pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason="starts processes of its own")
def test_a_worker_that_dies_is_named(tmp_path):
    from sweep import run

    class Options:
        under, cache, automatic, light, jobs, patience = "", "", False, True, 1, 60

    call = calls.read("jax.numpy.add", 0, "F(f(n), f(n))", False)
    dies = calls.read("jax.numpy.nothing", 0, "F(f(n))", False)  # no such function: the worker does not know it
    found = run.sweep([dies, next(c for c in calls.table()[0] if str(c) == "jax.numpy.sin-0")], Options)
    assert [o["status"] for o in found] == ["wrong", "right"]
    assert "crash" in found[0]["problems"][0]
    assert str(call) == "jax.numpy.add-0"
