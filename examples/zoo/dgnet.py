"""DGNet-34 (Li et al., "Dynamic Dual Gating Neural Networks", ICCV 2021) in Flax Linen: a ResNet-34 whose 16 blocks each have
two gates on the block's input. The channel gate says which channels between the block's two convolutions count, the spatial gate
which tiles of the feature map (7 x 7 of them in a picture of 224 x 224). A block without an open tile or channel does not run.

Dynamic: height and width, and the blocks that run. With the seeded weights half of the channels and of the tiles are open, by the
picture, and 91 % of the blocks run.

Layers: 52 convolutions and norms, 33 dense layers, 89 MB; 847 operators and 91 MB in SoD2 (Table 5).
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers import pictures
from zoo.layers.gates import run_if
from zoo.layers.residual import Conv, Norm, Shortcut, Stem, strides


class ChannelGate(nn.Module):
    """Which channels are open: bool[1, 1, 1, channels]."""

    channels: int

    @nn.compact
    def __call__(self, x):
        y = nn.Dense(max(x.shape[-1] // 4, 4))(jnp.mean(x, axis=(1, 2), keepdims=True))
        return nn.Dense(self.channels)(nn.relu(Norm()(y))) > 0


class SpatialGate(nn.Module):
    """Which tiles, of `tile` x `tile` cells of x, are open: bool[1, h / tile, w / tile, 1]."""

    tile: int

    @nn.compact
    def __call__(self, x):
        size = (self.tile, self.tile)
        tiles = nn.avg_pool(x, size, size, padding="SAME", count_include_pad=False)
        return nn.Conv(1, (3, 3), padding=1)(tiles) > 0


def spread(tiles, tile, like):
    """The mask of cells of the feature map `like` to one of tiles; the last tiles may stick out."""
    cells = jnp.repeat(jnp.repeat(tiles, tile, axis=1), tile, axis=2)
    return cells[:, : like.shape[1], : like.shape[2]].astype(like.dtype)


class Block(nn.Module):
    filters: int
    stride: int
    tile: int

    @nn.compact
    def __call__(self, x, shortcut, channels, tiles):
        cells = spread(tiles, self.tile, shortcut)
        y = nn.relu(Norm()(Conv(self.filters, (3, 3), self.stride, padding=1)(x)))
        y = y * channels * cells
        y = Norm(name="last_norm")(Conv(self.filters, (3, 3), padding=1)(y))
        return nn.relu(shortcut + y * cells)


class DGNet(nn.Module):
    stages: tuple[int, ...] = (3, 4, 6, 3)
    filters: int = 64
    tile: int = 8  # in the first stage, halved like the feature map
    classes: int = 1000

    @nn.compact
    def __call__(self, image):
        """image f32[1, h, w, 3] -> logits f32[1, classes]"""
        x = Stem(self.filters)(image)
        for stage, stride in strides(self.stages):
            block = Block(self.filters << stage, stride, tile=self.tile >> stage)
            channels, tiles = ChannelGate(block.filters)(x), SpatialGate(stride * block.tile)(x)
            shortcut = Shortcut(block.filters, stride)(x)
            x = run_if(jnp.any(channels) & jnp.any(tiles), block, x, shortcut, channels, tiles, closed=nn.relu)
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


def workload(small: bool = False) -> bench.Workload:
    model, seed = (DGNet(stages=(1, 2), filters=8, tile=4, classes=10), 0) if small else (DGNet(), 1)
    return pictures.workload("DGNet", model, small, operators=847, seed=seed)
