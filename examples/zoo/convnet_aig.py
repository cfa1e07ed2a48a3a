"""ConvNet-AIG-50 (Veit and Belongie, ECCV 2018) in Flax Linen: a ResNet-50 whose 16 blocks each have a gate, a small network
on the averages of the block's input, that decides whether the block runs.

Dynamic: height and width, and the blocks that run. The gates decide as at inference, by the larger of two logits without Gumbel
noise. With the seeded weights 47 % of the gates are open, 9 of the 16 depending on the picture.

Layers: 53 convolutions, 69 norms and 33 dense layers, 103 MB; 282 operators and 104 MB in SoD2 (Table 5).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.gates import picture, run_if
from zoo.layers.residual import Bottleneck, Norm, Shortcut, Stem, strides
from zoo.layers.weights import random_weights


class Gate(nn.Module):
    """Whether the block after it runs."""

    @nn.compact
    def __call__(self, x):
        y = nn.relu(Norm()(nn.Dense(16)(jnp.mean(x, axis=(1, 2)))))
        closed, is_open = nn.Dense(2)(y)[0]
        return is_open > closed


class ConvNetAIG(nn.Module):
    stages: tuple[int, ...] = (3, 4, 6, 3)
    filters: int = 64
    classes: int = 1000

    @nn.compact
    def __call__(self, image):
        """image f32[1, h, w, 3] -> logits f32[1, classes]"""
        x = Stem(self.filters)(image)
        for stage, stride in strides(self.stages):
            block = Bottleneck(self.filters << stage, stride)
            shortcut = Shortcut(block.expansion * block.filters, stride)(x)
            x = run_if(Gate()(x), block, x, shortcut, closed=nn.relu)
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


def build(small: bool = False):
    """(model, its random parameters and statistics, of a seed with which about half of the gates are open)."""
    model, seed = (ConvNetAIG(stages=(2, 2), filters=8, classes=10), 6) if small else (ConvNetAIG(), 0)
    return model, random_weights(model, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32), seed=seed)


def workload(small: bool = False) -> bench.Workload:
    model, _ = build(small)
    sizes = (33, 40, 48, 64) if small else (160, 176, 192, 224, 240, 256, 288, 320)
    return bench.Workload(
        name="ConvNet-AIG",
        fun=model.apply,
        params=lambda: build(small)[1],
        inputs=lambda rng, h, w: (picture(rng, h, w),),
        shapes=("1, h, w, 3",),
        constraints=(f"32 <= h <= {sizes[-1]}", f"32 <= w <= {sizes[-1]}"),
        steady=[{"h": n, "w": n} for n in (sizes[0], sizes[3])] + [{"h": sizes[-1], "w": sizes[1]}],
        trace=bench.sample(4 if small else 12, h=sizes, w=sizes),
        layers={"SoD2 Table 5": 282},
    )
