"""MLP-1 and MLP-2 of the oneDNN Graph Compiler's paper, the bottom and top MLPs of DLRM, in Flax NNX.

3 and 5 matrix products with bias, ReLU after each, a sigmoid at the end of MLP-2. The paper measures batches of 32, 64, 128, 256
and 512; here the batch is any from 1 to 512.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from flax import nnx

from sod2jax import bench
from zoo.layers.weights import functional

MODELS = {"MLP-1": ((13, 512, 256, 128), nnx.relu), "MLP-2": ((479, 1024, 1024, 512, 256, 1), nnx.sigmoid)}


class MLP(nnx.Module):
    def __init__(self, widths: tuple[int, ...], last: Callable, *, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(widths)])
        self.last = last

    def __call__(self, x):
        """f32[b, first width] -> f32[b, last width]"""
        *hidden, output = self.layers
        for layer in hidden:
            x = nnx.relu(layer(x))
        return self.last(output(x))


def workload(small: bool = False) -> list[bench.Workload]:
    return [_workload(name, *MODELS[name], small) for name in MODELS]


def _workload(name: str, widths: tuple[int, ...], last: Callable, small: bool) -> bench.Workload:
    features, *rest = widths
    rest = [max(width // 8, 1) if small else width for width in rest]
    call, state = functional(lambda: MLP((features, *rest), last, rngs=nnx.Rngs(0)))
    return bench.Workload(
        name=name,
        fun=call,
        params=state,
        inputs=lambda rng, b: (rng.standard_normal((b, features), dtype=np.float32),),
        shapes=(f"b, {features}",),
        constraints=("1 <= b <= 512",),
        steady=[{"b": b} for b in (32, 128, 512)],
        trace=bench.sample(4 if small else 16, b=range(32, 513)),
    )
