"""A BERT-like encoder in Flax Linen: token and position embeddings, pre-norm blocks, a final layer norm.

Four layers of BERT-base's width. Dynamic: the batch and the length of the sentences.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import bench
from zoo.layers.weights import random_weights


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


def make(small: bool = False) -> Encoder:
    return Encoder(layers=2, width=64, heads=4, vocabulary=1000) if small else Encoder()


def build(small: bool = False):
    """(model, its seeded random parameters). `small` is for tests."""
    model = make(small)
    return model, random_weights(model, jax.ShapeDtypeStruct((1, 8), jnp.int32))


def tokens(model, length: int, seed: int = 0) -> np.ndarray:
    """A random sentence, i32[1, length]."""
    return np.random.default_rng((seed, length)).integers(0, model.vocabulary, (1, length), dtype=np.int32)


def workload(small: bool = False) -> bench.Workload:
    model = make(small)
    longest = 64 if small else 384
    return bench.Workload(
        name="encoder",
        fun=lambda params, tokens, mask: model.apply(params, tokens, mask),
        params=lambda: build(small)[1],
        inputs=lambda rng, b, s: (rng.integers(0, model.vocabulary, (b, s), dtype=np.int32), np.ones((b, 1, 1, s), bool)),
        shapes=("b, s", "b, 1, 1, s"),
        constraints=("1 <= b <= 8", f"1 <= s <= {longest}"),
        steady=[{"b": 1, "s": longest // 8}, {"b": 1, "s": longest // 3}, {"b": 2, "s": longest}],
        trace=bench.sample(4 if small else 16, b=1, s=bench.lognormal(longest / 5, 0.8, 2, longest)),
    )
