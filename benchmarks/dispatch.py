"""What a call costs before and after the work itself: sod2.jit against jax.jit, with 1 argument and with 200.

    python benchmarks/dispatch.py

The functions do next to nothing, so that a call is all dispatch. Both engines take turns, a batch of calls each.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from statistics import median

import jax
import jax.numpy as jnp

import sod2jax as sod2
from sod2jax.bench.report import Report, save
from sod2jax.bench.timing import interleaved, ratio, use_threads

COLUMNS = {"arguments": "arguments", "sod2.jit us": "sod2_us", "jax.jit us": "jax_us", "ratio": "ratio"}


def one(x):
    return x + 1


def many(x, weights):
    for weight in weights:
        x = x + weight
    return x


def repeat(function, args, count: int):
    """`count` calls in a row, as a loop in a program makes them: each result is dropped when the next one is there."""
    for _ in range(count):
        result = function(*args)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="in a batch (default 1000)")
    parser.add_argument("--rounds", type=int, default=41, help="batches per engine (default 41)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, too")
    args = parser.parse_args()

    use_threads(2)
    x = jnp.arange(32, dtype=jnp.float32)
    weights = [jnp.float32(i) for i in range(199)]
    rows = []
    for function, arguments in ((one, (x,)), (many, (x, weights))):
        engines = {"sod2.jit": sod2.jit(function, shapes=("n", None)[: len(arguments)]), "jax.jit": jax.jit(function)}
        calls = {name: partial(repeat, engine, arguments, args.calls) for name, engine in engines.items()}
        seconds = interleaved(calls, args.rounds)
        rows.append({
            "arguments": len(jax.tree.leaves(arguments)),
            "sod2_us": 1e6 * median(seconds["sod2.jit"]) / args.calls,
            "jax_us": 1e6 * median(seconds["jax.jit"]) / args.calls,
            "ratio": ratio(seconds, "sod2.jit", "jax.jit"),
        })  # fmt: skip
    Report().table("one call", rows, COLUMNS)
    save(rows, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
