"""Conformer encoder in Flax Linen: speech recognition with convolution and attention (Gulati et al., 2020, arXiv 2005.08100).

Log-mel frames are subsampled by 4 by two convolutions; each block is half a feed-forward, relative-position attention, a
convolution module with a gated linear unit and a depthwise convolution of 31, and another half feed-forward; a CTC head scores
word pieces.

Dynamic: the batch and the number of frames; `lengths` says how many frames of each utterance are no padding. 12 blocks of the
width of Conformer-L (512, 8 heads), as WeNet and ESPnet train it, are 335 MB of weights here, where SoD2 counts 303 MB and 1,703
layers (those of an ONNX graph) without naming its variant; the paper's own L has 17 blocks and 475 MB, its M 123 MB.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.attention import RelativeAttention
from zoo.layers.weights import random_weights

MELS = 80


class FeedForward(nn.Module):
    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        y = nn.silu(nn.Dense(4 * width)(nn.LayerNorm()(x)))
        return nn.Dense(width)(y)


class Convolution(nn.Module):
    kernel: int = 31

    @nn.compact
    def __call__(self, x, valid):
        """x f32[b, n, width], valid bool[b, n]: padding must not leak into frames beside it."""
        width = x.shape[-1]
        y = nn.glu(nn.Dense(2 * width)(nn.LayerNorm()(x)))
        y = jnp.where(valid[..., None], y, 0)
        y = nn.Conv(width, (self.kernel,), feature_group_count=width, name="depthwise")(y)
        y = nn.silu(nn.BatchNorm(use_running_average=True)(y))
        return nn.Dense(width)(y)


class Block(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x, valid):
        x = x + 0.5 * FeedForward()(x)
        x = x + RelativeAttention(self.heads)(nn.LayerNorm()(x), valid[:, None, None, :])
        x = x + Convolution()(x, valid)
        x = x + 0.5 * FeedForward()(x)
        return nn.LayerNorm()(x)


class Conformer(nn.Module):
    blocks: int = 12
    width: int = 512
    heads: int = 8
    vocabulary: int = 1024

    @nn.compact
    def __call__(self, frames, lengths):
        """frames f32[b, t, mels], lengths i32[b] -> log-probabilities f32[b, about t/4, vocabulary]"""
        x = frames[..., None]
        for _ in range(2):
            x = nn.relu(nn.Conv(self.width, (3, 3), strides=(2, 2), padding="VALID")(x))
            lengths = (lengths - 1) // 2
        x = nn.Dense(self.width)(x.reshape(*x.shape[:2], x.shape[2] * x.shape[3]))
        valid = jnp.arange(x.shape[1]) < lengths[:, None]
        for _ in range(self.blocks):
            x = Block(self.heads)(x, valid)
        return nn.log_softmax(nn.Dense(self.vocabulary)(x))


def workload(small: bool = False) -> bench.Workload:
    model = Conformer(blocks=2, width=32, heads=4, vocabulary=50) if small else Conformer()
    example = jax.ShapeDtypeStruct((1, 100, MELS), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    longest = 200 if small else 3000  # frames of 10 ms

    def inputs(rng, b, t):
        lengths = rng.integers(t // 2, t + 1, b, dtype="int32")
        lengths[0] = t
        return rng.standard_normal((b, t, MELS), dtype="float32"), lengths

    return bench.Workload(
        name="Conformer",
        fun=model.apply,
        params=lambda: random_weights(model, *example),
        inputs=inputs,
        shapes=(f"b, t, {MELS}", "b"),
        constraints=("1 <= b <= 8", f"16 <= t <= {longest}"),
        steady=[{"b": 1, "t": longest // 10}, {"b": 1, "t": longest // 5}, {"b": 2, "t": longest // 3}],
        trace=bench.sample(4 if small else 16, b=1, t=bench.lognormal(longest / 5, 0.7, 16, longest)),
        layers={"SoD2 Table 5": 1703},
    )
