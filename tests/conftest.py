"""What all tests share: the installed package, JAX on the CPU, deterministic hypothesis runs, golden texts.

* `python -m pytest` puts the repository on `sys.path`, where the folder `sod2jax/` would hide the installed package with its
  compiled runtime. It is taken off again, so tests see what `pip install` made: a copy, or with `-e` these very files.
* `golden(name, text)` compares with `tests/golden/<name>`; `pytest --update-golden` writes it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("SOD2_CHECK", "1")  # every stage checks what it is given

import hypothesis  # noqa: E402  (after the environment is set: hypothesis plugins may import JAX)

hypothesis.settings.register_profile("house", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.register_profile("long", deadline=None, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/* instead of comparing with them")


@pytest.fixture
def golden(request):
    """Compares a text with the file of that name in tests/golden."""

    def compare(name: str, text: str):
        path = ROOT / "tests" / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"{path} is missing; write it with `pytest --update-golden` and review it"
        assert text == path.read_text(), f"{path} differs; if that is meant, run `pytest --update-golden` and review the change"

    return compare
