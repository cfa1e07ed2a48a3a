"""ResNet-50 in Flax Linen; batch norms use their running statistics unless it trains. After Flax's own ImageNet example.

Dynamic: the batch, height and width.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import bench
from zoo.layers.vision import image_workload, noise
from zoo.layers.weights import random_weights

Conv = partial(nn.Conv, use_bias=False)


class Bottleneck(nn.Module):
    filters: int
    stride: int
    train: bool = False

    @nn.compact
    def __call__(self, x):
        strides = (self.stride, self.stride)
        Norm = partial(nn.BatchNorm, use_running_average=not self.train, momentum=0.9)
        y = nn.relu(Norm()(Conv(self.filters, (1, 1))(x)))
        y = nn.relu(Norm()(Conv(self.filters, (3, 3), strides)(y)))
        y = Norm(name="last_norm")(Conv(4 * self.filters, (1, 1))(y))
        if x.shape != y.shape:  # an ordinary Python decision on sizes: symbolic ones decide it too
            x = Norm()(Conv(4 * self.filters, (1, 1), strides)(x))
        return nn.relu(x + y)


def features(image, stages: tuple[int, ...], filters: int, train: bool = False):
    """image f32[b, h, w, 3] -> the maps after each stage, with strides 4, 8, ...; for the compact method of a module"""
    x = Conv(filters, (7, 7), (2, 2), padding=3)(image)
    x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
    x, maps = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME"), []
    for stage, blocks in enumerate(stages):
        for block in range(blocks):
            x = Bottleneck(filters << stage, stride=2 if stage > 0 and block == 0 else 1, train=train)(x)
        maps.append(x)
    return maps


class ResNet(nn.Module):
    stages: tuple[int, ...] = (3, 4, 6, 3)
    filters: int = 64
    classes: int = 1000
    train: bool = False

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> logits f32[b, classes]"""
        x = features(image, self.stages, self.filters, self.train)[-1]
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


def make(small: bool = False, train: bool = False) -> ResNet:
    return ResNet(stages=(1, 1), filters=8, classes=10, train=train) if small else ResNet(train=train)


def build(small: bool = False, train: bool = False):
    """(model, its seeded random parameters and statistics). `small` is for tests."""
    model = make(small, train)
    return model, random_weights(model, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A random picture, f32[1, height, width, 3]."""
    return np.random.default_rng((seed, height, width)).standard_normal((1, height, width, 3), dtype=np.float32)


def workload(small: bool = False) -> bench.Workload:
    model = make(small)
    sizes = (32, 40, 48, 64) if small else (128, 160, 192, 224, 256, 288, 320)
    return image_workload(
        "ResNet-50",
        model,
        images=noise,
        constraints=("1 <= b <= 8", "32 <= h <= 320", "32 <= w <= 320"),
        steady=[(1, sizes[1], sizes[1]), (1, sizes[-1], sizes[-1]), (2, sizes[-2], sizes[0])],
        trace=bench.sample(4 if small else 12, b=1, h=sizes, w=sizes),
    )
