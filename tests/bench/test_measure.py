"""Engines in turn: what is measured, and what an engine that fails leaves behind. The engines here are made up."""

import math
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest

from sod2jax.bench import Workload, measure
from sod2jax.bench.engines import EngineError

WORKLOAD = Workload(
    name="double",
    fun=lambda w, x: 2 * x,
    params=(),
    inputs=lambda rng, n: (np.ones(n),),
    shapes=("n",),
    steady=[{"n": 4}, {"n": 8}],
    trace=[{"n": n} for n in (1, 2, 3)],
)


class Remote:
    """An engine that takes n milliseconds, and does what `script` says at its call of that number."""

    script: ClassVar[dict] = {}
    log: ClassVar[list] = []
    open: ClassVar[int] = 0

    def __init__(self, name, file, index, small, threads, limit, shared):
        self.name, self.calls = name, 0
        Remote.open += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.calls is not None:
            self.calls = None
            Remote.open -= 1

    def do(self, what):
        self.calls += 1
        self.log.append((self.name, what))
        if (act := self.script.get((self.name, what))) is not None:
            raise act

    def prepare(self):
        self.do("prepare")
        return 0.5, {"version": "1"}

    def run(self, size, seed, repeat):
        self.do(f"run {size['n']}")
        return [size["n"] / 1000] * repeat

    def result(self, size, seed):
        self.do(f"result {size['n']}")
        return [np.full(size["n"], 2.0 if self.name != "off" else 2.5)]

    def memory(self, size, seed):
        return 100 * size["n"], None

    def finish(self):
        self.do("finish")
        return 1, 7, 1000, {"kernels": 3}


@pytest.fixture
def measured(monkeypatch):
    def run(*engines, rounds=2, **script):
        monkeypatch.setattr(measure, "Remote", Remote)
        monkeypatch.setattr(measure, "PAUSE", 0)
        monkeypatch.setattr(Remote, "script", {tuple(k.split(": ")): v for k, v in script.get("script", {}).items()})
        monkeypatch.setattr(Remote, "log", [])
        measuring = measure.Measuring(WORKLOAD, "file.py", 0, measure.Settings(engines, rounds=rounds), lambda what: None)
        try:
            measuring.run()
        finally:
            assert Remote.open == 0, "every process is ended"
        return measuring.result

    return run


def test_every_figure(measured):
    result = measured("sod2", "jax", "off")
    assert (result.name, result.file, result.dims) == ("double", "file.py", ["n"])
    for row in result.rows:
        assert (row.reason, row.prepare, row.compilations, row.kept_bytes, row.process_bytes) == ("", 0.5, 1, 7, 1000)
        assert row.facts == {"version": "1", "kernels": 3}
        assert [(c.size, c.seconds) for c in row.trace] == [({"n": n}, n / 1000) for n in (1, 2, 3)]
        assert [(s.size, s.rounds, s.switch, s.temp_bytes) for s in row.steady] == [
            ({"n": n}, [n / 1000] * 2, n / 1000, 100 * n) for n in (4, 8)
        ]
    assert [row.difference for row in result.rows] == [0, 0, 0.25]


def test_engines_take_turns(measured):
    measured("sod2", "jax", rounds=2)
    runs = [(name, what) for name, what in Remote.log if what.startswith("run")]
    assert runs[:4] == [("sod2", "run 1"), ("jax", "run 1"), ("sod2", "run 2"), ("jax", "run 2")]
    assert runs[-4:] == [("sod2", "run 8"), ("jax", "run 8"), ("jax", "run 8"), ("sod2", "run 8")]


@pytest.mark.parametrize("what", ["prepare", "run 2", "run 4", "run 8", "result 4", "finish"])
def test_an_engine_that_fails_costs_its_own_row(measured, what):
    result = measured("sod2", "bad", "jax", script={f"bad: {what}": EngineError("it died")})
    ours, bad, exact = result.rows
    assert bad.reason == "it died"
    assert len(bad.trace) == {"prepare": 0, "run 2": 1}.get(what, 3)
    assert ours.reason == exact.reason == ""
    assert ours.compilations == exact.compilations == 1


def test_without_jax_the_results_are_still_compared(measured):
    result = measured("sod2", "off")
    assert [row.engine for row in result.rows] == ["sod2", "off"]
    assert [row.difference for row in result.rows] == [0, 0.25]
    result = measured("sod2", script={"jax: prepare": EngineError("JAX cannot")})
    assert result.rows[0].difference is None
    assert result.rows[0].facts["not compared with JAX"] == "JAX cannot"


def test_no_engine_runs(measured):
    result = measured("sod2", script={"sod2: prepare": EngineError("no")})
    assert result.rows[0].reason == "no"
    assert result.rows[0].steady == []


def test_an_interruption_keeps_what_there_is(monkeypatch):
    monkeypatch.setattr(measure, "Remote", Remote)
    monkeypatch.setattr(measure, "PAUSE", 0)
    monkeypatch.setattr(Remote, "script", {("jax", "run 3"): KeyboardInterrupt()})
    measuring = measure.Measuring(WORKLOAD, "file.py", 0, measure.Settings(("sod2", "jax")), lambda what: None)
    with pytest.raises(KeyboardInterrupt):
        measuring.run()
    assert Remote.open == 0
    assert [len(row.trace) for row in measuring.result.rows] == [3, 2]
    assert {row.reason for row in measuring.result.rows} == {"interrupted"}


@pytest.mark.parametrize(
    ("got", "expected", "off"),
    [
        ([], [], 0),
        ([np.float32([1, 2])], [np.float32([1, 4])], 0.5),
        ([np.float32([1, 2]), np.float32([0.5])], [np.float32([1, 2]), np.float32([0])], 0.5),
        ([np.float32([np.nan, np.inf])], [np.float32([np.nan, np.inf])], 0),
        ([np.float32([np.nan])], [np.float32([1])], math.inf),
        ([np.float32([1])], [np.float32([np.inf])], math.inf),
        ([np.float32([-np.inf])], [np.float32([np.inf])], math.inf),
        ([np.zeros((2, 1))], [np.zeros((1, 2))], math.inf),
        ([np.array([True])], [np.array([False])], 1),
        ([np.int32([3])], [np.int32([4])], 0.25),
        ([np.zeros(0)], [np.zeros(0)], 0),
        ([np.complex64([1j])], [np.complex64([2j])], 0.5),
    ],
)
def test_difference(got, expected, off):
    assert measure.difference(got, expected) == off


def test_there_is_a_pause_before_another_engine(measured, monkeypatch):
    pauses = []
    monkeypatch.setattr(measure.time, "sleep", lambda seconds: pauses.append(len(Remote.log)))
    measured("sod2", "jax")
    names = [name for name, what in Remote.log if not what.startswith("result")]
    changes = [i for i, (a, b) in enumerate(pairwise(names), 1) if a != b]
    compared = next(i for i, (_, what) in enumerate(Remote.log) if what.startswith("result"))
    assert len(changes) > 10
    assert [i for i in pauses if i < compared] == [i for i in changes if i < compared]
