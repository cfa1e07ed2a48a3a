"""What the networks of the YOLO family are made of. Feature maps are f32[b, h, w, channels]."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from zoo.layers.vision import ConvNorm


def mish(x):
    return x * jnp.tanh(nn.softplus(x))


def conv_norm(filters: int, kernel: int = 1, stride: int = 1, act: Callable = nn.relu, name: str | None = None) -> nn.Module:
    """Convolution, batch norm, activation; padded alike on both sides, also where the stride is 2."""
    return ConvNorm(filters, (kernel, kernel), stride, padding=kernel // 2, act=act, name=name)


def pool(x, size: int):
    """The largest of the `size` x `size` cells around each cell."""
    return nn.max_pool(x, (size, size), padding="SAME")
