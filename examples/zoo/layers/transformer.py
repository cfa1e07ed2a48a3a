"""Parts of BERT and its relatives in Flax Linen, sentences to run them on, and their workload.

The masks are bool[b, s], False where a token is padding: as keys, such tokens are hidden from all others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import numpy as np

from sod2jax import bench
from zoo.layers.weights import random_weights

gelu = partial(nn.gelu, approximate=False)  # by erf; nn.gelu alone is the approximation by tanh
OUT = tuple(map(jax.tree_util.DictKey, ("out", "kernel")))


class Embeddings(nn.Module):
    """Words, positions from 0 and, if there are types, which of the two texts a token belongs to; added and normalised."""

    vocabulary: int
    width: int
    longest: int = 512
    types: int = 2

    @nn.compact
    def __call__(self, tokens, types=None):
        """tokens i32[b, s], types i32[b, s] -> f32[b, s, width]"""
        positions = self.param("positions", nn.initializers.normal(0.02), (self.longest, self.width))
        x = nn.Embed(self.vocabulary, self.width, name="words")(tokens) + positions[: tokens.shape[1]]
        if types is not None:
            x = x + nn.Embed(self.types, self.width, name="types")(types)
        return nn.LayerNorm(epsilon=1e-12)(x)


class FeedForward(nn.Module):
    hidden: int
    activation: Callable = gelu

    @nn.compact
    def __call__(self, x):
        return nn.Dense(x.shape[-1], name="out")(self.activation(nn.Dense(self.hidden)(x)))


class PostNormBlock(nn.Module):
    """A layer of the first transformers: attention, then a feed-forward network, each normalised after its residual is added."""

    heads: int
    hidden: int
    activation: Callable = gelu
    epsilon: float = 1e-12

    @nn.compact
    def __call__(self, x, mask):
        y = nn.MultiHeadDotProductAttention(self.heads)(x, mask=mask[:, None, None, :])
        x = nn.LayerNorm(epsilon=self.epsilon)(x + y)
        y = FeedForward(self.hidden, self.activation)(x)
        return nn.LayerNorm(epsilon=self.epsilon)(x + y)


class Pooler(nn.Module):
    """A sentence's vector, from its first token: f32[b, s, width] -> f32[b, width]."""

    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Dense(x.shape[-1])(x[:, 0]))


def weights(model: nn.Module, *dtypes):
    """Random weights, for inputs [b, s] of these dtypes. What a layer called "out" adds to a residual is small, as in trained
    models: otherwise deep layers see nearly the same vector for every token, or ever larger ones where nothing normalises."""
    made = random_weights(model, *(jax.ShapeDtypeStruct((1, 8), dtype) for dtype in dtypes))
    return jax.tree_util.tree_map_with_path(lambda path, x: 0.3 * x if path[-2:] == OUT else x, made)


def sentences(rng: np.random.Generator, vocabulary: int, b: int, s: int, padding: int = 0):
    """(tokens i32[b, s], mask bool[b, s]): the first sentence is s long, the others are shorter, their rest is padding."""
    lengths = rng.integers(1, s + 1, b)
    lengths[:1] = s
    mask = np.arange(s) < lengths[:, None]
    return np.where(mask, rng.integers(0, vocabulary, (b, s), dtype=np.int32), np.int32(padding)), mask


def pairs(rng: np.random.Generator, vocabulary: int, b: int, s: int):
    """(tokens, types, mask): `sentences` that are two texts each, types i32[b, s] being 0 in the first and 1 in the second."""
    tokens, mask = sentences(rng, vocabulary, b, s)
    types = mask & (np.arange(s) >= rng.integers(1, s + 1, (b, 1)))
    return tokens, types.astype(np.int32), mask


def bert_workload(
    name: str, model: nn.Module, small: bool, layers: dict[str, int], texts: Callable = pairs, median: float = 1 / 6
) -> bench.Workload:
    """Of a `model` that reads what `texts` makes: `pairs` or `sentences`. `median` is their length, over that of the longest."""
    longest = 64 if small else 512
    dtypes = [x.dtype for x in texts(np.random.default_rng(0), model.vocabulary, 1, 1)]
    return bench.Workload(
        name=name,
        fun=model.apply,
        params=lambda: weights(model, *dtypes),
        inputs=lambda rng, b, s: texts(rng, model.vocabulary, b, s),
        shapes=("b, s",) * len(dtypes),
        constraints=("1 <= b <= 8", f"1 <= s <= {longest}"),
        steady=[{"b": 1, "s": longest // 8}, {"b": 1, "s": longest // 4}, {"b": 2, "s": longest // 2}],
        trace=bench.sample(4 if small else 16, b=(1, 1, 1, 2), s=bench.lognormal(median * longest, 0.8, 2, longest)),
        layers=layers,
    )
