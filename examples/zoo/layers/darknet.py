"""What the networks of the YOLO family are made of. Feature maps are f32[b, h, w, channels]."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp


def mish(x):
    return x * jnp.tanh(nn.softplus(x))


class ConvNorm(nn.Module):
    """A convolution that keeps the size (but for its stride), batch norm with running statistics, an activation."""

    filters: int
    kernel: int = 1
    stride: int = 1
    act: Callable = nn.relu

    @nn.compact
    def __call__(self, x):
        size, strides = (self.kernel, self.kernel), (self.stride, self.stride)
        x = nn.Conv(self.filters, size, strides, padding=self.kernel // 2, use_bias=False)(x)
        return self.act(nn.BatchNorm(use_running_average=True)(x))


def pool(x, size: int):
    """The largest of the `size` x `size` cells around each cell."""
    return nn.max_pool(x, (size, size), padding="SAME")
