"""VGG-16 (Simonyan and Zisserman, 2015) in Flax Linen, for images of any size from 224x224 up and batches of any size.

The dense layers are convolutions, the first 7x7, as in the paper's dense evaluation of whole images; the scores of all places are
averaged. 138M parameters. Here as in DNNFusion's count 16 layers are contractions, of 51 in all there.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.vision import image_workload


class VGG(nn.Module):
    stages: tuple[tuple[int, int], ...] = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # (convolutions, channels)
    hidden: int = 4096
    classes: int = 1000

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> logits f32[b, classes]"""
        x = image
        for convolutions, features in self.stages:
            for _ in range(convolutions):
                x = nn.relu(nn.Conv(features, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.relu(nn.Conv(self.hidden, (7, 7), padding="VALID")(x))
        x = nn.relu(nn.Conv(self.hidden, (1, 1))(x))
        return jnp.mean(nn.Conv(self.classes, (1, 1))(x), axis=(1, 2))


def workload(small: bool = False) -> bench.Workload:
    model = VGG(((1, 8), (2, 16)), hidden=32, classes=10) if small else VGG()
    smallest = 7 << len(model.stages)
    sizes = range(smallest, 60, 4) if small else range(smallest, 416, 32)
    return image_workload(
        "VGG-16",
        model,
        constraints=("1 <= b <= 8", f"{smallest} <= h <= 512", f"{smallest} <= w <= 512"),
        steady=[(1, sizes[0], sizes[0]), (1, sizes[1], sizes[3]), (2, sizes[0], sizes[2])],
        trace=bench.sample(4 if small else 12, b=1, h=sizes, w=sizes),
        layers={"DNNFusion Table 5": 51},
    )
