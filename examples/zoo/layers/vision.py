"""What convolutional networks are made of: convolution with batch norm and activation, depthwise convolution, squeeze-and-excite;
random images, and the workload of a network that reads them.

Images are [b, h, w, channels], videos [b, t, h, w, channels]; batch norms use their running statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import bench
from zoo.layers.weights import random_weights


class ConvNorm(nn.Module):
    """A convolution, batch norm, and an activation (None: linear), over as many spatial axes as `kernel` has."""

    features: int
    kernel: tuple[int, ...] = (3, 3)
    strides: int | tuple[int, ...] = 1
    groups: int = 1
    padding: str | int = "SAME"
    act: Callable | None = nn.relu
    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x):
        groups = {"feature_group_count": self.groups}
        x = nn.Conv(self.features, self.kernel, self.strides, padding=self.padding, use_bias=False, **groups)(x)
        x = nn.BatchNorm(use_running_average=True, epsilon=self.epsilon)(x)
        return x if self.act is None else self.act(x)


class DepthwiseNorm(nn.Module):
    """ConvNorm of each channel by itself."""

    kernel: tuple[int, ...] = (3, 3)
    strides: int | tuple[int, ...] = 1
    act: Callable | None = nn.relu

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        return ConvNorm(channels, self.kernel, self.strides, groups=channels, act=self.act)(x)


class SqueezeExcite(nn.Module):
    """Gates the channels by a bottleneck of `features` that sees their means over the image."""

    features: int
    act: Callable = nn.relu

    @nn.compact
    def __call__(self, x):
        means = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)), keepdims=True)
        return x * nn.sigmoid(nn.Dense(x.shape[-1])(self.act(nn.Dense(self.features)(means))))


def pixels(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random images or videos, f32[*shape, 3], each of another colour: means over noise alone would all be the same."""
    colour = rng.standard_normal((shape[0], *(1 for _ in shape[1:]), 3), dtype=np.float32)
    return colour + rng.standard_normal((*shape, 3), dtype=np.float32)


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random images, f32[*shape, 3]."""
    return rng.standard_normal((*shape, 3), dtype=np.float32)


def image_workload(
    name: str,
    model: nn.Module,
    *,
    steady: Sequence[tuple[int, int, int]],
    images: Callable = pixels,
    weights: Callable = random_weights,
    **others,
) -> bench.Workload:
    """Of a `model` that reads images f32[b, h, w, 3], which `images` makes. `steady` is (b, h, w) of each size; `others` are
    fields of Workload as they are."""
    steady = [{"b": b, "h": h, "w": w} for b, h, w in steady]
    example = jax.ShapeDtypeStruct((1, steady[0]["h"], steady[0]["w"], 3), jnp.float32)
    return bench.Workload(
        name=name,
        fun=model.apply,
        params=lambda: weights(model, example),
        inputs=lambda rng, b, h, w: (images(rng, b, h, w),),
        shapes=("b, h, w, 3",),
        steady=steady,
        **others,
    )
