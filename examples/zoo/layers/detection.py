"""What detectors share. Boxes are corners (x1, y1, x2, y2) in pixels; feature maps may have any size.

* `cells`, `anchors`: places and boxes laid over a feature map.
* `decode`, `clip`, `roi_align`: boxes as a head moves them, inside the image, and the features in them.
* `detection_workload`: images in steps of 32 pixels, as networks with a stride of 32 read them.
* `FeaturePyramid`, `ProposalNetwork`, `BoxHead`: the stages of Faster and Mask R-CNN, shaped like those of torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import bench
from zoo.layers.vision import image_workload, noise
from zoo.layers.weights import random_weights
from zoo.resnet import features


def cells(height, width):
    """(column, row) of each cell of a feature map, row by row: f32[height * width, 2]."""
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    return jnp.stack([x, y], axis=-1).reshape(-1, 2).astype(jnp.float32)


def anchors(height, width, stride: int, size: int, ratios=(0.5, 1, 2)):
    """Boxes of the area size x size at each cell, one for each ratio of height to width: f32[height * width * ratios, 4]."""
    root = np.sqrt(np.array(ratios, np.float32))
    half = size / 2 * np.stack([1 / root, root], axis=-1)
    middle = stride * cells(height, width)[:, None]
    return jnp.concatenate([middle - half, middle + half], axis=-1).reshape(-1, 4)


def decode(deltas, boxes, variances=(1.0, 1.0)):
    """`boxes`, moved by the first half of `deltas` (in widths and heights) and scaled by the exponential of the second half."""
    size = boxes[..., 2:] - boxes[..., :2]
    middle = boxes[..., :2] + size / 2 + variances[0] * deltas[..., :2] * size
    half = jnp.exp(jnp.minimum(variances[1] * deltas[..., 2:], np.log(1000 / 16))) * size / 2
    return jnp.concatenate([middle - half, middle + half], axis=-1)


def clip(boxes, height, width):
    """What of the boxes is inside the image."""
    return jnp.clip(boxes, 0, jnp.array([width, height, width, height], jnp.float32))


def roi_align(pyramid, boxes, size: int, samples: int = 2):
    """The features in boxes f32[n, 4]: f32[n, size, size, c]. `pyramid` is maps f32[h, w, c] with strides 4, 8, 16, 32.

    Each box reads the map that suits its area. A result is the mean of `samples` x `samples` points, interpolated bilinearly.
    """
    area = jnp.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    level = jnp.clip(jnp.floor(4 + jnp.log2(jnp.sqrt(area) / 224 + 1e-6)), 2, 5).astype(jnp.int32) - 2
    start = boxes[:, :2] / (4 << level)[:, None]
    extent = jnp.maximum(boxes[:, 2:] / (4 << level)[:, None] - start, 1)
    steps = (jnp.arange(size * samples) + 0.5) / (size * samples)

    def along(axis, limits):
        """For each box and point: the cells before and after it, with their weights."""
        limit = limits[level][:, None] - 1
        at = jnp.clip(start[:, axis, None] + steps * extent[:, axis, None], 0, limit)
        before = jnp.floor(at).astype(jnp.int32)
        return (before, 1 - (at - before)), (jnp.minimum(before + 1, limit), at - before)

    heights, widths = (jnp.array([x.shape[axis] for x in pyramid]) for axis in (0, 1))
    first = jnp.cumulative_sum(heights * widths, include_initial=True)[level][:, None, None]
    features = jnp.concatenate([x.reshape(-1, x.shape[-1]) for x in pyramid])
    points = 0
    for row, row_weight in along(1, heights):
        for column, column_weight in along(0, widths):
            index = first + row[:, :, None] * widths[level][:, None, None] + column[:, None, :]
            points += (row_weight[:, :, None] * column_weight[:, None, :])[..., None] * features[index]
    return points.reshape(-1, size, samples, size, samples, features.shape[-1]).mean(axis=(2, 4))


def detection_workload(
    name: str, model: nn.Module, small: bool, limits: tuple[int, int], steady: Sequence[tuple[int, int]], **others
) -> bench.Workload:
    """Of images whose sides are multiples of 32 within `limits`. `steady` is (h, w) of single images; `others` are fields of
    Workload as they are."""
    low, high = limits
    sizes = range(low, high + 1, 32)
    return image_workload(
        name,
        model,
        images=noise,
        constraints=("1 <= b <= 8", "h % 32 == 0", "w % 32 == 0", f"{low} <= h <= {high}", f"{low} <= w <= {high}"),
        steady=[(1, h, w) for h, w in steady],
        trace=bench.sample(4 if small else 12, b=1, h=sizes, w=sizes),
        **others,
    )


class FeaturePyramid(nn.Module):
    """ResNet and the top-down path that gives the maps of all its stages the same number of channels."""

    stages: tuple[int, ...] = (3, 4, 6, 3)
    filters: int = 64
    channels: int = 256

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> five maps f32[b, h / stride, w / stride, channels]; the strides are 4, 8, 16, 32, 64"""
        pyramid, top = [], None
        for x in reversed(features(image, self.stages, self.filters)):
            x = nn.Conv(self.channels, (1, 1))(x)
            top = x if top is None else x + jax.image.resize(top, x.shape, "nearest")
            pyramid.insert(0, nn.Conv(self.channels, (3, 3))(top))
        return [*pyramid, pyramid[-1][:, ::2, ::2]]


class ProposalNetwork(nn.Module):
    """The boxes that look most like an object, always the same number of them."""

    proposals: int = 300

    @nn.compact
    def __call__(self, pyramid, height, width):
        """maps of a FeaturePyramid -> boxes f32[b, proposals, 4]"""
        hidden = nn.Conv(pyramid[0].shape[-1], (3, 3))
        objectness, deltas = nn.Conv(3, (1, 1), name="objectness"), nn.Conv(3 * 4, (1, 1), name="deltas")
        scores, boxes = [], []
        for level, x in enumerate(pyramid):
            batch, rows, columns, _ = x.shape
            x = nn.relu(hidden(x))
            scores.append(objectness(x).reshape(batch, -1))
            boxes.append(decode(deltas(x).reshape(batch, -1, 4), anchors(rows, columns, 4 << level, 32 << level)))
        _, best = jax.lax.top_k(jnp.concatenate(scores, axis=1), self.proposals)
        boxes = jnp.take_along_axis(jnp.concatenate(boxes, axis=1), best[..., None], axis=1)
        return clip(boxes, height, width)


class BoxHead(nn.Module):
    """Classes and refined boxes of proposals, of which the best are detections."""

    classes: int = 91  # the first is the background
    hidden: int = 1024
    detections: int = 100

    @nn.compact
    def __call__(self, pyramid, proposals, height, width):
        """-> boxes f32[b, detections, 4], scores f32[b, detections], labels i32[b, detections], by falling score"""
        x = jax.vmap(lambda maps, boxes: roi_align(maps, boxes, 7))(pyramid[:4], proposals)
        batch, count = x.shape[:2]
        x = x.reshape(batch, count, -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(self.hidden)(x))
        scores = nn.softmax(nn.Dense(self.classes, name="classes")(x))[..., 1:]
        deltas = nn.Dense(self.classes * 4, name="deltas")(x).reshape(batch, count, self.classes, 4)[:, :, 1:]

        scores, best = jax.lax.top_k(scores.reshape(batch, -1), self.detections)
        boxes = decode(deltas, proposals[:, :, None], variances=(0.1, 0.2)).reshape(batch, -1, 4)
        boxes = jnp.take_along_axis(boxes, best[..., None], axis=1)
        return clip(boxes, height, width), scores, best % (self.classes - 1) + 1


def detector_weights(model, image):
    """Seeded random ones that move boxes a little, as trained ones do: otherwise most would be clipped to the whole image."""

    def calm(path, leaf):
        return 0.1 * leaf if "'deltas'" in jax.tree_util.keystr(path) else leaf

    return jax.tree_util.tree_map_with_path(calm, random_weights(model, image))
