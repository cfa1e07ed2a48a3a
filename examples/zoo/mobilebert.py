"""MobileBERT in Flax Linen: 24 layers of width 512, each of which works at width 128 (Sun et al., ACL'20).

A layer narrows its input, attends with 4 heads, runs four feed-forward networks and widens again. Where BERT normalises, it only
scales and shifts. Words of width 128 go in with both their neighbours. Dynamic: the batch and the length of the sentences.
2,579 eqns here; DNNFusion counts 2,387 layers.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.transformer import FeedForward, bert_workload


class NoNorm(nn.Module):
    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        return x * scale + self.param("bias", nn.initializers.zeros, x.shape[-1:])


class Embeddings(nn.Module):
    vocabulary: int
    narrow: int
    width: int
    longest: int = 512

    @nn.compact
    def __call__(self, tokens, types, mask):
        words = nn.Embed(self.vocabulary, self.narrow, name="words")(tokens)
        words = jnp.where(mask[..., None], words, 0)  # the last token's neighbour is nothing, padded or not
        before, after = jnp.pad(words, ((0, 0), (1, 0), (0, 0)))[:, :-1], jnp.pad(words, ((0, 0), (0, 1), (0, 0)))[:, 1:]
        x = nn.Dense(self.width)(jnp.concatenate([after, words, before], axis=-1))
        positions = self.param("positions", nn.initializers.normal(0.02), (self.longest, self.width))
        return NoNorm()(x + positions[: tokens.shape[1]] + nn.Embed(2, self.width, name="types")(types))


class Block(nn.Module):
    heads: int
    narrow: int
    hidden: int
    networks: int

    @nn.compact
    def __call__(self, x, mask):
        asked = NoNorm()(nn.Dense(self.narrow, name="narrow_asked")(x))  # queries and keys share it; values are of full width
        y = NoNorm()(nn.Dense(self.narrow, name="narrow")(x))
        attention = nn.MultiHeadDotProductAttention(self.heads)
        y = NoNorm()(y + attention(asked, asked, x, mask=mask[:, None, None, :]))
        for _ in range(self.networks):
            y = NoNorm()(y + FeedForward(self.hidden, nn.relu)(y))
        return NoNorm()(x + nn.Dense(x.shape[-1], name="out")(y))


class MobileBert(nn.Module):
    layers: int = 24
    width: int = 512
    narrow: int = 128
    heads: int = 4
    hidden: int = 512
    networks: int = 4
    vocabulary: int = 30_522

    @nn.compact
    def __call__(self, tokens, types, mask):
        """tokens i32[b, s], types i32[b, s], mask bool[b, s] -> (f32[b, s, width], sentences f32[b, width])"""
        x = Embeddings(self.vocabulary, self.narrow, self.width)(tokens, types, mask)
        for _ in range(self.layers):
            x = Block(self.heads, self.narrow, self.hidden, self.networks)(x, mask)
        return x, x[:, 0]  # the first token stands for the sentence, without a pooler


def workload(small: bool = False) -> bench.Workload:
    model = MobileBert()
    if small:
        model = MobileBert(layers=2, width=64, narrow=32, heads=2, hidden=64, networks=2, vocabulary=1000)
    return bert_workload("MobileBERT", model, small, layers={"DNNFusion Table 5": 2387})
