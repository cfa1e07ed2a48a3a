"""MobileNetV1-SSD (Howard et al., 2017; Liu et al., 2016) in Flax Linen, for images and batches of any size.

A backbone of depthwise separable convolutions, four extra feature layers, and heads on six feature maps that give each cell's six
anchors a box and the scores of 21 classes. Suppression of overlapping boxes is left to the caller. 9.5M parameters, as DNNFusion
has it, with 202 layers; 47 are contractions here: 27 in the backbone, 8 in the extra layers, 12 heads.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sod2jax import bench
from zoo.layers.detection import cells
from zoo.layers.vision import ConvNorm, DepthwiseNorm, image_workload

# Features and stride of each depthwise separable convolution. The first feature map is what one of stride 16 ends with.
TO_FIRST_MAP = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5)
TO_SECOND_MAP = ((1024, 2), (1024, 1))
EXTRAS = ((256, 512), (128, 256), (128, 256), (128, 256))  # channels of the 1x1 convolution, of the 3x3 one of stride 2

# Anchors of each feature map as parts of the image: its own size, and that of the next map.
SIZES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.1)
RATIOS = (2.0, 3.0)
CENTER_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


class Separable(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        return ConvNorm(self.features, (1, 1))(DepthwiseNorm(strides=self.stride)(x))


def anchors(height, width, size: float, larger: float):
    """(centers f32[height * width, 1, 2], sizes f32[6, 2]) as parts of the image: two squares, and two ratios both ways."""
    centers = (cells(height, width) + 0.5) / jnp.array([width, height], jnp.float32)
    square, wide = np.array([1.0, 1.0]), [np.array([r**0.5, r**-0.5]) for r in RATIOS]
    sizes = [size * square, (size * larger) ** 0.5 * square, *(size * s for pair in wide for s in (pair, pair[::-1]))]
    return centers[:, None, :], np.stack(sizes).astype(np.float32)


def decode(offsets, centers, sizes):
    """Offsets f32[b, cells, anchors, 4] from anchors -> corners (x1, y1, x2, y2) of boxes, clipped to the image."""
    middle = centers + CENTER_VARIANCE * offsets[..., :2] * sizes
    half = sizes * jnp.exp(SIZE_VARIANCE * offsets[..., 2:]) / 2
    return jnp.clip(jnp.concatenate([middle - half, middle + half], axis=-1), 0, 1)


class Head(nn.Module):
    """The boxes and classes that the cells of one feature map see."""

    classes: int
    size: float
    larger: float

    @nn.compact
    def __call__(self, x):
        """x f32[b, h, w, channels] -> boxes f32[b, h * w * anchors, 4], logits f32[b, h * w * anchors, classes]"""
        b, h, w, _ = x.shape
        centers, sizes = anchors(h, w, self.size, self.larger)
        n = len(sizes)
        offsets = nn.Conv(4 * n, (3, 3), name="boxes")(x).reshape(b, h * w, n, 4)
        logits = nn.Conv(self.classes * n, (3, 3), name="classes")(x)
        return decode(offsets, centers, sizes).reshape(b, -1, 4), logits.reshape(b, -1, self.classes)


class MobileNetV1SSD(nn.Module):
    stem: int = 32
    to_first_map: tuple[tuple[int, int], ...] = TO_FIRST_MAP
    to_second_map: tuple[tuple[int, int], ...] = TO_SECOND_MAP
    extras: tuple[tuple[int, int], ...] = EXTRAS
    classes: int = 21

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> boxes f32[b, n, 4] as parts of the image, scores f32[b, n, classes]"""
        x = ConvNorm(self.stem, strides=2)(image)
        maps = []
        for blocks in (self.to_first_map, self.to_second_map):
            for features, stride in blocks:
                x = Separable(features, stride)(x)
            maps.append(x)
        for reduced, features in self.extras:
            x = nn.relu(nn.Conv(reduced, (1, 1))(x))
            x = nn.relu(nn.Conv(features, (3, 3), 2)(x))
            maps.append(x)
        found = [Head(self.classes, *SIZES[i : i + 2])(x) for i, x in enumerate(maps)]
        boxes, logits = (jnp.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        return boxes, nn.softmax(logits)


def workload(small: bool = False) -> bench.Workload:
    tiny = MobileNetV1SSD(8, ((16, 2),), ((24, 2),), ((8, 16),), classes=5)
    model = tiny if small else MobileNetV1SSD()
    sizes = range(40, 76, 4) if small else range(160, 516, 4)
    return image_workload(
        "MobileNetV1-SSD",
        model,
        constraints=("1 <= b <= 8", "32 <= h <= 640", "32 <= w <= 640"),
        steady=[(1, sizes[5], sizes[5]), (1, sizes[-8], sizes[-1]), (4, sizes[0], sizes[1])],
        trace=bench.sample(4 if small else 16, b=1, h=sizes, w=sizes),
        layers={"DNNFusion Table 5": 202},
    )
