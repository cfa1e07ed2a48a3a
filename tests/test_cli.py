"""The command `sod2`: what it prints, and one line with exit code 2 for every mistake."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jax import lax

from sod2jax.cli import main
from sod2jax.ops import OPS

MODEL = '''"""A model."""
import jax.numpy as jnp
import sod2jax as sod2


@sod2.jit(shapes="b, s")
def f(x):
    return jnp.tan(x) @ x.T


def f_args():
    return (jnp.ones((3, 4)),)


@sod2.jit
def g(x, y):
    return x.reshape(7, 3) + y


@sod2.jit
def h(x):
    raise ValueError("this cannot\\nbe")


def h_args():
    return jnp.ones(3)


plain = jnp.tanh
'''


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("model", "broken", "raises"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "raises.py").write_text("import math\n\nmath.sqrt(-1)\n")
    return tmp_path


def run(capsys, *argv):
    code = main(argv)
    out, err = capsys.readouterr()
    return code, out, err


def test_ops(capsys):
    code, out, _ = run(capsys, "ops")
    assert code == 0
    assert "dot_general" in out
    assert "many-to-many" in out
    assert "communication between devices" in out
    assert " native, " in out.splitlines()[-1]


def test_ops_as_json(capsys):
    table = json.loads(run(capsys, "ops", "--json")[1])
    (row,) = (row for row in table if row["primitive"] == "add")
    assert row["how"] == "native"
    assert row["family"] == "ops/elementwise.py"
    assert len(table) > 250
    missing = json.loads(run(capsys, "ops", "--json", "--missing")[1])
    assert {row["how"] for row in missing} == {"refused"}
    assert "add" not in run(capsys, "ops", "--missing")[1].split()


def test_info(capsys):
    code, out, _ = run(capsys, "info")
    assert code == 0
    for word in ("sod2jax", "jaxlib", "LLVM", "threads", "aarch64-linux-android", "native"):
        assert word in out


def test_explain(capsys, model):
    code, out, _ = run(capsys, "explain", "model.py:f", "--html", "page.html")
    assert code == 0
    assert "b in 0.., from x axis 0" in out
    assert (model / "page.html").read_text().startswith("<!doctype html>")
    code, out, _ = run(capsys, "explain", "model.py:g", "--arg", "f32[n]", "--arg", "f32[3]")
    assert (code, "n in 21..21" in out) == (0, True)
    assert "define" in run(capsys, "explain", "model.py:f", "--text", "llvm")[1]


def test_verify(capsys, model):
    code, out, _ = run(capsys, "verify", "model.py:f", "--most", "4")
    assert (code, out) == (0, "f: 4 sizes agree with jax.jit, 1 compilation\n")
    code, out, _ = run(capsys, "verify", "model.py:f", "--arg", "f32[b, s]", "--size", "b=3", "--size", "s=0,5")
    assert (code, out) == (0, "f: 2 sizes agree with jax.jit, 1 compilation\n")


def test_verify_finds_a_difference(capsys, model, monkeypatch):
    record = OPS[lax.tan_p]
    wrong = dataclasses.replace(record, pull=lambda b, out, index, x, **_: b.op("neg", record.pull(b, out, index, x)))
    monkeypatch.setitem(OPS, lax.tan_p, wrong)
    code, out, _ = run(capsys, "verify", "model.py:f", "--most", "6")
    assert code == 1
    assert "b=1, s=1" in out
    assert "from model import f" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "the following arguments are required: COMMAND (see sod2 --help)"),
        (("sail",), "invalid choice: 'sail'"),
        (("verify", "nowhere.py"), "nowhere.py: no such file"),
        (("verify", "."), ".: not a Python file"),
        (("verify", "model.py:k"), "model.py: has no 'k'; its functions of sod2.jit are f, g, h"),
        (("verify", "model.py:plain"), "model.py: 'plain' is no function of sod2.jit"),
        (("verify", "model.py:g"), "model.py: no example arguments for g: define g_args(), or give --arg"),
        (("verify", "model.py", "--arg", "f32[n]"), "--arg is for one function, and model.py has f, g, h"),
        (("verify", "model.py:f", "--arg", "f99[n]"), "--arg 'f99[n]': 'f99' is no dtype"),
        (("verify", "model.py:f", "--arg", "f32[n, ...]"), "every dim needs a name or a number"),
        (("verify", "model.py:f", "--arg", "f32[n]"), "model.py: ShapeError: f: argument 'x'"),
        (("verify", "model.py:f", "--size", "b"), "argument --size: 'b' is not of the form s=0,1,512"),
        (("verify", "model.py:f", "--size", "q=1"), "sizes= names 'q'; the dims of f are b, s"),
        (("verify", "model.py:h"), "model.py: h_args() returned ArrayImpl; a tuple of the arguments is needed"),
        (("explain", "model.py:h", "--arg", "f32[n]"), "model.py:22: ValueError: this cannot be"),
        (("explain", "model.py:f", "--html", "no/page.html"), "cannot write no/page.html: No such file or directory"),
        (("verify", "broken.py"), "broken.py:2: SyntaxError: "),
        (("verify", "raises.py"), "raises.py:3: ValueError: "),
    ],
)
def test_mistakes_are_one_line(capsys, model, argv, message):
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert message in err
    assert err.startswith("sod2: ")
    assert err.count("\n") == 1


def test_a_file_without_functions(capsys, model):
    (model / "raises.py").write_text("")
    assert "no function of sod2.jit with example arguments" in run(capsys, "verify", "raises.py")[2]


def test_as_a_module():
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sod2jax", "--version"], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.startswith("sod2jax ")


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("ops", "info", "explain", "verify"))


def test_the_command_is_installed():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"sod2": "sod2jax.cli:main"}
