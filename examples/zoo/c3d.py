"""C3D (Tran et al., 2015) in Flax Linen, for any number of frames of 112x112 pixels, from 16 up, and batches of any size.

Eight 3x3x3 convolutions with five poolings, which leave one step of time for every 16 frames, and three dense layers for each
step; the scores of all steps are averaged. 78M parameters. Here as in DNNFusion's count 11 layers are contractions, of 27 in all
there.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.vision import pixels
from zoo.layers.weights import random_weights


class C3D(nn.Module):
    stages: tuple[tuple[int, ...], ...] = ((64,), (128,), (256, 256), (512, 512), (512, 512))  # channels
    hidden: int = 4096
    classes: int = 101

    @nn.compact
    def __call__(self, video):
        """video f32[b, t, h, w, 3] -> logits f32[b, classes]"""
        x = video
        for stage, channels in enumerate(self.stages):
            for features in channels:
                x = nn.relu(nn.Conv(features, (3, 3, 3))(x))
            window = (2, 2, 2) if stage > 0 else (1, 2, 2)
            edge = 1 if stage == len(self.stages) - 1 else 0
            x = nn.max_pool(x, window, strides=window, padding=[(0, 0), (edge, edge), (edge, edge)])
        x = x.reshape(*x.shape[:2], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(self.hidden)(x))
        return jnp.mean(nn.Dense(self.classes)(x), axis=1)


def workload(small: bool = False) -> bench.Workload:
    model = C3D(((8,), (16,), (16, 16)), hidden=32, classes=10) if small else C3D()
    shortest = 2 ** (len(model.stages) - 1)
    side = 28 if small else 112
    lengths = [shortest, shortest + 1, 2 * shortest, 3 * shortest, 4 * shortest]
    return bench.Workload(
        name="C3D",
        fun=model.apply,
        params=lambda: random_weights(model, jax.ShapeDtypeStruct((1, shortest, side, side, 3), jnp.float32)),
        inputs=lambda rng, b, t: (pixels(rng, b, t, side, side),),
        shapes=(f"b, t, {side}, {side}, 3",),
        constraints=("1 <= b <= 8", f"{shortest} <= t <= 128"),
        steady=[{"b": b, "t": t} for b, t in ((1, lengths[0]), (1, lengths[3] - 1), (2, lengths[2]))],
        trace=bench.sample(4 if small else 12, b=1, t=range(lengths[0], lengths[-1] + 1)),
        layers={"DNNFusion Table 5": 27},
    )
