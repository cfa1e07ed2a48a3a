"""The command `sod2`: `ops`, `info`, `explain`, `verify` and `bench`.

* FILE.py:name is a function of `sod2.jit` in a Python file. Its example arguments are what `name_args()` of that file returns (a
  tuple), or are given as specs: --arg "f32[b,s,64]".
* Bad input is one line on stderr and exit code 2, with file and line of the user's code where that is at fault; 1 means that
  `verify` found a difference.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import llvmlite.binding as llvm
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import sod2jax as sod2
from sod2jax import binding, errors
from sod2jax.bench import command as command_of_bench
from sod2jax.ir.scope import Scope
from sod2jax.lowering import targets
from sod2jax.ops.coverage import HOW, rows
from sod2jax.specs import parse_shape
from sod2jax.stages import KINDS
from sod2jax.userfile import Mistake, UserCode, load


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise Mistake(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    try:
        arguments = parser().parse_args(argv)
        return arguments.run(arguments)
    except Mistake as mistake:
        print(f"sod2: {mistake}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    top = Parser("sod2", description="JAX functions compiled once for all shapes: what the compiler knows, does and gets right.")
    top.add_argument("--version", action="version", version=f"sod2jax {sod2.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(run: Callable[[Any], int], description: str) -> argparse.ArgumentParser:
        p = commands.add_parser(run.__name__, help=description, description=description)
        p.set_defaults(run=run)
        return p

    p = command(ops, "JAX's primitives: which are served, and how")
    p.add_argument("--missing", action="store_true", help="only those that are refused")
    p.add_argument("--json", action="store_true", help="as JSON")
    command(info, "versions, this machine, the targets")
    command_of_bench.add_arguments(command(bench, "workloads with many sizes, side by side with other engines"))
    for run, description in (
        (explain, "what the compiler makes of a function: sizes, guards, kernels, memory"),
        (verify, "a function against plain JAX over edge sizes"),
    ):
        p = command(run, description)
        p.add_argument("function", metavar="FILE.py[:name]", help="a function of sod2.jit; name_args() there gives its arguments")
        p.add_argument("--arg", action="append", metavar="SPEC", help='an argument without name_args(): "f32[b,s,64]", in order')
        if run is explain:
            p.add_argument("--html", metavar="FILE", help="write an offline page")
            p.add_argument("--text", choices=KINDS, metavar="KIND", help=f"the program after a stage instead: {', '.join(KINDS)}")
        else:
            p.add_argument("--size", action="append", type=_size, metavar="DIM=N,N", help="candidates for a dim: s=0,1,512")
            p.add_argument("--most", type=int, default=40, metavar="N", help="combinations of sizes to try (default: 40)")
            p.add_argument("--seed", type=int, default=0, metavar="N", help="of sizes and values (default: 0)")
            p.add_argument("--special", action="store_true", help="sprinkle NaN and infinities into the arguments")
            p.add_argument("--rtol", type=float, metavar="X", help="relative tolerance (default: by dtype)")
            p.add_argument("--atol", type=float, metavar="X", help="absolute tolerance (default: by the largest value)")
    return top


def _size(text: str) -> tuple[str, list[int]]:
    name, _, numbers = text.partition("=")
    try:
        return name.strip(), [int(n) for n in numbers.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form s=0,1,512") from None


# -- the commands


def ops(arguments) -> int:
    table = rows()
    counts = Counter(row.how for row in table)
    shown = [asdict(row) for row in table if not arguments.missing or row.how == "refused"]
    if arguments.json:
        print(json.dumps(shown, indent=1))
        return 0
    columns = {"primitive": "primitive", "how": "how", "dyn": "class", "mapping": "mapping", "family": "family", "why": "why"}
    if arguments.missing:
        columns = {"primitive": "primitive", "why": "why"}
    printed = Table(*columns.values(), box=SIMPLE_HEAD)
    for row in shown:
        printed.add_row(*(row[column] for column in columns))
    console = _console()
    console.print(printed)
    console.print(f"JAX {jax.__version__} has {len(table)} primitives: " + ", ".join(f"{counts[how]} {how}" for how in HOW))
    return 0


def info(arguments) -> int:
    host = targets.host()
    packages = ("jax", "jaxlib", "numpy", "llvmlite", "islpy")
    facts = {
        "sod2jax": sod2.__version__,
        "packages": ", ".join(f"{name} {version(name)}" for name in packages),
        "LLVM": ".".join(map(str, llvm.llvm_version_info)),
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "this machine": f"{host.cpu}, {host.triple}",
        "vectors": f"{host.registers} registers of {host.vector_bits} bits, tails by {host.tail}",
        "threads": str(binding.threads()),
        "targets": ", ".join(sorted(targets.TARGETS)),
        "primitives": ", ".join(f"{n} {how}" for how, n in Counter(row.how for row in rows()).most_common()),
    }
    for name, text in facts.items():
        print(f"{name:<13} {text}")
    return 0


def bench(arguments) -> int:
    return command_of_bench.run(arguments)


def explain(arguments) -> int:
    for where, function, args in _functions(arguments):
        with UserCode(where):
            if arguments.text:
                print(function.lower(*args).as_text(arguments.text))
                continue
            report = function.explain(*args)
        print(report)
        if arguments.html:
            _write(arguments.html, report.html())
    return 0


def verify(arguments) -> int:
    options = {name: getattr(arguments, name) for name in ("most", "seed", "special", "rtol", "atol")}
    good, console = True, _console()
    for where, function, args in _functions(arguments):
        with UserCode(where):
            outcome = sod2.verify(function, *args, sizes=dict(arguments.size or ()) or None, **options)
        console.print(outcome, soft_wrap=True)
        good &= outcome.ok
    return 0 if good else 1


def _console() -> Console:
    """Standard output, wide enough for a table where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as err:
        raise Mistake(f"cannot write {path}: {err.strerror}") from None


# -- functions and arguments from the user's file


def _functions(arguments) -> list[tuple[str, sod2.JitFunction, tuple]]:
    """(file, function, example arguments) of what FILE.py[:name] names: without a name, all that have name_args()."""
    path, _, name = arguments.function.partition(":")
    module = load(path)
    found = {n: f for n, f in vars(module).items() if isinstance(f, sod2.JitFunction)}
    if name and name not in found:
        what = f"has no {name!r}" if not hasattr(module, name) else f"{name!r} is no function of sod2.jit"
        raise Mistake(f"{path}: {what}; its functions of sod2.jit are {', '.join(found) or '(none)'}")
    names = [name] if name else [n for n in found if arguments.arg or hasattr(module, f"{n}_args")]
    if not names:
        raise Mistake(f"{path}: no function of sod2.jit with example arguments; name one, or define name_args() beside it")
    if arguments.arg and len(names) > 1:
        raise Mistake(f"--arg is for one function, and {path} has {', '.join(names)}: name one, {path}:{names[0]}")
    return [(path, found[n], _arguments(path, module, n, arguments.arg)) for n in names]


def _arguments(path: str, module, name: str, specs: Sequence[str] | None) -> tuple:
    if specs:
        return _symbolic(specs)
    if (make := getattr(module, f"{name}_args", None)) is None:
        raise Mistake(f'{path}: no example arguments for {name}: define {name}_args(), or give --arg "f32[b,s,64]"')
    with UserCode(path):
        args = make()
    if not isinstance(args, tuple):
        raise Mistake(f"{path}: {name}_args() returned {type(args).__name__}; a tuple of the arguments is needed")
    return args


def _symbolic(specs: Sequence[str]) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Arguments for specs such as "f32[b,s,64]": shapes with symbolic dims, from 0 upwards."""
    try:
        parsed = [parse_shape(text) for text in specs]
    except errors.SpecError as err:
        raise Mistake(str(err).replace("shapes= has", "--arg")) from None
    for spec in parsed:
        if spec.rest is not None or None in spec.dims:
            raise Mistake(f"--arg {spec.text!r}: every dim needs a name or a number")
    scope = Scope({name: (0, None) for spec in parsed for name in sorted(spec.free)})
    return tuple(jax.ShapeDtypeStruct(tuple(map(scope.dim, spec.dims)), spec.dtype or np.dtype(np.float32)) for spec in parsed)
