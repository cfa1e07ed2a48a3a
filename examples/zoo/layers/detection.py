"""What detectors share: cells and anchors of feature maps of any size, and boxes, as corners (x1, y1, x2, y2) in pixels."""

from __future__ import annotations

import jax.numpy as jnp


def cells(height, width):
    """(column, row) of each cell of a feature map, row by row: f32[height * width, 2]."""
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    return jnp.stack([x, y], axis=-1).reshape(-1, 2).astype(jnp.float32)
