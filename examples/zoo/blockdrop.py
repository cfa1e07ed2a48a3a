"""BlockDrop (Wu et al., CVPR 2018) in Flax Linen: a ResNet-101, and a policy network, a ResNet-10 on the picture at half the
resolution, that decides at once which of the 33 blocks are kept.

Dynamic: height and width, and the blocks that run. With the seeded weights 52 % of them are kept, 19 depending on the picture.

Layers: 116 convolutions with norms and 2 dense layers, 198 MB, of which the policy has 12 and 19 MB; 439 operators and 179 MB in
SoD2 (Table 5).
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers import pictures
from zoo.layers.gates import run_if
from zoo.layers.residual import Basic, Bottleneck, Stem, blocks


class Policy(nn.Module):
    """Which blocks are kept: bool[blocks]. Its own blocks always run."""

    blocks: int
    filters: int
    stages: tuple[int, ...]

    @nn.compact
    def __call__(self, image):
        x = Stem(self.filters)(nn.avg_pool(image, (2, 2), (2, 2)))
        for block, shortcut in blocks(Basic, self.stages, self.filters):
            x = block(x, shortcut(x))
        return nn.sigmoid(nn.Dense(self.blocks)(jnp.mean(x, axis=(1, 2))))[0] >= 0.5


class BlockDrop(nn.Module):
    stages: tuple[int, ...] = (3, 4, 23, 3)
    filters: int = 64
    classes: int = 1000

    @nn.compact
    def __call__(self, image):
        """image f32[1, h, w, 3] -> logits f32[1, classes]"""
        keep = Policy(sum(self.stages), self.filters, stages=(1,) * len(self.stages))(image)
        x = Stem(self.filters)(image)
        for number, (block, shortcut) in enumerate(blocks(Bottleneck, self.stages, self.filters)):
            x = run_if(keep[number], block, x, shortcut(x))
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


def workload(small: bool = False) -> bench.Workload:
    model, seed = (BlockDrop(stages=(1, 2), filters=8, classes=10), 7) if small else (BlockDrop(), 3)
    return pictures.workload("BlockDrop", model, small, operators=439, seed=seed)
