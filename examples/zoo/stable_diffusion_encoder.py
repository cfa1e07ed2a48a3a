"""The encoders of Stable Diffusion 1.x in Flax Linen (Rombach et al., 2022, arXiv 2112.10752): two workloads.

* Image: the encoder of the autoencoder, ResNet blocks with group norm at 128, 256, 512 and 512 channels, three downsamplings, and
  attention over all places at the bottom; mean and log-variance of the latents, an eighth of the image's height and width.
* Text: CLIP's ViT-L/14 text encoder (Radford et al., 2021, arXiv 2103.00020), 12 causal layers of width 768 with quick-gelu.

Dynamic: the batch, the image's height and width (multiples of 8), the number of tokens (up to 77). SoD2 counts 407 layers and
137 MB for the "encoder", with text and image as its inputs: 137 MB is what the image encoder's weights take, so the count stands
there.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.vision import image_workload
from zoo.layers.weights import random_weights

Conv3 = partial(nn.Conv, kernel_size=(3, 3), padding=1)
Norm = partial(nn.GroupNorm, epsilon=1e-6)


class ResNetBlock(nn.Module):
    channels: int
    groups: int

    @nn.compact
    def __call__(self, x):
        y = Conv3(self.channels)(nn.silu(Norm(self.groups)(x)))
        y = Conv3(self.channels)(nn.silu(Norm(self.groups)(y)))
        if x.shape[-1] != self.channels:
            x = nn.Conv(self.channels, (1, 1))(x)
        return x + y


class PlaceAttention(nn.Module):
    """Every place of the image attends to every other, with one head."""

    groups: int

    @nn.compact
    def __call__(self, x):
        b, h, w, channels = x.shape
        y = Norm(self.groups)(x).reshape(b, h * w, channels)
        y = nn.MultiHeadDotProductAttention(num_heads=1)(y)
        return x + y.reshape(x.shape)


class ImageEncoder(nn.Module):
    channels: tuple[int, ...] = (128, 256, 512, 512)
    latents: int = 4
    groups: int = 32

    @nn.compact
    def __call__(self, image):
        """image f32[b, h, w, 3] -> (mean, log-variance), each f32[b, h/8, w/8, latents]"""
        x = Conv3(self.channels[0])(image)
        for level, channels in enumerate(self.channels):
            for _ in range(2):
                x = ResNetBlock(channels, self.groups)(x)
            if level < len(self.channels) - 1:  # padded below and to the right only
                x = nn.Conv(channels, (3, 3), strides=(2, 2), padding=((0, 1), (0, 1)))(x)
        x = ResNetBlock(self.channels[-1], self.groups)(x)
        x = PlaceAttention(self.groups)(x)
        x = ResNetBlock(self.channels[-1], self.groups)(x)
        moments = Conv3(2 * self.latents)(nn.silu(Norm(self.groups)(x)))
        mean, log_variance = jnp.split(nn.Conv(2 * self.latents, (1, 1))(moments), 2, axis=-1)
        return mean, jnp.clip(log_variance, -30, 20)


def quick_gelu(x):
    return x * nn.sigmoid(1.702 * x)


class TextBlock(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x, mask):
        width = x.shape[-1]
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.heads)(nn.LayerNorm()(x), mask=mask)
        y = quick_gelu(nn.Dense(4 * width)(nn.LayerNorm()(x)))
        return x + nn.Dense(width)(y)


class TextEncoder(nn.Module):
    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 49_408
    longest: int = 77

    @nn.compact
    def __call__(self, tokens):
        """tokens i32[b, s] -> f32[b, s, width]"""
        positions = self.param("positions", nn.initializers.normal(0.02), (self.longest, self.width))
        x = nn.Embed(self.vocabulary, self.width)(tokens) + positions[: tokens.shape[1]]
        mask = nn.make_causal_mask(tokens)
        for _ in range(self.layers):
            x = TextBlock(self.heads)(x, mask)
        return nn.LayerNorm()(x)


def workload(small: bool = False) -> list[bench.Workload]:
    image_encoder = ImageEncoder(channels=(16, 24, 32, 32), groups=8) if small else ImageEncoder()
    text_encoder = TextEncoder(layers=2, width=64, heads=4, vocabulary=1000) if small else TextEncoder()
    sides = (16, 24, 32, 40) if small else (64, 96, 128, 160, 192, 224, 256)
    image = image_workload(
        "Stable Diffusion image encoder",
        image_encoder,
        images=lambda rng, b, h, w: rng.uniform(-1, 1, (b, h, w, 3)).astype("float32"),
        constraints=("1 <= b <= 4", "8 <= h <= 512", "8 <= w <= 512", "h % 8 == 0", "w % 8 == 0"),
        steady=[(1, sides[1], sides[1]), (1, sides[3], sides[2]), (1, sides[-1], sides[-1])],
        trace=bench.sample(4 if small else 12, b=1, h=sides, w=sides),
        layers={"SoD2 Table 5": 407},
    )
    text = bench.Workload(
        name="Stable Diffusion text encoder",
        fun=text_encoder.apply,
        params=lambda: random_weights(text_encoder, jax.ShapeDtypeStruct((1, 8), jnp.int32)),
        inputs=lambda rng, b, s: (rng.integers(0, text_encoder.vocabulary, (b, s), dtype="int32"),),
        shapes=("b, s",),
        constraints=("1 <= b <= 8", "1 <= s <= 77"),
        steady=[{"b": 1, "s": 9}, {"b": 1, "s": 24}, {"b": 2, "s": 77}],
        trace=bench.sample(4 if small else 16, b=1, s=bench.lognormal(16, 0.6, 3, 77)),
    )
    return [image, text]
