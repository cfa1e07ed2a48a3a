"""JAX's own harnesses of its primitives through `sod2.jit`: an ordinary run samples them, `-m harness` runs them all.

* `known.txt` lists the cases that are known to fail. In a run over all, one that passes is an error, so that the list shrinks.
* A case that takes more than `PATIENCE` seconds ends its worker with a traceback, and counts as a crash.
"""

from __future__ import annotations

import faulthandler
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest
from harness import cases
from harness.run import run

KNOWN = Path(__file__).with_name("known.txt")
PATIENCE = 300


@cache
def known() -> tuple[tuple[str, str], ...]:
    """(pattern, reason) of each line `pattern: reason`."""
    lines = [line.strip() for line in KNOWN.read_text().splitlines()]
    return tuple(tuple(line.split(": ", 1)) for line in lines if line and not line.startswith("#"))


def known_reason(case: cases.Case) -> str | None:
    return next((reason for pattern, reason in known() if fnmatchcase(str(case), pattern)), None)


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        config = metafunc.config
        if "harness" in config.option.markexpr:
            chosen = [pytest.param(case, id=str(case), marks=pytest.mark.harness) for case in cases.cases()]
        else:
            seed, count = config.getoption("--harness-seed"), config.getoption("--harnesses")
            chosen = [pytest.param(case, id=str(case)) for case in cases.sample(count, seed)]
        metafunc.parametrize("case", chosen)


def test_harness(case, request, record_property):
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    try:
        outcome = run(case)
    finally:
        faulthandler.cancel_dump_traceback_later()
    record_property("harness", outcome.as_dict())
    listed = known_reason(case)
    if outcome.status == "fails" and listed:
        pytest.xfail(f"{listed} ({outcome.reason})")
    assert outcome.status != "fails", outcome.detail
    if listed and request.node.get_closest_marker("harness"):
        pytest.fail(f"passes ({outcome.status}): take it off the list, {KNOWN.name}")


def test_every_known_failure_names_a_case():
    names = [str(case) for case in cases.cases()]
    idle = [pattern for pattern, _ in known() if not any(fnmatchcase(name, pattern) for name in names)]
    assert not idle
