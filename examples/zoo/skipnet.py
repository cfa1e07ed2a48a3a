"""SkipNet-50 (Wang et al., ECCV 2018) in Flax Linen: a ResNet-50 with recurrent gates. After each block one LSTM, shared by them
all, reads the averages of the block's output and decides whether the next block runs; the first one always does.

Dynamic: height and width, and the blocks that run. With the seeded weights 55 % of the gates are open, three in four depending on
the picture.

Layers: 53 convolutions with norms, 18 dense layers and an LSTM of 16 steps, 103 MB; 549 operators and 103 MB in SoD2 (Table 5).
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers import pictures
from zoo.layers.gates import run_if
from zoo.layers.residual import Bottleneck, Stem, blocks


class Gate(nn.Module):
    """The LSTM of the gates; it keeps its state from block to block."""

    width: int = 10

    @nn.compact
    def __call__(self, state, features):
        """features f32[1, width] of a block's output -> the state, and whether the next block runs"""
        state, y = nn.OptimizedLSTMCell(self.width)(state, features)
        return state, nn.sigmoid(nn.Dense(1)(y))[0, 0] > 0.5


class SkipNet(nn.Module):
    stages: tuple[int, ...] = (3, 4, 6, 3)
    filters: int = 64
    classes: int = 1000

    @nn.compact
    def __call__(self, image):
        """image f32[1, h, w, 3] -> logits f32[1, classes]"""
        x = Stem(self.filters)(image)
        gate, is_open = Gate(), None
        state = (jnp.zeros((1, gate.width)), jnp.zeros((1, gate.width)))
        for block, shortcut in blocks(Bottleneck, self.stages, self.filters):
            y = shortcut(x)
            x = block(x, y) if is_open is None else run_if(is_open, block, x, y)
            means = jnp.mean(x, axis=(1, 2))
            state, is_open = gate(state, nn.Dense(gate.width)(means))
        return nn.Dense(self.classes, name="classifier")(means)


def workload(small: bool = False) -> bench.Workload:
    model, seed = (SkipNet(stages=(1, 2), filters=8, classes=10), 4) if small else (SkipNet(), 2)
    return pictures.workload("SkipNet", model, small, operators=549, seed=seed)
