"""The parts of a residual network as gated networks need them: the residual branch and the shortcut apart from each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import flax.linen as nn

Conv = partial(nn.Conv, use_bias=False)
Norm = partial(nn.BatchNorm, use_running_average=True)


class Stem(nn.Module):
    """image f32[b, h, w, 3] -> f32[b, h / 4, w / 4, filters]"""

    filters: int

    @nn.compact
    def __call__(self, image):
        x = nn.relu(Norm()(Conv(self.filters, (7, 7), (2, 2), padding=3)(image)))
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


class Basic(nn.Module):
    """Two convolutions of 3 x 3 and the shortcut's sum, rectified: the block of ResNet-18."""

    filters: int
    stride: int = 1
    expansion = 1

    @nn.compact
    def __call__(self, x, shortcut):
        y = nn.relu(Norm()(Conv(self.filters, (3, 3), self.stride, padding=1)(x)))
        y = Norm(name="last_norm")(Conv(self.filters, (3, 3), padding=1)(y))
        return nn.relu(shortcut + y)


class Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3, 1 x 1 and the shortcut's sum, rectified: the block of ResNet-50 and deeper ones."""

    filters: int
    stride: int = 1
    expansion = 4

    @nn.compact
    def __call__(self, x, shortcut):
        y = nn.relu(Norm()(Conv(self.filters, (1, 1))(x)))
        y = nn.relu(Norm()(Conv(self.filters, (3, 3), self.stride, padding=1)(y)))
        y = Norm(name="last_norm")(Conv(self.expansion * self.filters, (1, 1))(y))
        return nn.relu(shortcut + y)


class Shortcut(nn.Module):
    """What a block adds its result to: `x`, or where size or channels change, a projection of it."""

    filters: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        if self.stride == 1 and x.shape[-1] == self.filters:
            return x
        return Norm()(Conv(self.filters, (1, 1), self.stride)(x))


def blocks(kind: Callable[..., nn.Module], stages: tuple[int, ...], filters: int) -> Iterator[tuple[nn.Module, Shortcut]]:
    """(block, Shortcut) of a whole network; `kind` makes a block of filters, which double with each stage, and a stride."""
    for stage, stride in strides(stages):
        block = kind(filters << stage, stride)
        yield block, Shortcut(block.expansion * block.filters, stride)


def strides(stages: tuple[int, ...]):
    """(stage, stride) of every block: each stage after the first halves height and width."""
    return [(stage, 2 if stage > 0 and block == 0 else 1) for stage, blocks in enumerate(stages) for block in range(blocks)]
