"""What a run over JAX's harnesses found: a summary at the end, and all of it as JSON for `--harness-report FILE`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

PASSED = ("native", "library", "island", "callback")
CLASSES = (*PASSED, "fails", "refused")
_outcomes: list[dict] = []


def pytest_addoption(parser):
    group = parser.getgroup("harnesses", "JAX's own harnesses of its primitives; `-m harness` runs all of them")
    group.addoption("--harnesses", type=int, default=600, help="how many cases of them an ordinary run samples")
    group.addoption("--harness-seed", type=int, default=0, help="which ones")
    group.addoption("--harness-report", metavar="FILE", help="write every case's outcome as JSON")


def pytest_runtest_logreport(report):
    """Runs where results are collected, for every item of every worker."""
    for key, value in report.user_properties:
        if key == "harness" and report.when == "call":
            _outcomes.append(value)
            return
    if report.failed and "test_harnesses.py" in report.nodeid and "[" in report.nodeid:  # the worker is dead, or the test hangs
        mode, _, name = report.nodeid.partition("[")[2].rstrip("]").partition("-")
        if mode in ("fixed", "symbolic"):
            failure = {"status": "fails", "reason": "crash", "detail": str(report.longrepr)}
            _outcomes.append({"name": name, "group": name, "mode": mode, **failure})


def pytest_terminal_summary(terminalreporter, config):
    if not _outcomes:
        return
    if path := config.getoption("--harness-report"):
        Path(path).write_text(json.dumps(sorted(_outcomes, key=lambda o: (o["mode"], o["name"])), indent=0))
    terminalreporter.section("JAX's harnesses")
    for line in summary(_outcomes, groups=len(_outcomes) > 2000):
        terminalreporter.write_line(line)


def summary(outcomes, groups: bool):
    """Counts per class, then per group, then what fails and why."""
    for mode in ("fixed", "symbolic"):
        found = [o for o in outcomes if o["mode"] == mode]
        counts = Counter(o["status"] for o in found)
        allowed = len(found) - counts["refused"]
        passed = sum(counts[c] for c in PASSED)
        share = f" ({passed / allowed:.1%})" if allowed else ""
        yield f"{mode}: {passed} of {allowed}{share} pass; " + ", ".join(f"{counts[c]} {c}" for c in CLASSES if counts[c])
    if groups:
        yield from table(outcomes)
    failing = [o for o in outcomes if o["status"] == "fails"]
    for reason, count in Counter(o["reason"] for o in failing).most_common():
        yield f"{count:5} fail: {reason}"
    for o in sorted(failing, key=lambda o: (o["reason"], o["mode"], o["name"])):
        yield f"FAILS {o['mode']}-{o['name']}: {o['reason']}"


def table(outcomes):
    """A line per group: passed of allowed, in both modes, by class."""
    rows: dict[str, Counter] = {}
    for o in outcomes:
        rows.setdefault(o["group"], Counter())[o["mode"], o["status"]] += 1
    classes = "".join(f"{c:>8}" for c in PASSED[:3])
    yield f"{'group':32}{'fixed':>13}{classes}  {'symbolic':>13}{classes}"
    for group, n in sorted(rows.items()):
        line = f"{group:32}"
        for mode in ("fixed", "symbolic"):
            passed = sum(n[mode, c] for c in PASSED)
            share = f"{passed}/{passed + n[mode, 'fails']}"
            line += f"{share:>13}" + "".join(f"{n[mode, c]:>8}" for c in PASSED[:3]) + "  "
        yield line.rstrip()
