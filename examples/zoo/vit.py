"""ViT-B/16 (Dosovitskiy et al., 2021) in Flax Linen, for images of any size in steps of 16 and batches of any size.

Patches of 16x16 pixels, 12 pre-norm blocks, a class token. The position embeddings are those of 14x14 patches, interpolated to
the image's grid as the authors do for a resolution other than that of training. 86M parameters.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.transformer import FeedForward
from zoo.layers.vision import image_workload


class Block(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadDotProductAttention(self.heads)(nn.LayerNorm(epsilon=1e-6)(x))
        return x + FeedForward(4 * x.shape[-1])(nn.LayerNorm(epsilon=1e-6)(x))


class ViT(nn.Module):
    layers: int = 12
    width: int = 768
    heads: int = 12
    patch: int = 16
    grid: int = 14
    classes: int = 1000

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> logits f32[b, classes]; h and w are multiples of `patch`"""
        normal = nn.initializers.normal(0.02)
        token = self.param("token", normal, (1, 1, self.width))
        token_position = self.param("token_position", normal, (1, 1, self.width))
        positions = self.param("positions", normal, (self.grid, self.grid, self.width))

        x = nn.Conv(self.width, (self.patch, self.patch), (self.patch, self.patch), padding="VALID")(image)
        b, h, w, _ = x.shape
        x = x + jax.image.resize(positions, (h, w, self.width), "bilinear", antialias=False)
        first = jnp.broadcast_to(token + token_position, (b, 1, self.width))
        x = jnp.concatenate([first, x.reshape(b, h * w, self.width)], axis=1)
        for _ in range(self.layers):
            x = Block(self.heads)(x)
        return nn.Dense(self.classes)(nn.LayerNorm(epsilon=1e-6)(x)[:, 0])


def workload(small: bool = False) -> bench.Workload:
    model = ViT(layers=2, width=32, heads=4, patch=8, grid=5, classes=10) if small else ViT()
    step = model.patch
    sizes = range(16, 72, step) if small else range(128, 400, step)
    return image_workload(
        "ViT-B/16",
        model,
        constraints=("1 <= b <= 8", f"{step} <= h <= 512", f"{step} <= w <= 512", f"h % {step} == 0", f"w % {step} == 0"),
        steady=[(1, sizes[6], sizes[6]), (1, sizes[-3], sizes[-1]), (4, sizes[0], sizes[2])],
        trace=bench.sample(4 if small else 16, b=1, h=sizes, w=sizes),
    )
