"""RANet (Yang et al., CVPR 2020, arXiv 2003.07326) in Flax Linen: Resolution Adaptive Networks, for ImageNet, of four scales.

Four sub-networks of dense blocks read features of 1/32, 1/16, 1/8 and 1/4 of the picture's height and width. The first has two
blocks, each later one two more; a sub-network's first blocks fuse in what the one before it computed. The last two blocks of each
have a classifier after them: if it is sure the network ends there, otherwise the next block, or sub-network, runs.

Dynamic: height and width, and how far the network runs: seven nested conditionals. The thresholds are those at which an eighth of
random pictures leave at each exit, as the paper finds them from a data set; random weights are never as sure as trained ones.

Layers: 550 convolutions with norms, 114 resizings and 8 dense layers, 597 MB; 2,617 operators and 525 MB in SoD2 (Table 5).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers import pictures
from zoo.layers.darknet import conv_norm
from zoo.layers.residual import Stem

EXITS = 2  # of each sub-network


class Narrowed(nn.Module):
    """A 3 x 3 convolution on at most `narrow` times as many channels as it makes."""

    filters: int
    narrow: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        inner = min(x.shape[-1], self.narrow * self.filters)
        return conv_norm(self.filters, 3, self.stride)(conv_norm(inner, 1)(x))


def resized(x, like):
    return jax.image.resize(x, (*like.shape[:3], x.shape[-1]), "bilinear", antialias=False)


class Block(nn.Module):
    """A dense block: each layer appends `growth` channels to its input.

    With `low`, the features that the sub-network before has computed in its block of this number, a quarter of what is appended
    comes from there. A transition halves height and width in its last layer, and the channels at the end.
    """

    layers: int
    growth: int
    narrow: int
    low_narrow: int = 1
    transition: bool = False

    @nn.compact
    def __call__(self, x, low=None):
        """-> what the next block reads, and the features after each layer, for the next sub-network"""
        features = [x]
        fused = 0 if low is None else self.growth // 4
        for layer in range(self.layers):
            stride = 2 if self.transition and layer == self.layers - 1 else 1
            new = Narrowed(self.growth - fused, self.narrow, stride)(x)
            parts = [x if stride == 1 else resized(x, new)]
            if fused:
                parts.append(resized(Narrowed(fused, self.low_narrow)(low[layer]), new))
            x = jnp.concatenate([*parts, new], axis=-1)
            features.append(x)
        if fused:
            x = jnp.concatenate([x, resized(conv_norm(x.shape[-1] // 4, 1)(low[-1]), x)], axis=-1)
        if self.transition:
            x = conv_norm(x.shape[-1] // 2, 1)(x)
        return x, features


class Classifier(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = conv_norm(x.shape[-1], 3, 2)(x)
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


class RANet(nn.Module):
    factors: tuple[int, ...] = (4, 2, 2, 1)  # of the channels of each sub-network, from the lowest resolution upwards
    layers: int = 8  # of a block
    channels: int = 64
    growth: int = 16
    classes: int = 1000
    sure: tuple[float, ...] = (0.031, 0.054, 0.029, 0.016, 0.011, 0.009, 0.007)  # the probability at which an exit is taken

    def setup(self):
        self.stem = Stem(self.channels * self.factors[-1])
        self.down = [conv_norm(self.channels * factor, 3, 2) for factor in reversed(self.factors[:-1])]
        self.blocks = [self._blocks(scale) for scale in range(len(self.factors))]
        self.classifiers = [Classifier(self.classes) for _ in range(EXITS * len(self.factors))]

    def _blocks(self, scale):
        factor, low_narrow = self.factors[scale], self.factors[max(scale - 1, 0)]
        transition = lambda number: number in range(EXITS - 1, EXITS * scale, EXITS)
        numbers = range(EXITS * (scale + 1))
        return [Block(self.layers, self.growth * factor, factor, low_narrow, transition(number)) for number in numbers]

    def __call__(self, image):
        """image f32[1, h, w, 3] -> logits f32[1, classes]"""
        maps = [self.stem(image)]
        for down in self.down:
            maps.insert(0, down(maps[0]))
        return self.subnetwork(0, maps, [])

    def subnetwork(self, scale, maps, low):
        """The logits of sub-network `scale` or a later one; `low` holds the features of all the blocks of the one before."""
        x, features = maps[scale], []
        for block, low_features in zip(self.blocks[scale], low, strict=False):
            x, new = block(x, low_features)
            features.append(new)
        return self.blocks_with_exits(scale, maps, x, features)

    def blocks_with_exits(self, scale, maps, x, features):
        """The same from block number `len(features)` on: block and exit of a number go together, in whichever sub-network."""
        number = len(features)
        x, new = self.blocks[scale][number](x)
        features = [*features, new]
        logits = self.classifiers[number](x)
        if number + 1 == len(self.classifiers):
            return logits
        if number + 1 < len(self.blocks[scale]):
            go_on = lambda net, _, maps, x, features: net.blocks_with_exits(scale, maps, x, features)
        else:
            go_on = lambda net, _, maps, x, features: net.subnetwork(scale + 1, maps, features)
        if self.is_initializing():  # makes the parameters of all exits
            return go_on(self, logits, maps, x, features)
        sure = jnp.max(nn.softmax(logits)) >= self.sure[number]
        return nn.cond(sure, lambda net, logits, *_: logits, go_on, self, logits, maps, x, features)


def workload(small: bool = False) -> bench.Workload:
    small_model = RANet(factors=(2, 1), layers=1, channels=8, growth=8, classes=10, sure=(0.6, 0.54, 0.37))
    return pictures.workload("RANet", small_model if small else RANet(), small, operators=2617)
