"""The command `sod2 bench`: workload files in; a table, JSON and a page out.

* Everything that the user could have got wrong is told before anything is measured: files, sizes, names of engines, outputs that
  cannot be written.
* What is measured is written after each workload, so that an interruption keeps it.
* Exit code 1: sod2jax failed or differs from JAX; with --compare, something became worse. What peers cannot do is told, no more.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sod2jax import errors
from sod2jax.bench import ablation, compare, measurement, page, table
from sod2jax.bench.engines import ENGINES
from sod2jax.bench.measure import Measuring, Settings
from sod2jax.bench.measurement import OURS, Measurement, Result
from sod2jax.bench.report import Report
from sod2jax.bench.workload import Workload, load
from sod2jax.options import DISABLE
from sod2jax.userfile import Mistake, UserCode

PACKAGES = ("sod2jax", "jax", "jaxlib", "flax", "numpy", "llvmlite", "onnxruntime", "openvino", "torch", "iree-base-compiler")

ROOM = 16 << 20  # bytes; a page has 5 MB of JavaScript


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("files", nargs="*", metavar="FILE", help="Python files that define workload(), such as examples/zoo/*.py")
    p.add_argument("--against", type=_names, default=["jax"], metavar="NAME,...", help=f"of {', '.join(_peers())} (default: jax)")
    p.add_argument("--disable", type=_names, metavar="PART,...", help=f"what parts of the compiler bring: {', '.join(DISABLE)}")
    p.add_argument("--small", action="store_true", help="the workloads' small forms: seconds each")
    p.add_argument("--trace", metavar="FILE", help="sizes as sod2.bench.record writes them, instead of the workload's own")
    p.add_argument("--rounds", type=_count, default=9, metavar="N", help="of steady calls (default: 9)")
    p.add_argument("--threads", type=_count, default=2, metavar="N", help="of each engine (default: 2)")
    p.add_argument("--limit", type=float, default=600, metavar="S", help="seconds for one step of an engine (default: 600)")
    p.add_argument("--json", metavar="FILE", help="write what was measured")
    p.add_argument("--html", metavar="FILE", help="write an offline page with plots")
    p.add_argument("--markdown", metavar="FILE", help="write a table for a README")
    p.add_argument("--details", action="store_true", help="print a table for each workload, too")
    p.add_argument("--read", metavar="FILE", help="show what --json wrote, instead of measuring")
    p.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two files of --json: exit code 1 if B is worse")
    p.add_argument("--threshold", type=float, default=1.1, metavar="X", help="of --compare: worse by this factor (default: 1.1)")


def run(arguments) -> int:
    report = Report()
    if arguments.compare:
        outcome = compare.compare(*map(_read, arguments.compare), arguments.threshold)
        outcome.show(report)
        return 0 if outcome.ok else 1
    _check_outputs(arguments)
    if arguments.read:
        found = _read(arguments.read)
        _write(found, arguments)
        return _show(found, arguments, report)
    jobs = _jobs(arguments)
    settings = Settings(_engines(arguments), arguments.small, arguments.rounds, arguments.threads, arguments.limit)
    found = Measurement(_command(), _now(), _machine(), _versions(), arguments.threads)
    try:
        with _interruptible():
            for result in _measured(jobs, settings, report):
                found.results.append(result)
                _write(found, arguments)
    except KeyboardInterrupt:
        _write(found, arguments)
        _show(found, arguments, report)
        report.say("interrupted: what was measured until then is above")
        return 130
    return _show(found, arguments, report)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is as Ctrl-C: engines are ended, what was measured is kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class Job:
    file: str
    index: int  # among the file's workloads
    workload: Workload


def _measured(jobs: Sequence[Job], settings: Settings, report: Report) -> Iterator[Result]:
    """Each workload's result, an interrupted one too, before KeyboardInterrupt."""
    with _progress(report) as start:
        for number, job in enumerate(jobs):
            measuring = Measuring(job.workload, job.file, job.index, settings, start(job.workload, settings, number, len(jobs)))
            try:
                measuring.run()
            except KeyboardInterrupt:
                yield measuring.result
                raise
            yield measuring.result


@contextlib.contextmanager
def _progress(report: Report) -> Iterator[Callable]:
    """A bar in a terminal; elsewhere a line for each workload, on stderr."""
    if not report.console.is_terminal:

        def start(workload, settings, number, count):
            print(f"sod2 bench: {workload.name} ({number + 1} of {count})", file=sys.stderr, flush=True)
            return lambda what: None

        yield start
        return
    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=report.console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def start(workload, settings, number, count):
            steps = len(settings.engines) * (2 + len(workload.trace) + len(workload.steady) * (3 + settings.rounds))
            progress.reset(task, total=steps)
            return lambda what: progress.update(task, advance=1, description=f"[{number + 1}/{count}] {what}")

        yield start


# -- what is asked for


def _jobs(arguments) -> list[Job]:
    if not arguments.files:
        raise Mistake("bench needs files that define workload(), such as examples/zoo/*.py, or --read or --compare")
    jobs = []
    for file in arguments.files:
        if Path(file).name == "__init__.py":  # FILE... is often *.py in a package
            continue
        for index, workload in enumerate(load(file, arguments.small)):
            with UserCode(file):
                for size in workload.steady:
                    workload.make_inputs(size)
            jobs.append(Job(file, index, _with_trace(workload, arguments.trace)))
    files: dict[str, str] = {}
    for job in jobs:
        if (name := job.workload.name) in files:
            raise Mistake(f"{files[name]} and {job.file} both have a workload named {name!r}: names tell them apart")
        files[name] = job.file
    return jobs


def _with_trace(workload: Workload, path: str | None) -> Workload:
    try:
        return workload if path is None else replace(workload, trace=path)
    except errors.Sod2Error as err:
        raise Mistake(f"--trace {path}: {err}") from None


def _engines(arguments) -> tuple[str, ...]:
    if arguments.disable is not None:
        if wrong := [name for name in arguments.disable if name not in DISABLE]:
            raise Mistake(f"--disable {wrong[0]}: the parts that can be left out are {', '.join(DISABLE)}")
        return tuple(engine for _, engine in ablation.steps(arguments.disable))
    if wrong := [name for name in arguments.against if name not in ENGINES]:
        raise Mistake(f"--against {wrong[0]}: the engines are {', '.join(_peers())}")
    return (OURS, *(name for name in dict.fromkeys(arguments.against) if name != OURS))


def _peers() -> list[str]:
    return [name for name in ENGINES if name != OURS]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 upwards")
    return int(text)


def _read(path: str) -> Measurement:
    try:
        return measurement.read(path)
    except OSError as err:
        raise Mistake(f"cannot read {path}: {err.strerror}") from None
    except ValueError as err:
        raise Mistake(str(err)) from None


# -- what comes out


def _check_outputs(arguments) -> None:
    for path in filter(None, (arguments.json, arguments.html, arguments.markdown)):
        try:
            with open(path, "a", encoding="utf-8"):
                free = shutil.disk_usage(Path(path).resolve().parent).free
        except OSError as err:
            raise Mistake(f"cannot write {path}: {err.strerror}") from None
        if free < ROOM:
            raise Mistake(f"cannot write {path}: {free >> 20} MB are free there, and {ROOM >> 20} MB may be needed")
    if arguments.html:
        try:
            page.require()
        except ModuleNotFoundError as err:
            raise Mistake(str(err)) from None


def _write(found: Measurement, arguments) -> None:
    markdown = ablation.markdown if ablation.is_ablation(found) else table.markdown
    for path, text in ((arguments.json, Measurement.text), (arguments.html, page.html), (arguments.markdown, markdown)):
        if path:
            try:
                Path(path).write_text(text(found), encoding="utf-8")
            except OSError as err:  # the disk filled up: the table is still to be had
                print(f"sod2: cannot write {path}: {err.strerror}", file=sys.stderr)


def _show(found: Measurement, arguments, report: Report) -> int:
    if ablation.is_ablation(found):
        ablation.show(found, report)
    else:
        table.show(found, report, details=arguments.details)
    bad = [r for r in found.results for row in r.rows if row.engine.startswith(OURS) and (row.reason or r.wrong(row))]
    return 1 if bad else 0


def _command() -> str:
    return shlex.join(["sod2", *sys.argv[1:]])


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="minutes")


def _machine() -> dict:
    return {"cpu": _cpu(), "cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
