"""Runs the sweep over JAX's public functions: `python tests/sweep/run.py --table docs/api_sweep.md`.

Workers take one call at a time from a pipe. One that dies, or takes longer than `--patience`, is named in the outcome and
replaced; what it was doing (JAX, or us, at which sizes) is what it said last.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import subprocess
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path

TESTS = Path(__file__).parents[1]
LIFETIME = 150  # calls of one worker: caches of executables grow


def work(under: str, cache: str, automatic: bool) -> None:
    """A worker: names of calls come in, outcomes go out, a line of JSON each."""
    sys.path[:0] = [str(TESTS)]
    from sweep import calls, check

    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    by_name = {str(call): call for call in calls.table()[0]}
    folder = Path(cache) if cache else None
    for line in sys.stdin:
        name, everything = json.loads(line)
        outcome = check.check(
            by_name[name], under, folder, everything, lambda text: out.write(json.dumps({"doing": text}) + "\n"), automatic
        )
        out.write(json.dumps(outcome.as_dict()) + "\n")


class Worker:
    def __init__(self, options):
        command = [sys.executable, "-P", __file__, "--worker", "--under", options.under, "--cache", options.cache]
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
        # It compiles faster.
        environment["XLA_FLAGS"] = environment.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
        command += ["--automatic"] * options.automatic
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, bufsize=0, **pipes)
        self.call, self.doing, self.begun, self.served, self.text = None, "starting", time.monotonic(), 0, b""

    def take(self, call, everything) -> None:
        self.call, self.doing, self.begun = call, "starting", time.monotonic()
        self.process.stdin.write((json.dumps([str(call), everything]) + "\n").encode())

    def read(self) -> dict | None:
        """An outcome if there is one; EOFError if the worker is dead."""
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        if not data:
            raise EOFError
        *lines, self.text = (self.text + data).split(b"\n")
        for message in map(json.loads, lines):
            if "doing" not in message:
                self.served += 1
                return message
            self.doing = message["doing"]
        return None

    def end(self) -> int:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        return self.process.wait()


def sweep(chosen, options, keep=lambda outcomes: None) -> list[dict]:
    """The outcome of each call; `keep` is told those so far now and then."""
    outcomes: list[dict] = []
    waiting = list(reversed(chosen))
    workers: list[Worker] = []
    begun = time.monotonic()

    def done(outcome):
        outcomes.append(outcome)
        if outcome["status"] not in ("right", "refused", "skipped"):
            print(
                f"{outcome['status']:8} {outcome['name']}: {outcome['text']}\n         "
                + "\n         ".join(outcome["problems"][:3])
            )
        if len(outcomes) % 50 == 0:
            print(f"-- {len(outcomes)} of {len(chosen)} in {time.monotonic() - begun:.0f} s", flush=True)
        if len(outcomes) % 10 == 0:
            keep(outcomes)

    def died(worker, status):
        call = worker.call
        problem = f"{status} while it did {worker.doing}"
        wrong = "bad" if worker.doing.startswith("jax") else "wrong"
        said = {"function": call.function, "name": str(call), "text": call.text, "status": wrong, "problems": [problem]}
        counted = {"compiles": 0, "general": 0, "static": False, "reasons": [], "islands": [], "xla": []}
        done(said | counted | {"seconds": time.monotonic() - worker.begun})

    def give(worker):
        call = waiting.pop()
        worker.take(call, not options.light and call.number == 0)

    with selectors.DefaultSelector() as selector:
        while waiting or workers:
            while waiting and len(workers) < options.jobs:
                workers.append(Worker(options))
                selector.register(workers[-1].process.stdout, selectors.EVENT_READ, workers[-1])
                give(workers[-1])
            for key, _ in selector.select(timeout=1):
                worker = key.data
                retired = False
                try:
                    if (outcome := worker.read()) is not None:
                        done(outcome)
                        retired = worker.served >= LIFETIME or not waiting
                        if not retired:
                            give(worker)
                except EOFError:
                    died(worker, f"crash ({worker.process.wait()})")
                    retired = True
                if retired:
                    selector.unregister(worker.process.stdout)
                    worker.end()
                    workers.remove(worker)
            for worker in [w for w in workers if time.monotonic() - w.begun > options.patience]:
                selector.unregister(worker.process.stdout)
                worker.end()
                workers.remove(worker)
                died(worker, f"no answer in {options.patience} s")
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=["*"], help="functions, as patterns: 'jax.numpy.*' or 'jax.lax.scan-1'")
    parser.add_argument("--under", default="", choices=["", "vmap", "grad", "scan", "cond"], help="inside of this transformation")
    parser.add_argument("--automatic", action="store_true", help="without shapes=: symbols are found from the calls")
    parser.add_argument("--light", action="store_true", help="four sizes of each call instead of all")
    parser.add_argument("--first", action="store_true", help="the first call of each function only")
    parser.add_argument("--others", action="store_true", help="all but the first")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--patience", type=float, default=300, help="seconds for one call")
    parser.add_argument("--cache", default="", help="a folder to keep JAX's answers in")
    parser.add_argument("--json", help="write all outcomes here; with --again, read them first")
    parser.add_argument(
        "--again",
        action="store_true",
        help="only those that are not in the file of --json, wrong there, or compiled once per size",
    )
    parser.add_argument("--table", help="write the table here")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.under, options.cache, options.automatic)
        return
    sys.path[:0] = [str(TESTS)]
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).parent]
    from sweep import calls, table

    if options.cache:
        Path(options.cache).mkdir(parents=True, exist_ok=True)
    every, _ = calls.table()
    chosen = [c for c in every if any(fnmatchcase(name, p) for p in options.only for name in (str(c), c.function))]
    if options.first or options.others:
        chosen = [c for c in chosen if (c.number == 0) == options.first]
    known = {}
    if options.json and Path(options.json).exists():
        known = {o["name"]: o for o in json.loads(Path(options.json).read_text())}
    if options.again:
        done = {name for name, o in known.items() if o["status"] not in ("wrong", "bad") and not o["static"]}
        chosen = [c for c in chosen if str(c) not in done]

    def keep(outcomes):
        known.update((o["name"], o) for o in outcomes)
        if options.json:
            Path(options.json).write_text(json.dumps(list(known.values()), indent=0))

    outcomes = sweep(chosen, options, keep)
    keep(outcomes)
    print("\n".join(table.totals(outcomes)))
    if options.table:
        Path(options.table).write_text(table.page(known.values()))


if __name__ == "__main__":
    main()
