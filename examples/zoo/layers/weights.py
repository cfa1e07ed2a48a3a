"""Seeded random weights for a Flax model, of the magnitudes that trained ones have, without running its initialisers."""

from __future__ import annotations

import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def random_weights(model, *inputs, seed: int = 0):
    """The variables of a Linen `model` (params, and running statistics if it has any), filled by leaf name."""
    return _fill(jax.eval_shape(model.init, jax.random.key(0), *inputs), seed)


def functional(make_model, seed: int = 0):
    """Two functions of the NNX model that `make_model()` returns: `call(state, *inputs)`, and `state()`, filled by leaf name."""
    graphdef, shapes = nnx.split(nnx.eval_shape(make_model))

    def call(state, *inputs):
        return nnx.merge(graphdef, state)(*inputs)

    return call, lambda: _fill(shapes, seed)


def _fill(shapes, seed: int):
    return jax.tree_util.tree_map_with_path(lambda path, leaf: _leaf(jax.tree_util.keystr(path), leaf, seed), shapes)


def _leaf(path: str, leaf, seed: int):
    if not jnp.issubdtype(leaf.dtype, jnp.floating):  # the random keys of dropout, which inference does not read
        return jnp.zeros(leaf.shape, leaf.dtype)
    shape = leaf.shape
    rng = np.random.default_rng((seed, zlib.crc32(path.encode())))
    noise = rng.standard_normal(shape, dtype=np.float32)
    match path.rsplit("'", 2)[-2]:
        case "kernel" if "['out']" in path:  # of attention: [heads, size of a head, width]
            value = noise / np.sqrt(np.prod(shape[:-1]))
        case "kernel" if len(shape) == 2 or re.search(r"\['(query|key|value)'\]", path):  # [width, heads, size of a head]
            value = noise / np.sqrt(shape[0])
        case "kernel":  # of a convolution: [window..., channels in, channels out]
            value = noise * np.sqrt(2 / np.prod(shape[:-1]))
        case "scale" if "last_norm" in path:  # small, so that a deep residual network keeps its magnitude
            value = 0.2 + 0.02 * noise
        case "scale":
            value = 1 + 0.1 * noise
        case "var":
            value = 1 + 0.2 * np.tanh(noise)
        case _:  # bias, mean, embedding, positions
            value = 0.1 * noise
    return jnp.asarray(value, jnp.float32)
