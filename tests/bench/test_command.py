"""`sod2 bench` as a user calls it: what comes out, and what is told before anything is measured."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sod2jax.bench import command, measurement
from sod2jax.cli import main

FILE = """
import numpy as np
from sod2jax import bench

def workload(small=False):
    return bench.Workload(
        name="scale",
        fun=lambda w, x: w * x,
        params=np.float32(2),
        inputs=lambda rng, n: (rng.standard_normal(n, dtype=np.float32),),
        shapes=("n",),
        constraints=("n <= 64",),
        steady=[{"n": 8}, {"n": 64}],
        trace=[{"n": n} for n in (3, 5, 3)],
    )
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "scale.py"
    path.write_text(FILE)
    return path


def test_a_measurement(file, tmp_path, capsys):
    out, page = tmp_path / "out.json", tmp_path / "table.md"
    assert main(["bench", str(file), "--rounds", "2", "--json", str(out), "--markdown", str(page)]) == 0
    shown = capsys.readouterr()
    assert "scale" in shown.out
    assert "scale (1 of 1)" in shown.err
    found = measurement.read(out)
    (result,) = found.results
    assert [row.engine for row in result.rows] == ["sod2", "jax"]
    assert [row.compilations for row in result.rows] == [1, 4]
    for row in result.rows:
        assert not row.reason
        assert [c.size for c in row.trace] == [{"n": n} for n in (3, 5, 3)]
        assert [len(s.rounds) for s in row.steady] == [2, 2]
        assert row.difference <= 1e-6
        assert row.process_bytes > 1e7
    assert "scale" in page.read_text()
    assert main(["bench", "--read", str(out)]) == 0
    assert "scale" in capsys.readouterr().out
    assert main(["bench", "--compare", str(out), str(out)]) == 0


def test_compare_says_what_became_worse(file, tmp_path, capsys):
    out, worse = tmp_path / "a.json", tmp_path / "b.json"
    assert main(["bench", str(file), "--rounds", "1", "--json", str(out)]) == 0
    data = json.loads(out.read_text())
    data["results"][0]["rows"][0]["compilations"] = 3
    worse.write_text(json.dumps(data))
    assert main(["bench", "--compare", str(out), str(worse)]) == 1
    assert "compilations" in capsys.readouterr().out


def test_a_trace_from_a_file(file, tmp_path):
    trace, out = tmp_path / "sizes.jsonl", tmp_path / "out.json"
    trace.write_text('{"n": 7}\n')
    assert main(["bench", str(file), "--rounds", "1", "--trace", str(trace), "--json", str(out)]) == 0
    assert [c.size for c in measurement.read(out).results[0].rows[0].trace] == [{"n": 7}]


def test_parts_of_the_compiler(file, tmp_path, capsys):
    out = tmp_path / "out.json"
    assert main(["bench", str(file), "--rounds", "1", "--disable", "fusion,memory", "--json", str(out)]) == 0
    names = [row.engine for row in measurement.read(out).results[0].rows]
    assert names == ["sod2-fusion-memory", "sod2-memory", "sod2"]
    assert "fusion" in (shown := capsys.readouterr().out)
    assert main(["bench", "--read", str(out)]) == 0
    assert capsys.readouterr().out == shown


SLOW = """
import time
import jax
import numpy as np
from sod2jax import bench

def wait(x):
    time.sleep(0 if x.size < 8 else 60)
    return x

def workload():
    return bench.Workload(
        name="slow", fun=lambda w, x: jax.pure_callback(wait, x, x), params=(),
        inputs=lambda rng, n: (np.ones(n, np.float32),), shapes=("n",), steady=[{"n": 3}], trace=[{"n": 2}, {"n": 8}],
    )
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_measured(file, tmp_path, number):
    file.write_text(SLOW)
    out = tmp_path / "out.json"
    command = [sys.executable, "-P", "-m", "sod2jax", "bench", str(file), "--json", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while not (engines := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(number)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert "interrupted" in shown
    assert {row.reason for row in measurement.read(out).results[0].rows} == {"interrupted"}
    assert engines
    assert not any(Path(f"/proc/{pid}").exists() for pid in engines), "no engine is left"


def test_a_model_that_differs_or_fails_is_exit_code_1(file, capsys):
    file.write_text(FILE.replace("fun=lambda w, x: w * x", "fun=lambda w, x: x[:, 0]"))
    assert main(["bench", str(file), "--rounds", "1"]) == 1
    assert "sod2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "arguments", "told"),
    [
        (FILE, ["--against", "jax,tpu"], "--against tpu: the engines are jax, jax-pad"),
        (FILE, ["--disable", "speed"], "--disable speed: the parts that can be left out are fusion"),
        (FILE, ["--rounds", "0"], "'0' is no number from 1 upwards"),
        (FILE, ["--json", "/nowhere/a.json"], "cannot write /nowhere/a.json: No such file or directory"),
        (FILE, ["--trace", "/nowhere/t"], "cannot read the trace /nowhere/t"),
        (FILE.replace('"n": 64', '"n": 65'), [], "scale.py:6: ShapeError: workload 'scale': steady has the size {'n': 65}"),
        (FILE.replace("standard_normal(n", "standard_normal(n + 1"), [], "inputs() for the size {'n': 8} has the size {'n': 9}"),
        (FILE.replace("rng.standard_normal", "rng.normals"), [], "scale.py:10: AttributeError"),
        ("x = 1", [], "scale.py: no workload() there"),
        ("def workload(:", [], "scale.py:1: SyntaxError"),
    ],
)
def test_mistakes_are_one_line(file, changed, arguments, told, capsys):
    file.write_text(changed)
    assert main(["bench", str(file), *arguments]) == 2
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1


def test_workloads_are_told_by_their_names(file, tmp_path, capsys):
    (tmp_path / "again.py").write_text(FILE)
    assert main(["bench", str(file), str(tmp_path / "again.py")]) == 2
    assert "both have a workload named 'scale'" in capsys.readouterr().err


def test_a_full_disk_is_told_first(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.shutil, "disk_usage", lambda path: SimpleNamespace(free=3 << 20))
    assert main(["bench", str(file), "--json", str(tmp_path / "a.json")]) == 2
    assert "3 MB are free there" in capsys.readouterr().err


def test_mistakes_without_files(tmp_path, capsys):
    assert main(["bench"]) == 2
    assert "needs files that define workload()" in capsys.readouterr().err
    assert main(["bench", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "cannot read" in capsys.readouterr().err
    (tmp_path / "a").write_text("{}")
    assert main(["bench", "--read", str(tmp_path / "a")]) == 2
