"""A Flax ResNet-50 on images of four sizes: one compilation of sod2.jit against jax.jit, which compiles for each size.

    python examples/any_resolution.py            # about a minute
    python examples/any_resolution.py --small    # a tiny network: seconds
"""

from __future__ import annotations

import argparse
import sys
from statistics import median

import jax
import numpy as np
from zoo import resnet

import sod2jax as sod2
from sod2jax.bench.report import Report, save
from sod2jax.bench.timing import interleaved, ratio, timed, use_threads

SIZES = [(224, 224), (160, 256), (97, 131), (320, 320)]
TOLERANCE = 1e-4  # of the largest magnitude in jax.jit's result
COLUMNS = {
    "image": "size",
    "sod2.jit\nfirst call ms": "first_ms",
    "steady\nms": "steady_ms",
    "jax.jit\nfirst call ms": "jax_first_ms",
    "steady\nms ": "jax_steady_ms",
    "steady\nratio": "steady_ratio",
    "largest\ndifference": "difference",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tiny network")
    parser.add_argument("--rounds", type=int, default=20, help="of steady calls, the two in turn (default 20)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, too")
    args = parser.parse_args()

    use_threads(2)
    report = Report()
    model, variables = resnet.build(args.small)

    @sod2.jit(shapes=(None, "b, h, w, 3"))
    def ours(variables, images):
        return model.apply(variables, images)

    exact = jax.jit(model.apply)

    rows = []
    for height, width in report.progress(SIZES, "sizes"):
        image = resnet.image(height, width)
        first, result = timed(ours, variables, image)
        jax_first, expected = timed(exact, variables, image)
        calls = {"sod2.jit": lambda image=image: ours(variables, image), "jax.jit": lambda image=image: exact(variables, image)}
        seconds = interleaved(calls, args.rounds)
        rows.append({
            "size": f"{height} x {width}",
            "first_ms": 1e3 * first,
            "steady_ms": 1e3 * median(seconds["sod2.jit"]),
            "jax_first_ms": 1e3 * jax_first,
            "jax_steady_ms": 1e3 * median(seconds["jax.jit"]),
            "steady_ratio": ratio(seconds, "sod2.jit", "jax.jit"),
            "difference": float(np.abs(result - expected).max() / np.abs(expected).max()),
        })  # fmt: skip

    compilations = ours.cache_info().compiles
    report.table("ResNet, one image at a time", rows, COLUMNS)
    report.say(
        f"compilations: sod2.jit {compilations}, jax.jit {len(SIZES)}",
        "steady ratio: time of sod2.jit over that of jax.jit; difference: over the largest magnitude of jax.jit's result",
    )
    save([{"compilations": compilations}, *rows], args.json)
    return 0 if compilations == 1 and all(row["difference"] <= TOLERANCE for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
