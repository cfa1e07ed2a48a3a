"""S3D (Xie et al., 2018) in Flax Linen, for videos of any length and resolution, in batches of any size.

Inception modules whose 3x3x3 convolutions are separated into one over space and one over time, as the stem's 7x7x7 is; 8.3M
parameters, of which DNNFusion counts 8.0M. The scores of all places are averaged. 78 layers are contractions here; DNNFusion
counts 77, of 272 in all.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.vision import ConvNorm, pixels
from zoo.layers.weights import random_weights

# Channels of a module's four branches: 1x1; 1x1 and 3x3; 1x1 and 3x3; pooling and 1x1.
Module = tuple[int, int, int, int, int, int]
STAGES: tuple[tuple[Module, ...], ...] = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


class Separable(nn.Module):
    """A convolution over space, then one over time."""

    features: int
    size: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        n, step = self.size, self.stride
        x = ConvNorm(self.features, (1, n, n), (1, step, step))(x)
        return ConvNorm(self.features, (n, 1, 1), (step, 1, 1))(x)


class Inception(nn.Module):
    channels: Module

    @nn.compact
    def __call__(self, x):
        one, reduce3, three, reduce_other3, other3, pooled = self.channels
        branches = [
            ConvNorm(one, (1, 1, 1))(x),
            Separable(three)(ConvNorm(reduce3, (1, 1, 1))(x)),
            Separable(other3)(ConvNorm(reduce_other3, (1, 1, 1))(x)),
            ConvNorm(pooled, (1, 1, 1))(nn.max_pool(x, (3, 3, 3), padding="SAME")),
        ]
        return jnp.concatenate(branches, axis=-1)


def pool(x, window: tuple[int, ...], strides: tuple[int, ...]):
    return nn.max_pool(x, window, strides=strides, padding="SAME")


class S3D(nn.Module):
    stem: tuple[int, int] = (64, 192)
    stages: tuple[tuple[Module, ...], ...] = STAGES
    classes: int = 400

    @nn.compact
    def __call__(self, video):
        """video f32[b, t, h, w, 3] -> logits f32[b, classes]"""
        x = Separable(self.stem[0], size=7, stride=2)(video)
        x = pool(x, (1, 3, 3), (1, 2, 2))
        x = Separable(self.stem[1])(ConvNorm(self.stem[0], (1, 1, 1))(x))
        x = pool(x, (1, 3, 3), (1, 2, 2))
        for stage, modules in enumerate(self.stages):
            if stage > 0:
                x = pool(x, (3, 3, 3) if stage == 1 else (2, 2, 2), (2, 2, 2))
            for channels in modules:
                x = Inception(channels)(x)
        return jnp.mean(nn.Conv(self.classes, (1, 1, 1))(x), axis=(1, 2, 3))


def workload(small: bool = False) -> bench.Workload:
    model = S3D((8, 12), (((4, 6, 8, 2, 4, 4),), ((6, 4, 8, 2, 4, 4),)), classes=10) if small else S3D()
    lengths, sizes = (range(4, 9), range(24, 48, 8)) if small else (range(16, 65, 4), range(112, 240, 16))
    return bench.Workload(
        name="S3D",
        fun=model.apply,
        params=lambda: random_weights(model, jax.ShapeDtypeStruct((1, 16, 64, 64, 3), jnp.float32)),
        inputs=lambda rng, b, t, h, w: (pixels(rng, b, t, h, w),),
        shapes=("b, t, h, w, 3",),
        constraints=("1 <= b <= 8", "1 <= t <= 256", "16 <= h <= 256", "16 <= w <= 256"),
        steady=[{"b": b, "t": lengths[i], "h": sizes[j], "w": sizes[j]} for b, i, j in ((1, 0, -1), (1, -1, 1), (2, 2, 0))],
        trace=bench.sample(4 if small else 12, b=1, t=lengths, h=sizes, w=sizes),
        layers={"DNNFusion Table 5": 272},
    )
