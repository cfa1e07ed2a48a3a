"""Segment Anything in Flax Linen (SAM ViT-B; Kirillov et al., 2023, arXiv 2304.02643): two workloads, as it is deployed.

* Image encoder, run once for an image: 12 transformer layers of width 768 over patches of 16x16, with attention within windows of
  14x14 patches (padded to whole windows) but over all patches in every third layer, decomposed relative positions, and a
  convolutional neck of 256 channels.
* Mask decoder, run at every click: an encoder of points (random Fourier features) and of an earlier mask, two two-way transformer
  layers between prompts and image, upscaling by transposed convolutions, and MLPs that make a linear classifier of each mask
  token.

Dynamic: the image's height and width (multiples of 16, up to 1024, where the original pads to 1024x1024), how many objects are
asked for at once, and how many points are given for each. SoD2 counts 857 layers and 17 MB: the mask decoder with its prompt
encoder is 16 MB, and is the part that SAM exports to ONNX with a dynamic number of points, so it has that count.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sod2jax import bench
from zoo.layers.attention import Attention, GridAttention
from zoo.layers.transformer import gelu
from zoo.layers.vision import image_workload, noise
from zoo.layers.weights import random_weights

PATCH = 16


# -- image encoder


def windows(x, side: int):
    """f32[b, h, w, c] -> f32[b * number of windows, side, side, c], padded below and to the right."""
    b, h, w, c = x.shape
    rows, columns = -(-h // side), -(-w // side)
    x = jnp.pad(x, ((0, 0), (0, rows * side - h), (0, columns * side - w), (0, 0)))
    x = x.reshape(b, rows, side, columns, side, c).swapaxes(2, 3)
    return x.reshape(b * rows * columns, side, side, c)


def whole(x, shape):
    """Undoes `windows` of an array of `shape`."""
    b, h, w, c = shape
    side = x.shape[1]
    rows, columns = -(-h // side), -(-w // side)
    x = x.reshape(b, rows, columns, side, side, c).swapaxes(2, 3)
    return x.reshape(b, rows * side, columns * side, c)[:, :h, :w]


class ImageBlock(nn.Module):
    heads: int
    longest: int
    window: int | None  # None: attention over the whole image

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm()(x)
        if self.window:
            y = whole(GridAttention(self.heads, self.window)(windows(y, self.window)), y.shape)
        else:
            y = GridAttention(self.heads, self.longest)(y)
        x = x + y
        y = gelu(nn.Dense(4 * x.shape[-1])(nn.LayerNorm()(x)))
        return x + nn.Dense(x.shape[-1])(y)


class ImageEncoder(nn.Module):
    layers: int = 12
    width: int = 768
    heads: int = 12
    window: int = 14
    longest: int = 64  # patches along a side
    channels: int = 256

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> f32[b, h/16, w/16, channels]"""
        x = nn.Conv(self.width, (PATCH, PATCH), strides=PATCH, padding="VALID")(image)
        positions = self.param("positions", nn.initializers.normal(0.02), (self.longest, self.longest, self.width))
        x = x + positions[: x.shape[1], : x.shape[2]]
        for layer in range(self.layers):
            x = ImageBlock(self.heads, self.longest, None if layer % 3 == 2 else self.window)(x)
        x = nn.LayerNorm()(nn.Conv(self.channels, (1, 1), use_bias=False)(x))
        return nn.LayerNorm()(nn.Conv(self.channels, (3, 3), use_bias=False)(x))


# -- mask decoder


class Positions(nn.Module):
    """Random Fourier features of points (x, y), each from 0 to 1."""

    width: int

    @nn.compact
    def __call__(self, points):
        angles = 2 * jnp.pi * nn.Dense(self.width // 2, use_bias=False)(2 * points - 1)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class MaskEncoder(nn.Module):
    """An earlier mask, at four times the resolution of the image's embedding."""

    width: int

    @nn.compact
    def __call__(self, mask):
        x = mask[..., None]
        for channels in (self.width // 64, self.width // 16):
            x = gelu(nn.LayerNorm()(nn.Conv(channels, (2, 2), strides=2)(x)))
        return nn.Conv(self.width, (1, 1))(x)


class TwoWayBlock(nn.Module):
    """Prompt tokens attend to each other and to the image, then the image to the tokens; positions are added anew every time."""

    heads: int
    first: bool

    @nn.compact
    def __call__(self, tokens, token_positions, image, image_positions):
        width = tokens.shape[-1]
        Cross = partial(Attention, self.heads, width // 2)
        if self.first:
            tokens = Attention(self.heads, width)(tokens, tokens, tokens)
        else:
            q = tokens + token_positions
            tokens = tokens + Attention(self.heads, width)(q, q, tokens)
        tokens = nn.LayerNorm()(tokens)
        tokens = nn.LayerNorm()(tokens + Cross()(tokens + token_positions, image + image_positions, image))
        tokens = nn.LayerNorm()(tokens + nn.Dense(width)(nn.relu(nn.Dense(8 * width)(tokens))))
        image = nn.LayerNorm()(image + Cross()(image + image_positions, tokens + token_positions, tokens))
        return tokens, image


class MLP(nn.Module):
    hidden: int
    out: int

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.relu(nn.Dense(self.hidden)(x))
        return nn.Dense(self.out)(x)


class MaskDecoder(nn.Module):
    width: int = 256
    heads: int = 8
    masks: int = 4

    @nn.compact
    def __call__(self, embedding, points, labels, mask, has_mask):
        """embedding  f32[1, h, w, width], of the image
        points     f32[p, n, 2], for each of p objects n points (x, y) in pixels
        labels     i32[p, n]: 0 background, 1 foreground, 2 and 3 the corners of a box, -1 no point
        mask       f32[p, 4h, 4w], logits of an earlier mask, if `has_mask`, f32[p], is 1
        -> logits of masks f32[p, 4h, 4w, masks], their estimated quality f32[p, masks]"""
        _, h, w, width = embedding.shape
        p, _ = labels.shape
        table = lambda name, count: self.param(name, nn.initializers.normal(1.0), (count, width))
        positions = Positions(width)

        # Prompts: without a box, a point that is none stands in for one.
        points = jnp.concatenate([points + 0.5, jnp.zeros((p, 1, 2))], axis=1) / (PATCH * jnp.array([w, h]))
        labels = jnp.concatenate([labels, jnp.full((p, 1), -1)], axis=1)
        kinds = table("kinds", 5)  # of points: row 0 for those that are none
        prompts = jnp.where(labels[..., None] < 0, 0, positions(points)) + kinds[labels + 1]
        own = jnp.concatenate([table("quality_token", 1), table("mask_tokens", self.masks)])
        tokens = jnp.concatenate([jnp.broadcast_to(own, (p, 1 + self.masks, width)), prompts], axis=1)

        # The image, with the earlier mask or what stands for none.
        dense = jnp.where(has_mask[:, None, None, None] > 0, MaskEncoder(width)(mask), table("no_mask", 1)[0])
        image = (embedding + dense).reshape(p, h * w, width)
        x, y = jnp.meshgrid((jnp.arange(w) + 0.5) / w, (jnp.arange(h) + 0.5) / h)
        image_positions = positions(jnp.stack([x, y], axis=-1)).reshape(h * w, width)

        token_positions = tokens
        for layer in range(2):
            tokens, image = TwoWayBlock(self.heads, first=layer == 0)(tokens, token_positions, image, image_positions)
        attend = Attention(self.heads, width // 2)
        tokens = nn.LayerNorm()(tokens + attend(tokens + token_positions, image + image_positions, image))

        # Each mask token becomes a linear classifier of the upscaled image's pixels.
        x = image.reshape(p, h, w, width)
        x = gelu(nn.LayerNorm()(nn.ConvTranspose(width // 4, (2, 2), strides=(2, 2))(x)))
        x = gelu(nn.ConvTranspose(width // 8, (2, 2), strides=(2, 2))(x))
        classifiers = jnp.stack([MLP(width, width // 8)(tokens[:, 1 + i]) for i in range(self.masks)], axis=-1)
        return jnp.einsum("phwc,pcm->phwm", x, classifiers), MLP(width, self.masks)(tokens[:, 0])


# -- workloads


def workload(small: bool = False) -> list[bench.Workload]:
    image_encoder = ImageEncoder(layers=3, width=48, heads=3, window=4, longest=16, channels=32) if small else ImageEncoder()
    mask_decoder = MaskDecoder(width=64, heads=4) if small else MaskDecoder()
    sides = (32, 48, 96, 112) if small else (256, 320, 384, 448, 512)
    image = image_workload(
        "Segment Anything image encoder",
        image_encoder,
        images=noise,
        constraints=(
            "1 <= b <= 4",
            *(f"{PATCH} <= {d} <= {PATCH * image_encoder.longest}" for d in "hw"),
            *(f"{d} % {PATCH} == 0" for d in "hw"),
        ),
        steady=[(1, sides[0], sides[0]), (1, sides[1], sides[2]), (1, sides[-1], sides[-1])],
        trace=bench.sample(4 if small else 12, b=1, h=sides, w=sides),
    )

    def prompts(rng, h, w, p, n):
        size = PATCH * np.array([w, h])
        return (
            rng.standard_normal((1, h, w, mask_decoder.width), dtype="float32"),
            (rng.uniform(size=(p, n, 2)) * size).astype("float32"),
            rng.integers(-1, 4, (p, n), dtype="int32"),
            rng.standard_normal((p, 4 * h, 4 * w), dtype="float32"),
            rng.integers(0, 2, p).astype("float32"),
        )

    places = tuple(side // PATCH for side in sides) if small else (16, 24, 32, 48, 64)
    masks = bench.Workload(
        name="Segment Anything mask decoder",
        fun=mask_decoder.apply,
        params=lambda: random_weights(mask_decoder, *prompts(np.random.default_rng(0), 4, 4, 1, 1)),
        inputs=prompts,
        shapes=(f"1, h, w, {mask_decoder.width}", "p, n, 2", "p, n", "p, 4*h, 4*w", "p"),
        constraints=("1 <= h <= 64", "1 <= w <= 64", "1 <= p <= 64", "1 <= n <= 64"),
        steady=[
            {"h": places[1], "w": places[1], "p": 1, "n": 1},
            {"h": places[-1], "w": places[-2], "p": 1, "n": 5},
            {"h": places[-1], "w": places[-1], "p": 4, "n": 2},
        ],
        trace=bench.sample(4 if small else 16, h=places, w=places, p=(1, 1, 1, 4), n=range(1, 11)),
        layers={"SoD2 Table 5": 857},
    )
    return [image, masks]
