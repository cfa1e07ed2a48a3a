"""U-Net (Ronneberger et al., 2015) in Flax Linen: a class for each pixel, for batches and images (in steps of 16) of any size.

Four steps down with pooling, four up with transposed convolutions, each with a skip connection; two 3x3 convolutions with batch
norm on each level. With the original's 64 to 1,024 channels it has 31M parameters; DNNFusion measures one of 2.1M parameters and
15 GFLOPs (44 of its 292 layers are contractions): 16 to 256 channels come next to that, with 1.9M, 14 GFLOPs at 512x512 pixels,
and 23 contractions.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.vision import ConvNorm, image_workload


class Level(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        return ConvNorm(self.features)(ConvNorm(self.features)(x))


class UNet(nn.Module):
    width: int = 16
    steps: int = 4
    classes: int = 2

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> logits f32[b, h, w, classes]; h and w are multiples of 2**steps"""
        x, skips = image, []
        for step in range(self.steps):
            x = Level(self.width << step)(x)
            skips.append(x)
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = Level(self.width << self.steps)(x)
        for step in reversed(range(self.steps)):
            x = nn.ConvTranspose(self.width << step, (2, 2), strides=(2, 2))(x)
            x = Level(self.width << step)(jnp.concatenate([skips[step], x], axis=-1))
        return nn.Conv(self.classes, (1, 1))(x)


def workload(small: bool = False) -> bench.Workload:
    model = UNet(width=8, steps=2) if small else UNet()
    step = 2**model.steps
    sizes = range(16, 52, step) if small else range(192, 528, step)
    return image_workload(
        "U-Net",
        model,
        constraints=("1 <= b <= 8", f"{step} <= h <= 1024", f"{step} <= w <= 1024", f"h % {step} == 0", f"w % {step} == 0"),
        steady=[(1, sizes[4], sizes[4]), (1, sizes[-5], sizes[-1]), (4, sizes[0], sizes[1])],
        trace=bench.sample(4 if small else 16, b=1, h=sizes, w=sizes),
        layers={"DNNFusion Table 5": 292},
    )
