"""Options of tests/test_random_programs.py: how many programs, from which seed; and what is told of a run.

* Without `--seed` (or SOD2_SEED) each run has a seed of its own. It stands in the header, and in each failure with the command
  that repeats it.
* Where `jax.jit` differs from JAX op by op, and JAX op by op agrees with us, the program is no failure: the summary shows it.
"""

from __future__ import annotations

import os
import secrets

import pytest

_doubtful: list[str] = []
_ran: list[str] = []


def pytest_addoption(parser):
    group = parser.getgroup("random programs", "programs drawn at random and compared with JAX")
    group.addoption("--programs", type=int, default=40, help="how many random programs to run")
    group.addoption("--seed", type=int, default=None, help="repeats the run with this seed (or SOD2_SEED); else a fresh one")


def pytest_configure(config):
    if hasattr(config, "workerinput"):
        config.option.seed = config.workerinput["seed"]
    elif config.option.seed is None:
        config.option.seed = int(os.environ.get("SOD2_SEED") or secrets.randbelow(1_000_000_000))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """All workers of pytest-xdist have the seed of the process that started them."""
    node.workerinput["seed"] = node.config.option.seed


def pytest_report_header(config):
    return f"random programs: --programs {config.option.programs} --seed {config.option.seed}"


def pytest_runtest_logreport(report):
    if report.when == "call" and "::test_random_programs[" in report.nodeid:
        _ran.append(report.nodeid)
    _doubtful.extend(value for key, value in report.user_properties if key == "doubtful" and report.when == "call")


def pytest_terminal_summary(terminalreporter, config):
    if _ran and config.option.verbose < 0:  # the header is not shown
        terminalreporter.write_line(pytest_report_header(config))
    if _doubtful:
        terminalreporter.section(f"{len(_doubtful)} random programs: jax.jit differs from JAX op by op, which agrees with us")
        for text in _doubtful:
            terminalreporter.write_line(text)
