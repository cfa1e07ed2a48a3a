"""One picture of any height and width, and the workload of a network that decides from it what it computes."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import bench
from zoo.layers.weights import random_weights


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """f32[1, height, width, 3]: patches of a few colours with texture, of any brightness and contrast, as photographs have them.
    White noise would not do: averaged over the picture it is the same every time, and so would be what gates decide."""
    rows, columns = (np.arange(n) * 5 // n for n in (height, width))
    patches = rng.standard_normal((5, 5, 3), dtype=np.float32)[rows][:, columns]
    texture = rng.standard_normal((height, width, 3), dtype=np.float32)
    brightness, contrast, roughness = rng.standard_normal(3), rng.uniform(0.3, 1.5), rng.uniform(0, 1)
    return (brightness + contrast * (patches + roughness * texture)).astype(np.float32)[None]


def workload(name: str, model: nn.Module, small: bool, operators: int, seed: int = 0) -> bench.Workload:
    """Of a `model` that reads a picture f32[1, h, w, 3]; `operators` is what SoD2 counts. Gates need a `seed` of the weights with
    which about half of them are open."""
    sizes = (33, 40, 48, 64) if small else (160, 176, 192, 224, 240, 256, 288, 320)
    steady = [{"h": n, "w": n} for n in (sizes[0], sizes[3])] + [{"h": sizes[-1], "w": sizes[1]}]
    return bench.Workload(
        name=name,
        fun=model.apply,
        params=lambda: random_weights(model, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32), seed=seed),
        inputs=lambda rng, h, w: (picture(rng, h, w),),
        shapes=("1, h, w, 3",),
        constraints=(f"32 <= h <= {sizes[-1]}", f"32 <= w <= {sizes[-1]}"),
        steady=steady,
        trace=steady if small else bench.sample(12, h=sizes, w=sizes),
        layers={"SoD2 Table 5": operators},
    )
