"""The examples and benchmarks run as a newcomer runs them, in their small form; and the README says what is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> str:
    # The tests' own settings (checks between stages) are not what a newcomer has.
    environment = {name: value for name, value in os.environ.items() if name != "SOD2_CHECK"}
    command = [sys.executable, str(ROOT / script), *arguments]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_quickstart(tmp_path):
    text = run("examples/quickstart.py", "--small", "--rounds", "1", "--json", str(tmp_path / "rows"))
    ours, exact, padded = json.loads((tmp_path / "rows").read_text())
    assert [row["compilations"] for row in (ours, exact, padded)] == [1, 8, 5]
    assert ours["difference"] <= 1e-4
    assert padded["difference"] <= 1e-4
    assert 0 < ours["peak_temporary_mb"] <= exact["peak_temporary_mb"]
    assert ours["first_pass_s"] < exact["first_pass_s"]
    assert all(name in text for name in ("sod2.jit", "jax.jit, padded to 2^n", "first call at a new size"))


def test_training(tmp_path):
    run("examples/training.py", "--small", "--steps", "6", "--json", str(tmp_path / "rows"))
    for row in json.loads((tmp_path / "rows").read_text()):
        assert row["compilations"] == 1
        assert row["difference"] <= 1e-4
        assert row["shapes"] > 1
        assert 0 < row["peak_mb"] <= row["jax_peak_mb"]


def test_any_resolution(tmp_path):
    text = run("examples/any_resolution.py", "--small", "--rounds", "1", "--json", str(tmp_path / "rows"))
    head, *rows = json.loads((tmp_path / "rows").read_text())
    assert head == {"compilations": 1}
    assert [row["size"] for row in rows] == ["224 x 224", "160 x 256", "97 x 131", "320 x 320"]
    assert all(row["difference"] <= 1e-4 and row["size"] in text for row in rows)


def test_dispatch_benchmark(tmp_path):
    run("benchmarks/dispatch.py", "--calls", "10", "--rounds", "1", "--json", str(tmp_path / "rows"))
    rows = json.loads((tmp_path / "rows").read_text())
    assert [row["arguments"] for row in rows] == [1, 200]
    assert all(row["ratio"] > 0 for row in rows)


def test_control_benchmark(tmp_path):
    run("benchmarks/control.py", "--rounds", "1", "--json", str(tmp_path / "rows"))
    rows = json.loads((tmp_path / "rows").read_text())
    assert {row["program"] for row in rows} == {"LSTM by scan", "while_loop", "cond chain"}
    assert all(row["compilations"] == 1 and row["difference"] < 1e-3 for row in rows)


def test_first_call_benchmark(tmp_path):
    run("benchmarks/first_call.py", "--small", "--repeat", "1", "--json", str(tmp_path / "rows"))
    rows = json.loads((tmp_path / "rows").read_text())
    assert [row["model"] for row in rows] == ["encoder", "resnet"]
    assert all(row["ratio"] > 0 for row in rows)


def test_zoo_table():
    table = run("benchmarks/zoo_table.py", "--small", str(ROOT / "examples/zoo/mlp.py"))
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["[MLP-1](mlp.py)", "[MLP-2](mlp.py)"]


# -- the README


def readme_python() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_readme_example_runs():
    example = readme_python()[0]
    assert len(example.splitlines()) <= 22, "the README promises about twenty lines"
    done = subprocess.run([sys.executable, "-"], input=example, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_pages_name_files_that_exist(page):
    text = (ROOT / page).read_text()
    paths = re.findall(r"(?:python |\]\(|`)((?:examples|benchmarks|tests|sod2jax|lowering|runtime|\.ci)/[\w./-]*[\w/])", text)
    assert paths
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing, f"{page} names {missing}"


def test_the_zoo_page_lists_every_file():
    zoo = ROOT / "examples" / "zoo"
    listed = set(re.findall(r"\]\((\w+\.py)\)", (zoo / "README.md").read_text()))
    assert listed == {path.name for path in zoo.glob("[!_]*.py")}
