"""An engine in a process of its own, and the parent's handle on it.

* The child reads commands from a pipe, and waits on it without spinning: only one engine works at a time.
* CPUs and thread counts are settled before a library is loaded. The child's standard output and error go to a file; when the
  child crashes, the last line of that file is part of the reason.
* What goes wrong is an EngineError in the parent: a crash with its signal, an exception in one line (with the line of the
  workload's file that was at work), or a step that took too long. After it, and after `close`, no process is left.
* Ctrl-C reaches the parent alone, which closes its children: they are in sessions of their own, and so are the compilers that
  they start.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sod2jax.bench import workload
from sod2jax.bench.engines import engine
from sod2jax.bench.engines.engine import EngineError, one_line
from sod2jax.bench.timing import use_threads
from sod2jax.userfile import Mistake, UserCode

# -- the parent's side


class Remote:
    """An engine at work in a child process. Every step may take `limit` seconds. `shared`: the folder of `engine.Shared`."""

    def __init__(
        self, name: str, file: str | Path, index: int = 0, small=False, threads: int = 2, limit: float = 600, seed=0, shared=None
    ):
        engine.check(name)
        self.name, self.limit = name, limit
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (close() closes it)
        self._pipe, theirs = Pipe()
        # -P: not what stands in the working folder, but what is installed.
        command = [sys.executable, "-P", "-m", "sod2jax.bench.process", str(theirs.fileno())]
        streams = {"stdin": subprocess.DEVNULL, "stdout": self._log, "stderr": self._log}
        try:
            self._process = subprocess.Popen(
                command, **streams, pass_fds=[theirs.fileno()], start_new_session=True, env=_environment(threads)
            )
        finally:
            theirs.close()
        self._task = (name, str(file), index, small, threads, seed, shared)

    def prepare(self) -> tuple[float, dict[str, Any]]:
        """Loads the workload and makes the engine: (seconds that the latter took, facts)."""
        return self._ask("preparing", *self._task)

    def run(self, size: Mapping[str, int], seed: int = 0, repeat: int = 1) -> list[float]:
        """Seconds of each of `repeat` calls with the inputs of this seed."""
        return self._ask(f"a call at {dict(size)}", "run", dict(size), seed, repeat)

    def result(self, size: Mapping[str, int], seed: int = 0) -> list[np.ndarray]:
        """The leaves of the result."""
        return self._ask(f"the result at {dict(size)}", "result", dict(size), seed)

    def memory(self, size: Mapping[str, int], seed: int = 0) -> tuple[int | None, float | None]:
        """(bytes of temporary memory of a call, share of padding among its inputs)."""
        return self._ask(f"memory at {dict(size)}", "memory", dict(size), seed)

    def finish(self) -> tuple[int | None, int | None, int, dict[str, Any]]:
        """(compilations, bytes kept between calls, high-water mark of the process's memory, facts)."""
        return self._ask("ending", "finish")

    def close(self) -> None:
        """Ends the child, whatever it does."""
        if self._pipe.closed:
            return
        self._pipe.close()
        with suppress(ProcessLookupError):  # its group: a compiler that it has started, too
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _ask(self, what: str, *command) -> Any:
        if self._pipe.closed:
            raise EngineError("its process has ended")
        try:
            self._pipe.send(command)
            if not self._pipe.poll(self.limit):
                self.close()
                raise EngineError(f"{what} took longer than {self.limit:g} s")
            good, answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise EngineError(f"{what}: {self._crash()}") from None
        except BaseException:  # the answer is still on its way
            self.close()
            raise
        if not good:
            self.close()
            raise EngineError(answer)
        return answer

    def _crash(self) -> str:
        """How the child ended."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            code = 0
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 4096))
        lines = self._log.read().decode(errors="replace").split("\n")
        last = next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
        self.close()
        return (f"crashed with {signal.Signals(-code).name}" if code < 0 else f"its process ended with code {code}") + last


def _environment(threads: int) -> dict[str, str]:
    """Thread counts for all libraries that a child may load, and the CPU for JAX: engines are compared on CPUs."""
    counts = ("SOD2_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(counts, str(threads)), "JAX_PLATFORMS": "cpu"}


# -- the child's side


class Worker:
    """What the child does with its engine."""

    def __init__(self, name: str, file: str, index: int, small: bool, threads: int, seed: int, shared: str | None):
        self.file, self.seed, self.peak = file, seed, 0
        use_threads(threads)
        self.workload = workload.load(file, small)[index]
        with UserCode(file):
            params = jax.block_until_ready(jax.tree.map(jax.numpy.asarray, self.workload.make_params()))
        make = engine.load(name)
        start = time.perf_counter()
        self.engine = make(self.workload, params, threads, engine.Shared(shared))
        self.seconds = time.perf_counter() - start + self.engine.shared.seconds
        self._taken: tuple[Any, Any] = None, None

    def prepared(self) -> tuple[float, dict[str, Any]]:
        return self.seconds, self.engine.facts()

    def run(self, size: dict[str, int], seed: int, repeat: int) -> list[float]:
        taken = self._inputs(size, seed)
        seconds = []
        for _ in range(repeat):
            start = time.perf_counter()
            result = self.engine.call(taken, size)
            seconds.append(time.perf_counter() - start)
            del result  # not while the clock runs
        return seconds

    def result(self, size: dict[str, int], seed: int) -> list[np.ndarray]:
        return [np.asarray(x) for x in jax.tree.leaves(self.engine.call(self._inputs(size, seed), size))]

    def memory(self, size: dict[str, int], seed: int) -> tuple[int | None, float]:
        """May compile to find out; the mark of the process's memory shall not show it."""
        self.peak = max(self.peak, _high_water())
        found = self.engine.temp_bytes(self._make(size, seed), size), self.engine.padding(size)
        _reset_high_water()
        return found

    def finish(self) -> tuple[int | None, int | None, int, dict[str, Any]]:
        peak = max(self.peak, _high_water())
        return self.engine.compilations(), self.engine.kept_bytes(), peak, self.engine.facts()

    def _make(self, size: dict[str, int], seed: int) -> tuple:
        with UserCode(self.file):
            return self.workload.make_inputs(size, (self.seed, seed))

    def _inputs(self, size: dict[str, int], seed: int) -> Any:
        """As the engine takes them; those of the call before, if it was the same."""
        key = (tuple(size.items()), seed)
        if self._taken[0] != key:
            self._taken = None, None
            self._taken = key, self.engine.take(self._make(size, seed), size)
        return self._taken[1]


def _high_water() -> int:
    """Bytes of physical memory that this process has had at most."""
    status = Path("/proc/self/status")
    if status.exists():
        found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if found:
            return int(found[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _reset_high_water() -> None:
    """From now on `_high_water` counts from what is in use; only Linux can do that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def told(err: Exception, file: str) -> str:
    """One line, with the line of the workload's file if that was at work."""
    if isinstance(err, EngineError | Mistake):
        return one_line(err)
    at_work = {Path(frame.filename).resolve() for frame in traceback.extract_tb(err.__traceback__)}
    if Path(file).resolve() in at_work:
        try:
            with UserCode(file):
                raise err
        except Mistake as mistake:
            return one_line(mistake)
    return one_line(f"{type(err).__name__}: {err}")


def serve(pipe: Connection) -> None:
    """Answers the parent until it hangs up."""
    task = pipe.recv()
    worker: Worker | None = None
    while True:
        try:
            if worker is None:
                worker = Worker(*task)
                answer = True, worker.prepared()
            else:
                name, *args = pipe.recv()
                answer = True, getattr(worker, name)(*args)
        except EOFError:
            return
        except Exception as err:
            traceback.print_exc()
            answer = False, told(err, task[1])
        pipe.send(answer)
        if not answer[0]:
            return


def main(argv: Sequence[str]) -> int:
    try:
        serve(Connection(int(argv[0])))
    except (EOFError, ConnectionError):  # the parent is gone
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
