"""How long the very first call takes, compilation and all: sod2.jit against jax.jit, each in processes of its own.

    python benchmarks/first_call.py                  # the encoder and the ResNet-50 of the examples
    python benchmarks/first_call.py --repeat 5

A process imports, loads the weights, and times one call; nothing is warm but JAX itself. Engines take turns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

import jax

import sod2jax as sod2
from sod2jax.bench.report import Report, save
from sod2jax.bench.timing import timed, use_threads

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from zoo import encoder, resnet

MODELS = {
    "encoder": (encoder.build, lambda model: encoder.tokens(model, 128), {"shapes": (None, "1, s"), "constraints": ["s <= 512"]}),
    "resnet": (resnet.build, lambda model: resnet.image(224, 224), {"shapes": (None, "b, h, w, 3")}),
}
COLUMNS = {"model": "model", "sod2.jit s": "sod2_s", "jax.jit s": "jax_s", "ratio": "ratio"}


def measure(model_name: str, engine: str, small: bool) -> float:
    """Seconds of the first call, in this process."""
    build, example, options = MODELS[model_name]
    model, weights = build(small)
    inputs = jax.block_until_ready(jax.device_put(example(model)))

    def forward(weights, inputs):
        return model.apply(weights, inputs)

    function = sod2.jit(forward, **options) if engine == "sod2" else jax.jit(forward)
    return timed(function, weights, inputs)[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny models")
    parser.add_argument("--repeat", type=int, default=3, help="processes per model and engine; their median counts (default 3)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, too")
    parser.add_argument("--measure", nargs=2, metavar=("MODEL", "ENGINE"), help=argparse.SUPPRESS)
    args = parser.parse_args()

    use_threads(2)
    if args.measure:
        print(measure(*args.measure, args.small))
        return 0

    seconds = {(model, engine): [] for model in MODELS for engine in ("sod2", "jax")}
    report = Report()
    for _ in report.progress(range(args.repeat), "fresh processes"):
        for (model, engine), times in seconds.items():
            command = [sys.executable, __file__, "--measure", model, engine] + ["--small"] * args.small
            times.append(float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]))
    rows = []
    for model in MODELS:
        ours, exact = seconds[model, "sod2"], seconds[model, "jax"]
        ratios = [a / b for a, b in zip(ours, exact, strict=True)]
        rows.append({"model": model, "sod2_s": median(ours), "jax_s": median(exact), "ratio": median(ratios)})
    report.table("first call", rows, COLUMNS)
    save(rows, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
