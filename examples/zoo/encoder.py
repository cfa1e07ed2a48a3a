"""A BERT-like encoder in Flax Linen: token and position embeddings, pre-norm blocks, a final layer norm."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from zoo.weights import random_weights


class Block(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x, mask):
        width = x.shape[-1]
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.heads)(y, y, mask=mask)
        y = nn.LayerNorm()(x)
        return x + nn.Dense(width)(nn.gelu(nn.Dense(4 * width)(y)))


class Encoder(nn.Module):
    layers: int = 4
    width: int = 768
    heads: int = 12
    vocabulary: int = 30_522
    longest: int = 512

    @nn.compact
    def __call__(self, tokens, mask=None):
        """tokens i32[b, s] -> f32[b, s, width]; `mask`, bool[b, 1, 1, s], is False where a token is padding."""
        positions = self.param("positions", nn.initializers.normal(0.02), (self.longest, self.width))
        x = nn.Embed(self.vocabulary, self.width)(tokens) + positions[: tokens.shape[1]]
        for _ in range(self.layers):
            x = Block(self.heads)(x, mask)
        return nn.LayerNorm()(x)


def build(small: bool = False):
    """(model, its seeded random parameters). `small` is for tests."""
    model = Encoder(layers=2, width=64, heads=4, vocabulary=1000) if small else Encoder()
    return model, random_weights(model, jax.ShapeDtypeStruct((1, 8), jnp.int32))


def tokens(model, length: int, seed: int = 0) -> np.ndarray:
    """A random sentence, i32[1, length]."""
    return np.random.default_rng((seed, length)).integers(0, model.vocabulary, (1, length), dtype=np.int32)
