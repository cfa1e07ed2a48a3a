"""YOLOv4 in Flax Linen: Bochkovskiy, Wang and Liao, "YOLOv4: Optimal Speed and Accuracy of Object Detection", arXiv 2004.10934.

The CSPDarknet53 backbone with Mish, spatial pyramid pooling, the path aggregation network (PANet) as a neck, and three heads with
three anchors each, decoded. 64 million parameters.

Dynamic: the batch, height and width, multiples of 32. Boxes and class scores come for every anchor of every cell; non-maximum
suppression is left to the caller. 110 convolutions, 2,365 eqns (Mish alone takes many); DNNFusion counts 398 layers (Table 5).
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.darknet import conv_norm, mish, pool
from zoo.layers.detection import cells, detection_workload

Mish = partial(conv_norm, act=mish)
Leaky = partial(conv_norm, act=partial(nn.leaky_relu, negative_slope=0.1))


class Stage(nn.Module):
    """Halves height and width; one of two parallel branches has residual blocks (CSP). In the first stage, both are wider."""

    filters: int
    blocks: int
    first: bool = False

    @nn.compact
    def __call__(self, x):
        x = Mish(self.filters, 3, 2)(x)
        branch = self.filters if self.first else self.filters // 2
        around, x = Mish(branch)(x), Mish(branch)(x)
        for i in range(self.blocks):
            x = x + Mish(branch, 3, name=f"last_norm_{i}")(Mish(self.filters // 2)(x))
        return Mish(self.filters)(jnp.concatenate([Mish(branch)(x), around], axis=-1))


class Squeeze(nn.Module):
    """Convolutions of 1x1 and, with twice the filters, 3x3 in turn, from 1x1 to 1x1."""

    filters: int
    convolutions: int

    @nn.compact
    def __call__(self, x):
        for i in range(self.convolutions):
            x = Leaky(2 * self.filters, 3)(x) if i % 2 else Leaky(self.filters)(x)
        return x


class PyramidPool(nn.Module):
    filters: int

    @nn.compact
    def __call__(self, x):
        x = Squeeze(self.filters, 3)(x)
        x = jnp.concatenate([pool(x, 13), pool(x, 9), pool(x, 5), x], axis=-1)
        return Squeeze(self.filters, 3)(x)


class UpJoin(nn.Module):
    """Joins the finer feature map with the coarse one, enlarged to its size."""

    filters: int

    @nn.compact
    def __call__(self, coarse, fine):
        coarse, fine = Leaky(self.filters)(coarse), Leaky(self.filters)(fine)
        enlarged = jax.image.resize(coarse, fine.shape, "nearest")
        return Squeeze(self.filters, 5)(jnp.concatenate([fine, enlarged], axis=-1))


class DownJoin(nn.Module):
    """Joins the coarser feature map with the fine one, reduced to its size."""

    filters: int

    @nn.compact
    def __call__(self, fine, coarse):
        return Squeeze(self.filters, 5)(jnp.concatenate([Leaky(self.filters, 3, 2)(fine), coarse], axis=-1))


class Head(nn.Module):
    """For each anchor a box around a point in (or a little around) the cell, and class scores times objectness."""

    filters: int
    classes: int
    stride: int
    anchors: tuple[tuple[int, int], ...]  # widths and heights in pixels
    reach: float  # how far the point can go beyond the cell: by (reach - 1) / 2

    @nn.compact
    def __call__(self, x):
        batch, height, width, _ = x.shape
        x = nn.Conv(len(self.anchors) * (5 + self.classes), (1, 1))(Leaky(self.filters, 3)(x))
        x = x.reshape(batch, height * width, len(self.anchors), 5 + self.classes)
        inside = self.reach * nn.sigmoid(x[..., :2]) - (self.reach - 1) / 2
        middle = self.stride * (cells(height, width)[:, None] + inside)
        half = jnp.exp(x[..., 2:4]) * jnp.array(self.anchors, jnp.float32) / 2
        boxes = jnp.concatenate([middle - half, middle + half], axis=-1)
        scores = nn.sigmoid(x[..., 4:5]) * nn.sigmoid(x[..., 5:])
        return boxes.reshape(batch, -1, 4), scores.reshape(batch, -1, self.classes)


class YOLOv4(nn.Module):
    width: int = 32
    depths: tuple[int, ...] = (1, 2, 8, 8, 4)
    classes: int = 80
    anchors = (((12, 16), (19, 36), (40, 28)), ((36, 75), (76, 55), (72, 146)), ((142, 110), (192, 243), (459, 401)))
    reaches = (1.2, 1.1, 1.05)

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> boxes f32[b, n, 4] in corners, scores f32[b, n, classes]; n is 63 h w / 1024"""
        c = self.width
        x, features = Mish(c, 3)(image), []
        for i, depth in enumerate(self.depths):
            x = Stage(2 * c << i, depth, first=i == 0)(x)
            features.append(x)
        c3, c4, c5 = features[-3:]

        top = PyramidPool(16 * c)(c5)
        middle = UpJoin(8 * c)(top, c4)
        p3 = UpJoin(4 * c)(middle, c3)
        p4 = DownJoin(8 * c)(p3, middle)
        p5 = DownJoin(16 * c)(p4, top)

        heads = [Head(8 * c << i, self.classes, 8 << i, self.anchors[i], self.reaches[i]) for i in range(3)]
        boxes, scores = zip(*(head(p) for head, p in zip(heads, (p3, p4, p5), strict=True)), strict=True)
        return jnp.concatenate(boxes, axis=1), jnp.concatenate(scores, axis=1)


def workload(small: bool = False) -> bench.Workload:
    model = YOLOv4(width=4, depths=(1, 1, 1, 1, 1), classes=4) if small else YOLOv4()
    low, middle, high = (32, 64, 96) if small else (320, 416, 512)
    steady = ((low, low), (middle, middle), (low, high))
    return detection_workload("YOLOv4", model, small, (low, high), steady, layers={"DNNFusion Table 5": 398})
