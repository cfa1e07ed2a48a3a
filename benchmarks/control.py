"""Loops and branches: sod2.jit against jax.jit.

    python benchmarks/control.py

* An LSTM cell (hidden size 256, batch 1) by `lax.scan` over 250, 500 and 1,000 steps.
* A `while_loop` of 1,000 and 10,000 trivial steps.
* A chain of 50 residual blocks (64 x 256, a matrix product each) under `lax.cond`, with all gates closed, half of them, and none.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import sod2jax as sod2
from sod2jax.bench.report import Report, save
from sod2jax.bench.timing import interleaved, ratio, use_threads

COLUMNS = {
    "program": "program",
    "size": "size",
    "sod2.jit us": "sod2_us",
    "jax.jit us": "jax_us",
    "ratio": "ratio",
    "compilations": "compilations",
    "largest\ndifference": "difference",
}
HIDDEN, BLOCKS = 256, 50


def lstm(weights, xs):
    """xs f32[t, b, 256] -> the last hidden state, and that of every step."""

    def cell(state, x):
        h, c = state
        i, f, g, o = jnp.split(x @ weights["x"] + h @ weights["h"] + weights["b"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((xs.shape[1], HIDDEN))
    return lax.scan(cell, (zeros, zeros), xs)


def trivial_steps(count, x):
    return lax.while_loop(lambda state: state[0] < count, lambda state: (state[0] + 1, state[1] * 0.999 + 0.1), (0, x))


def gated(weights, gates, x):
    for k in range(BLOCKS):
        x = lax.cond(gates[k], lambda x, w: x + jnp.tanh(x @ w), lambda x, w: x, x, weights[k])
    return x


def programs():
    """(name, function, `shapes=`, {size: arguments})."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: (0.05 * rng.standard_normal(shape)).astype(np.float32)
    weights = {"x": normal(HIDDEN, 4 * HIDDEN), "h": normal(HIDDEN, 4 * HIDDEN), "b": normal(4 * HIDDEN)}
    weights = jax.tree.map(jnp.asarray, weights)
    lengths = {f"{t} steps": (weights, jnp.asarray(normal(t, 1, HIDDEN))) for t in (250, 500, 1000)}
    yield "LSTM by scan", lstm, (None, f"t, b, {HIDDEN}"), lengths
    yield "while_loop", trivial_steps, None, {f"{n} steps": (jnp.int32(n), jnp.float32(0.5)) for n in (1000, 10_000)}
    blocks = [jnp.asarray(normal(HIDDEN, HIDDEN)) for _ in range(BLOCKS)]
    x = jnp.asarray(normal(64, HIDDEN))
    gates = {f"{n} of {BLOCKS} gates open": (blocks, jnp.arange(BLOCKS) < n, x) for n in (0, BLOCKS // 2, BLOCKS)}
    yield "cond chain", gated, (None, None, f"n, {HIDDEN}"), gates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41, help="calls per engine, in turn (default 41)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, too")
    args = parser.parse_args()

    use_threads(2)
    rows = []
    for name, function, shapes, sizes in programs():
        ours, exact = sod2.jit(function, shapes=shapes), jax.jit(function)
        for size, arguments in sizes.items():
            pairs = zip(jax.tree.leaves(ours(*arguments)), jax.tree.leaves(exact(*arguments)), strict=True)
            difference = max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs)
            seconds = interleaved({"sod2.jit": partial(ours, *arguments), "jax.jit": partial(exact, *arguments)}, args.rounds)
            rows.append({
                "program": name,
                "size": size,
                "sod2_us": 1e6 * median(seconds["sod2.jit"]),
                "jax_us": 1e6 * median(seconds["jax.jit"]),
                "ratio": ratio(seconds, "sod2.jit", "jax.jit"),
                "compilations": ours.cache_info().compiles,
                "difference": difference,
            })  # fmt: skip
    Report().table("loops and branches", rows, COLUMNS)
    save(rows, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
