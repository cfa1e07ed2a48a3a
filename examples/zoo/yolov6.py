"""YOLOv6-S (v3.0) in Flax Linen, as deployed: each RepVGG block is one 3x3 convolution with a bias.

Li et al., "YOLOv6 v3.0: A Full-Scale Reloading", arXiv 2301.05586: the EfficientRep backbone with a pyramid pooling of three max
pools in a row, the Rep-PAN neck whose BiFusion joins three neighbouring resolutions, and a decoupled head without anchors.
18.5 million parameters.

Dynamic: the batch, height and width, multiples of 32. Boxes and class scores come for every cell of three resolutions;
non-maximum suppression is left to the caller, as in the exported original.

71 convolutions, 577 eqns; SoD2 counts 599 layers (Table 5).
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.darknet import conv_norm, pool
from zoo.layers.detection import cells, detection_workload

SiLU = partial(conv_norm, act=nn.silu)


class RepBlock(nn.Module):
    """RepVGG blocks in a row, in their deployed form."""

    filters: int
    blocks: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        for i in range(self.blocks):
            strides = (self.stride, self.stride) if i == 0 else (1, 1)
            x = nn.relu(nn.Conv(self.filters, (3, 3), strides, padding=1)(x))
        return x


class PyramidPool(nn.Module):
    """SimCSPSPPF: the three pools in a row see 5, 9 and 13 cells; half of the channels goes around them."""

    filters: int

    @nn.compact
    def __call__(self, x):
        half = self.filters // 2
        around = conv_norm(half)(x)
        x = conv_norm(half)(conv_norm(half, 3)(conv_norm(half)(x)))
        pools = [x]
        for _ in range(3):
            pools.append(pool(pools[-1], 5))
        x = conv_norm(half, 3)(conv_norm(half)(jnp.concatenate(pools, axis=-1)))
        return conv_norm(self.filters)(jnp.concatenate([around, x], axis=-1))


class BiFusion(nn.Module):
    """Joins a feature map with the coarser one, upsampled by a deconvolution, and the finer one, downsampled."""

    filters: int

    @nn.compact
    def __call__(self, coarse, here, fine):
        up = nn.ConvTranspose(self.filters, (2, 2), (2, 2), padding="VALID")(coarse)
        down = conv_norm(self.filters, 3, 2)(conv_norm(self.filters)(fine))
        return conv_norm(self.filters)(jnp.concatenate([up, conv_norm(self.filters)(here), down], axis=-1))


class Head(nn.Module):
    """A branch for the classes and one for the boxes; the four distances from the cell's middle are in cells."""

    classes: int
    stride: int

    @nn.compact
    def __call__(self, x):
        batch, height, width, channels = x.shape
        x = SiLU(channels)(x)
        scores = nn.Conv(self.classes, (1, 1), name="classes")(SiLU(channels, 3)(x))
        sides = nn.Conv(4, (1, 1), name="sides")(SiLU(channels, 3)(x)).reshape(batch, height * width, 4)
        middle = cells(height, width) + 0.5
        corners = jnp.concatenate([middle - sides[..., :2], middle + sides[..., 2:]], axis=-1)
        return self.stride * corners, nn.sigmoid(scores).reshape(batch, height * width, self.classes)


class YOLOv6(nn.Module):
    width: int = 32
    depths: tuple[int, ...] = (2, 4, 6, 2)
    neck: int = 4
    classes: int = 80

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> boxes f32[b, n, 4] in corners, scores f32[b, n, classes]; n is 21 h w / 1024"""
        c = self.width
        x, features = RepBlock(c, stride=2)(image), []
        for stage, depth in enumerate(self.depths, 1):
            x = RepBlock(c << stage, depth)(RepBlock(c << stage, stride=2)(x))
            features.append(x)
        c2, c3, c4, x = features

        top = conv_norm(4 * c)(PyramidPool(16 * c)(x))
        x = RepBlock(4 * c, self.neck)(BiFusion(4 * c)(top, c4, c3))
        middle = conv_norm(2 * c)(x)
        p3 = RepBlock(2 * c, self.neck)(BiFusion(2 * c)(middle, c3, c2))
        p4 = RepBlock(4 * c, self.neck)(jnp.concatenate([conv_norm(2 * c, 3, 2)(p3), middle], axis=-1))
        p5 = RepBlock(8 * c, self.neck)(jnp.concatenate([conv_norm(4 * c, 3, 2)(p4), top], axis=-1))

        boxes, scores = zip(*(Head(self.classes, 8 << i)(p) for i, p in enumerate((p3, p4, p5))), strict=True)
        return jnp.concatenate(boxes, axis=1), jnp.concatenate(scores, axis=1)


def workload(small: bool = False) -> bench.Workload:
    model = YOLOv6(width=8, depths=(1, 1, 2, 1), neck=1, classes=4) if small else YOLOv6()
    low, high = (32, 128) if small else (320, 640)
    steady = ((low, low), (high // 2, high), (high, high))
    return detection_workload("YOLOv6", model, small, (low, high), steady, layers={"SoD2 Table 5": 599})
