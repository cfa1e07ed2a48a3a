"""ConvNet-AIG-50 (Veit and Belongie, ECCV 2018) in Flax Linen: a ResNet-50 whose 16 blocks each have a gate, a small network
on the averages of the block's input, that decides whether the block runs.

Dynamic: height and width, and the blocks that run. The gates decide as at inference, by the larger of two logits without Gumbel
noise. With the seeded weights 47 % of the gates are open, 9 of the 16 depending on the picture.

Layers: 53 convolutions, 69 norms and 33 dense layers, 103 MB; 282 operators and 104 MB in SoD2 (Table 5).
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers import pictures
from zoo.layers.gates import run_if
from zoo.layers.residual import Bottleneck, Norm, Stem, blocks


class Gate(nn.Module):
    """Whether the block after it runs."""

    @nn.compact
    def __call__(self, x):
        y = nn.relu(Norm()(nn.Dense(16)(jnp.mean(x, axis=(1, 2)))))
        closed, is_open = nn.Dense(2)(y)[0]
        return is_open > closed


class ConvNetAIG(nn.Module):
    stages: tuple[int, ...] = (3, 4, 6, 3)
    filters: int = 64
    classes: int = 1000

    @nn.compact
    def __call__(self, image):
        """image f32[1, h, w, 3] -> logits f32[1, classes]"""
        x = Stem(self.filters)(image)
        for block, shortcut in blocks(Bottleneck, self.stages, self.filters):
            x = run_if(Gate()(x), block, x, shortcut(x), closed=nn.relu)
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


def workload(small: bool = False) -> bench.Workload:
    model, seed = (ConvNetAIG(stages=(1, 2), filters=8, classes=10), 5) if small else (ConvNetAIG(), 0)
    return pictures.workload("ConvNet-AIG", model, small, operators=282, seed=seed)
