"""The report as text, in a terminal and as an error; scripts that run."""

import numpy as np
import pytest
from rich.console import Console

import sod2jax as sod2
from sod2jax import errors
from sod2jax.verification.report import Failure, Skip, Source, VerifyReport, literal, script

FAILURE = Failure({"b": 1, "s": 17}, "['x']", "3 of 17 elements differ", ({"b": 2, "s": 40}, {"b": 3, "s": 50}), "import jax\n")


def test_a_good_report():
    report = VerifyReport("f", ({"s": 1}, {"s": 2}), (Skip({"s": 0}, "ValueError: no"),), (), 1)
    assert report.ok
    assert str(report) == "f: 2 sizes agree with jax.jit, 1 skipped because JAX raises, 1 compilation"
    report.raise_if_failed()


def test_a_bad_report():
    report = VerifyReport("f", ({"b": 2, "s": 40}, {"b": 3, "s": 50}, {"b": 1, "s": 1}), (), (FAILURE,), 2)
    assert not report.ok
    text = str(report)
    assert text.startswith("f: 1 size agrees with jax.jit, 2 differ, 2 compilations")
    assert "1. b=1, s=17, first met at b=2, s=40 and 1 more:\n  output ['x']: 3 of 17 elements differ" in text
    assert "    import jax" in text
    with pytest.raises(errors.VerifyError, match="3 of 17"):
        report.raise_if_failed()


def test_nothing_to_compare_is_not_ok():
    report = VerifyReport("f", (), (Skip({"s": 0}, "ValueError: no"),), (), 0)
    assert not report.ok
    assert "JAX raises at every size, first: ValueError: no" in str(report)


def test_in_a_terminal():
    console = Console(width=100, record=True, force_terminal=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(VerifyReport("f", (), (), (FAILURE,), 2))
    assert "3 of 17 elements differ" in console.export_text()
    console.file.close()


def test_literals():
    assert repr(literal(2.5)) == "2.5"
    assert repr(literal(float("nan"))) == "np.nan"
    assert repr(literal(np.array([1, 2], np.int8))) == 'jnp.array([1, 2], "int8")'
    assert literal(np.zeros(100)) is None


def local_function():
    @sod2.jit(shapes="n")
    def f(x):
        return x

    return f


def test_a_script_says_what_it_cannot_say():
    args = ({k: Source("draw()") for k in map(str, range(20))}, Source('draw("float32", (3,), 0)'), object())
    text = script(local_function(), args, {"k": Source("1")}, {"static_argnums": (2,)}, "about", 1e-4, None)
    compile(text, "script", "exec")
    assert "f = ...  # the function, " in text
    assert "...,  # positional argument 0, 20 arrays: as you gave it" in text
    assert 'draw("float32", (3,), 0),' in text
    assert "...,  # positional argument 2" in text
    assert "'k': 1," in text
    assert "static_argnums=(2,)" in text
