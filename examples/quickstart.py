"""A Flax encoder reads sentences of 64 lengths: one compilation of sod2.jit against jax.jit, exact and padded.

    python examples/quickstart.py            # BERT-base width, 4 layers: two minutes, most of them jax.jit's
    python examples/quickstart.py --small    # a tiny model: seconds

The first pass is the life of a server that meets new sizes: every call may compile. The second pass meets known sizes only.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from statistics import median

import jax
import numpy as np
from zoo import encoder

import sod2jax as sod2
from sod2jax.bench.report import Report, save
from sod2jax.bench.timing import interleaved, quantile, ratio, timed, use_threads

TOLERANCE = 1e-4  # of the largest magnitude in jax.jit's result
COLUMNS = {
    "": "engine",
    "first\npass s": "first_pass_s",
    "p50\nms": "p50_ms",
    "p99\nms": "p99_ms",
    "second\npass s": "second_pass_s",
    "compi-\nlations": "compilations",
    "peak temp.\nMB": "peak_temporary_mb",
    "largest\ndifference": "difference",
    "steady\nratio": "steady_ratio",
}


@dataclass
class Engine:
    name: str
    call: Callable  # tokens -> hidden states, f32[1, s, width]
    compilations: Callable[[], int]
    memory: Callable  # tokens -> JAX's memory analysis of the executable that serves them
    first: list[float] = field(default_factory=list)  # seconds per sentence, first pass
    second: list[float] = field(default_factory=list)  # the same, second pass
    results: list[np.ndarray] = field(default_factory=list)


def ours(model, params) -> Engine:
    """Compiled once, for every length."""

    @sod2.jit(shapes=(None, "1, s"), constraints=(f"s <= {model.longest}",))
    def forward(params, tokens):
        return model.apply(params, tokens)

    @cache
    def compiled():
        return forward.lower(params, jax.ShapeDtypeStruct((1, 8), np.int32)).compile()

    def memory(tokens):
        return compiled().memory_analysis(s=tokens.shape[1])

    return Engine("sod2.jit", lambda tokens: forward(params, tokens), lambda: forward.cache_info().compiles, memory)


def exact(model, params) -> Engine:
    """Compiled again for every new length."""
    traces = []

    @jax.jit
    def forward(params, tokens):
        traces.append(tokens.shape)
        return model.apply(params, tokens)

    def memory(tokens):
        return forward.lower(params, tokens).compile().memory_analysis()

    return Engine("jax.jit", lambda tokens: forward(params, tokens), lambda: len(traces), memory)


def padded(model, params) -> Engine:
    """What people do today: pad to the next power of two, and hide the padding from the attention."""
    traces = []

    @jax.jit
    def forward(params, tokens, mask):
        traces.append(tokens.shape)
        return model.apply(params, tokens, mask)

    def pad(tokens):
        length = tokens.shape[1]
        rounded = 1 << (length - 1).bit_length()
        return np.pad(tokens, ((0, 0), (0, rounded - length))), np.arange(rounded)[None, None, None] < length

    def call(tokens):
        return np.asarray(forward(params, *pad(tokens)))[:, : tokens.shape[1]]

    def memory(tokens):
        return forward.lower(params, *pad(tokens)).compile().memory_analysis()

    return Engine("jax.jit, padded to 2^n", call, lambda: len(traces), memory)


def two_passes(engine: Engine, sentences, report: Report) -> None:
    for tokens in report.progress(sentences, engine.name):
        seconds, result = timed(engine.call, tokens)
        engine.first.append(seconds)
        engine.results.append(np.asarray(result))
    engine.second = [timed(engine.call, tokens)[0] for tokens in sentences]


def steady_ratios(engines: list[Engine], sentences, rounds: int, report: Report) -> dict[str, float]:
    """Time over that of jax.jit, engines taking turns on each sentence; the geometric mean over the sentences."""
    logs = {engine.name: 0.0 for engine in engines}
    for tokens in report.progress(sentences, "side by side"):
        seconds = interleaved({engine.name: partial(engine.call, tokens) for engine in engines}, rounds)
        for name in logs:
            logs[name] += math.log(ratio(seconds, name, "jax.jit"))
    return {name: math.exp(total / len(sentences)) for name, total in logs.items()}


def new_size_ratio(engine: Engine, sentences) -> float:
    """First call at a size over the calls that follow at that size; the median over the sentences, whose sizes must be new."""
    ratios = []
    for tokens in sentences:
        first, *steady = [timed(engine.call, tokens)[0] for _ in range(4)]
        ratios.append(first / median(steady))
    return median(ratios)


def summary(engine: Engine, reference: Engine, sentences) -> dict:
    differences = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(engine.results, reference.results, strict=True)]
    return {
        "engine": engine.name,
        "first_pass_s": sum(engine.first),
        "p50_ms": 1e3 * quantile(engine.first, 0.5),
        "p99_ms": 1e3 * quantile(engine.first, 0.99),
        "second_pass_s": sum(engine.second),
        "compilations": engine.compilations(),
        "peak_temporary_mb": max(engine.memory(tokens).temp_size_in_bytes for tokens in sentences) / 1e6,
        "difference": float(max(differences)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tiny model and 8 lengths")
    parser.add_argument("--rounds", type=int, default=5, help="of steady calls, engines in turn (default 5)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, too")
    args = parser.parse_args()

    use_threads(2)
    report = Report()
    model, params = encoder.build(args.small)
    lengths = np.random.default_rng(0).permutation(np.arange(8, 387, 54 if args.small else 6))
    sentences = [encoder.tokens(model, int(length)) for length in lengths]

    engines = [build(model, params) for build in (ours, exact, padded)]
    for engine in engines:
        two_passes(engine, sentences, report)
    steady = steady_ratios(engines, sentences, args.rounds, report)
    rows = [summary(engine, engines[1], sentences) | {"steady_ratio": steady[engine.name]} for engine in engines]
    sod2_row, jax_row, padded_row = rows
    new_sizes = [encoder.tokens(model, int(length) + 3) for length in lengths]  # none of them met before
    sod2_row["new_size_ratio"] = new_size_ratio(engines[0], new_sizes)
    jax_row["new_size_ratio"] = new_size_ratio(engines[1], new_sizes[:4])

    report.table(f"{len(lengths)} sentences of {len(lengths)} lengths, {min(lengths)} to {max(lengths)} tokens", rows, COLUMNS)
    kept = engines[0].memory(sentences[0]).cached_size_in_bytes
    report.say(
        f"first pass: jax.jit takes {jax_row['first_pass_s'] / sod2_row['first_pass_s']:.1f} times as long as sod2.jit, "
        f"padded {padded_row['first_pass_s'] / sod2_row['first_pass_s']:.1f} times",
        f"first call at a new size over a steady call: {sod2_row['new_size_ratio']:.2f} (sod2.jit), "
        f"{jax_row['new_size_ratio']:.1f} (jax.jit)",
        f"besides its temporary memory, sod2.jit keeps {kept / 1e6:.1f} MB of packed weights",
        "steady ratio: time over that of jax.jit at the exact length; difference: over the largest magnitude of its result",
    )
    save(rows, args.json)
    return 0 if engines[0].compilations() == 1 and sod2_row["difference"] <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
