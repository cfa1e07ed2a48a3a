"""The measuring itself: engines take turns on a workload's sizes, each in a process of its own.

* First the trace, call by call: at each size every engine makes one call, so a compilation falls into the call that needs it.
* Then the steady sizes. Every engine has been at each of them before: the first call after one at another size is the switch, and
  rounds of calls give the steady time. In a round every engine has its turn, and each round starts with another engine. A turn
  begins after a pause, in which the threads of the engine before go to sleep, and with a call that does not count, because the
  caches hold another engine's data.
* Results are compared with those of `jax.jit` for the same inputs.
* An engine that fails keeps what it has measured and says why it stopped; the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from sod2jax.bench.engines import EngineError
from sod2jax.bench.measurement import REFERENCE, Call, Result, Row, Steady
from sod2jax.bench.process import Remote
from sod2jax.bench.workload import Workload

TURN = 0.05  # seconds that an engine's turn in a round should last
MOST_CALLS = 20  # of a turn
PAUSE = 0.05  # seconds before another engine's step: the threads of the last one may spin for 40 ms after their work
SWITCHES = 3  # measurements of a switch; the median counts


@dataclass(frozen=True)
class Settings:
    """What holds for all workloads of a run."""

    engines: tuple[str, ...]  # the first is compared with the others
    small: bool = False
    rounds: int = 9
    threads: int = 2
    limit: float = 600.0  # seconds that one step of an engine may take: a conversion, a call


class Measuring:
    """One workload being measured: `result` holds what is known at any time. `tell` hears what is being done."""

    def __init__(self, workload: Workload, file: str, index: int, settings: Settings, tell: Callable[[str], None]):
        self.workload, self.file, self.index, self.settings, self.tell = workload, file, index, settings, tell
        self.rows = {name: Row(name) for name in settings.engines}
        self.running: dict[str, Remote] = {}
        self.last = ""  # the engine of the last step
        self.shared = ""  # while it runs: the folder of what engines share
        about = (workload.name, file, settings.small, list(workload.dims), workload.tolerance, dict(workload.layers))
        self.result = Result(*about, rows=list(self.rows.values()))

    def run(self) -> Result:
        try:
            with ExitStack() as processes:
                self.shared = processes.enter_context(TemporaryDirectory())
                for name in self.rows:
                    self.start(name, processes)
                self.first_pass()
                self.steady()
                self.compare(processes)
                self.finish()
        except KeyboardInterrupt:
            for row in self.rows.values():
                row.reason = row.reason or "interrupted"
            raise
        return self.result

    @contextmanager
    def step(self, name: str, what: str) -> Iterator[Row]:
        """A step of one engine: one that fails is out."""
        self.tell(f"{self.workload.name}: {name}, {what}")
        if self.last not in (name, ""):
            time.sleep(PAUSE)
        self.last = name
        try:
            yield self.rows[name]
        except EngineError as err:
            self.rows[name].reason = str(err)
            if name in self.running:
                self.running.pop(name).close()

    def launch(self, name: str, processes: ExitStack) -> Remote:
        small, threads, limit = self.settings.small, self.settings.threads, self.settings.limit
        return processes.enter_context(Remote(name, self.file, self.index, small, threads, limit, shared=self.shared))

    def start(self, name: str, processes: ExitStack) -> None:
        with self.step(name, "starting") as row:
            self.running[name] = self.launch(name, processes)
            row.prepare, row.facts = self.running[name].prepare()

    def first_pass(self) -> None:
        for number, size in enumerate(self.workload.trace):
            for name in list(self.running):
                with self.step(name, f"call {number + 1} of {len(self.workload.trace)}") as row:
                    (seconds,) = self.running[name].run(size, number, 1)
                    row.trace.append(Call(dict(size), seconds))

    def steady(self) -> None:
        sizes = self.workload.steady
        for size in sizes:
            for name in list(self.running):
                with self.step(name, f"first time at {dict(size)}") as row:
                    self.running[name].run(size, 0, 2)
                    row.steady.append(Steady(dict(size)))
        for at, size in enumerate(sizes):
            for name in list(self.running):
                with self.step(name, f"switch to {dict(size)}") as row:
                    row.steady[at].switch = self.switch(self.running[name], sizes[at - 1], size)
            for turn in range(self.settings.rounds if self.running else 0):
                names = list(self.running)
                first = turn % len(names)
                for name in names[first:] + names[:first]:
                    with self.step(name, f"round {turn + 1} of {self.settings.rounds} at {dict(size)}") as row:
                        row.steady[at].rounds.append(self.round(self.running[name], size, row.steady[at].switch))

    @staticmethod
    def switch(engine: Remote, before, size) -> float:
        times = []
        for _ in range(SWITCHES):
            engine.run(before, 0, 1)
            times += engine.run(size, 0, 1)
        return median(times)

    @staticmethod
    def round(engine: Remote, size, about: float) -> float:
        """Seconds of a call in a turn."""
        calls = max(1, min(MOST_CALLS, int(TURN / max(about, 1e-6))))
        return median(engine.run(size, 0, 1 + calls)[1:])

    def compare(self, processes: ExitStack) -> None:
        """Memory, padding and the difference to plain JAX at the steady sizes."""
        reference = self.reference(processes)
        for at, size in enumerate(self.workload.steady):
            expected = None
            for name, row in self.rows.items():
                if name not in self.running:
                    continue
                with self.step(name, f"memory and result at {dict(size)}"):
                    engine, entry = self.running[name], row.steady[at]
                    entry.temp_bytes, entry.padding = engine.memory(size, 0)
                    if reference is not None:
                        expected = reference.result(size, 0) if expected is None else expected
                        entry.difference = difference(engine.result(size, 0), expected)

    def reference(self, processes: ExitStack) -> Remote | None:
        """Plain JAX: the engine of that name, or a process of its own; None if JAX cannot run the workload."""
        if REFERENCE in self.running:
            return self.running[REFERENCE]
        self.tell(f"{self.workload.name}: {REFERENCE}, to compare with")
        try:
            engine = self.launch(REFERENCE, processes)
            engine.prepare()
            return engine
        except EngineError as err:
            for row in self.rows.values():
                row.facts["not compared with JAX"] = str(err)
            return None

    def finish(self) -> None:
        for name in list(self.running):
            with self.step(name, "ending") as row:
                row.compilations, row.kept_bytes, row.process_bytes, facts = self.running[name].finish()
                row.facts |= facts


def difference(got: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest over all leaves, each over the largest magnitude of its expected values; infinite where shapes differ, or where
    one is finite and the other is not."""
    if [a.shape for a in got] != [b.shape for b in expected]:
        return float("inf")
    return max((_leaf_difference(np.asarray(a), np.asarray(b)) for a, b in zip(got, expected)), default=0.0)


def _leaf_difference(a: np.ndarray, b: np.ndarray) -> float:
    if a.dtype.kind not in "fc" and b.dtype.kind not in "fc":
        a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(b)
    same = (a == b) | ((a != a) & (b != b))
    if not (np.isfinite(a) == finite).all() or not same[~finite].all():
        return float("inf")
    largest = np.abs(b[finite]).max(initial=0)
    off = np.abs(a[finite] - b[finite]).max(initial=0)
    return float(off / largest) if largest else float(off)
