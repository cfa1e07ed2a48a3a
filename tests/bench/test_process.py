"""Engines in processes of their own: what they answer, and how they fail."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from sod2jax.bench import workload
from sod2jax.bench.engines import EngineError
from sod2jax.bench.process import Remote, told

FILE = Path(__file__).with_name("tiny_workload.py")
SIZE, OTHER = {"b": 1, "s": 9}, {"b": 2, "s": 33}


@pytest.fixture
def start():
    names = [w.name for w in workload.load(FILE)]
    opened = []

    def start(workload="tiny", engine="jax", **options) -> Remote:
        opened.append(Remote(engine, FILE, names.index(workload), **options))
        return opened[-1]

    yield start
    for remote in opened:
        remote.close()
        assert remote._process.poll() is not None


def fails(remote: Remote, call) -> str:
    """The reason of a step that ends the engine."""
    with pytest.raises(EngineError) as caught:
        call(remote)
    assert remote._process.poll() is not None, "no process is left"
    with pytest.raises(EngineError, match="has ended"):
        remote.run(SIZE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_engine_at_work(start):
    with start(engine="sod2", threads=1) as ours, start(threads=1) as exact:
        for remote in (ours, exact):
            seconds, facts = remote.prepare()
            assert seconds >= 0
            assert isinstance(facts, dict)
        for size in (SIZE, OTHER):
            for remote in (ours, exact):
                assert len(remote.run(size, 0, 3)) == 3
        got, expected, other = ours.result(OTHER), exact.result(OTHER), exact.result(OTHER, 1)
        assert [x.shape for x in got] == [(2, 33, 4), (2, 4)]
        for a, b, c in zip(got, expected, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
            assert (b != c).any(), "other inputs for another seed"
        temporary, padding = exact.memory(OTHER)
        assert temporary > 0
        assert padding == 0
        for remote, wanted in ((ours, 1), (exact, 2)):
            compilations, kept, process, facts = remote.finish()
            assert compilations == wanted
            assert kept >= 0
            assert process > 1 << 20
            assert facts


def test_large_results(start):
    remote = start("big")
    remote.prepare()
    assert remote.result(SIZE)[0].nbytes == 1 << 25


def test_an_unknown_engine_starts_nothing():
    with pytest.raises(EngineError, match="no engine"):
        Remote("tvm", FILE)


def test_a_crash_names_its_signal(start):
    remote = start("aborting")
    remote.prepare()
    assert "a call at {'b': 1, 's': 9}: crashed with SIGABRT" in fails(remote, lambda r: r.run(SIZE))


def test_a_process_that_is_killed(start):
    remote = start()
    remote.prepare()
    os.kill(remote._process.pid, signal.SIGKILL)
    assert "crashed with SIGKILL" in fails(remote, lambda r: r.run(SIZE))


def test_a_step_that_takes_too_long(start):
    remote = start("slow")
    remote.prepare()
    remote.run(SIZE)
    remote.limit = 0.3
    began = time.perf_counter()
    assert fails(remote, lambda r: r.run(OTHER)) == "a call at {'b': 2, 's': 33} took longer than 0.3 s"
    assert time.perf_counter() - began < 10


def test_inputs_that_raise(start):
    remote = start("bad inputs")
    remote.prepare()
    remote.run(SIZE)
    reason = fails(remote, lambda r: r.run(OTHER))
    line = 1 + FILE.read_text().splitlines().index('        raise KeyError("no such picture")')
    assert reason == f"{FILE}:{line}: KeyError: 'no such picture'"


def test_a_function_that_raises(start):
    remote = start("raising")
    remote.prepare()
    line = 1 + FILE.read_text().splitlines().index("    return x.reshape(7, x.shape[1])")
    assert fails(remote, lambda r: r.run(SIZE)).startswith(f"{FILE}:{line}: TypeError: ")


def test_files_that_are_no_workloads(tmp_path):
    for text, told_ in (("", "no workload() there"), ("x = 1 / 0", ":1: ZeroDivisionError: division by zero")):
        file = tmp_path / "file.py"
        file.write_text(text)
        with Remote("jax", file) as remote:
            assert told_ in fails(remote, Remote.prepare)


def test_an_interrupt_reaches_the_parent_alone(start):
    remote = start()
    remote.prepare()
    assert os.getsid(remote._process.pid) != os.getsid(0)
    with pytest.raises(KeyboardInterrupt), remote:
        raise KeyboardInterrupt
    assert remote._process.poll() is not None


def test_errors_from_elsewhere_name_no_line():
    assert told(ValueError("a\nb"), __file__ + "x") == "ValueError: a b"
    assert told(EngineError("a reason"), __file__) == "a reason"
