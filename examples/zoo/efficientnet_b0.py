"""EfficientNet-B0 (Tan and Le, 2019) in Flax Linen, for images of any size and batches of any size.

A stem, 16 inverted bottlenecks (MBConv: expand, depthwise, squeeze-and-excite, project) with swish, a head of 1,280 channels;
5.3M parameters. Here as in DNNFusion's count 82 layers are contractions (49 convolutions, 32 dense layers in squeeze-and-excites,
the classifier), of 309 in all there.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.vision import ConvNorm, DepthwiseNorm, SqueezeExcite, image_workload


class Stage(NamedTuple):
    blocks: int
    features: int
    expand: int
    kernel: int
    stride: int


B0 = (
    Stage(1, 16, expand=1, kernel=3, stride=1),
    Stage(2, 24, expand=6, kernel=3, stride=2),
    Stage(2, 40, expand=6, kernel=5, stride=2),
    Stage(3, 80, expand=6, kernel=3, stride=2),
    Stage(3, 112, expand=6, kernel=5, stride=1),
    Stage(4, 192, expand=6, kernel=5, stride=2),
    Stage(1, 320, expand=6, kernel=3, stride=1),
)


class MBConv(nn.Module):
    features: int
    expand: int
    kernel: int
    stride: int

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        y = x
        if self.expand > 1:
            y = ConvNorm(self.expand * width, (1, 1), act=nn.swish)(y)
        y = DepthwiseNorm((self.kernel, self.kernel), self.stride, act=nn.swish)(y)
        y = SqueezeExcite(width // 4, act=nn.swish)(y)
        y = ConvNorm(self.features, (1, 1), act=None)(y)
        return x + y if self.stride == 1 and self.features == width else y


class EfficientNet(nn.Module):
    stages: tuple[Stage, ...] = B0
    stem: int = 32
    head: int = 1280
    classes: int = 1000

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> logits f32[b, classes]"""
        x = ConvNorm(self.stem, strides=2, act=nn.swish)(image)
        for blocks, features, expand, kernel, stride in self.stages:
            for block in range(blocks):
                x = MBConv(features, expand, kernel, stride if block == 0 else 1)(x)
        x = ConvNorm(self.head, (1, 1), act=nn.swish)(x)
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


def workload(small: bool = False) -> bench.Workload:
    tiny = (Stage(1, 8, 1, 3, 1), Stage(2, 12, 6, 5, 2))
    model = EfficientNet(tiny, stem=8, head=32, classes=10) if small else EfficientNet()
    sizes = range(32, 72, 8) if small else range(128, 352, 32)
    return image_workload(
        "EfficientNet-B0",
        model,
        constraints=("1 <= b <= 8", "32 <= h <= 512", "32 <= w <= 512"),
        steady=[(1, sizes[-4], sizes[-4]), (1, sizes[-1], sizes[-2]), (4, sizes[0], sizes[1])],
        trace=bench.sample(4 if small else 16, b=1, h=sizes, w=sizes),
        layers={"DNNFusion Table 5": 309},
    )
