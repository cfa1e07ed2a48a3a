"""The table of examples/zoo/README.md: what is dynamic in each workload, its parameters, and its eqns with calls inlined.

    python benchmarks/zoo_table.py                       # all: minutes, most of them for random weights
    python benchmarks/zoo_table.py examples/zoo/mlp.py

Eqns are those of the function as `sod2.jit` traces it, with symbolic sizes; the papers count operators of their own graphs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

import sod2jax as sod2
from sod2jax.bench.engines.sod2 import count_eqns
from sod2jax.bench.workload import Workload, load
from sod2jax.rewrite.inline import inline

ZOO = Path(__file__).parents[1] / "examples" / "zoo"
COLUMNS = ("workload", "dynamic", "parameters", "eqns", "layers in the paper")


def row(workload: Workload, file: str) -> tuple[str, ...]:
    params = workload.make_params()
    function = sod2.jit(workload.fun, shapes=(None, *workload.shapes), constraints=workload.constraints)
    jaxpr = inline(function.trace(params, *workload.make_inputs(workload.steady[0])).jaxpr).jaxpr
    count = sum(np.size(x) for x in jax.tree.leaves(params))
    size = f"{count / 1e6:.1f} M" if count else ""
    layers = ", ".join(f"{n:,} ({where})" for where, n in workload.layers.items())
    return f"[{workload.name}]({file})", ", ".join(workload.dims), size, f"{count_eqns(jaxpr):,}", layers


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(ZOO.glob("[!_]*.py")), metavar="FILE", help="default: all")
    parser.add_argument("--small", action="store_true", help="the small forms")
    args = parser.parse_args()
    print(line(COLUMNS), line(["---"] * len(COLUMNS)), sep="\n")
    for file in args.files:
        for workload in load(file, args.small):
            print(line(row(workload, file.name)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
