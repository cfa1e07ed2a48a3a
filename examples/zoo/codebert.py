"""CodeBERT in Flax Linen: RoBERTa-base, trained on source code (Feng et al., EMNLP'20).

The layers are BERT's; what differs is the vocabulary, and positions that count the tokens from behind the padding index, so that
padding has a position of its own. Dynamic: the batch and the length of the code. 1,015 eqns here; SoD2 counts 985 layers.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from sod2jax import bench
from zoo.layers.transformer import Pooler, PostNormBlock, bert_workload, sentences

PADDING = 1


class Roberta(nn.Module):
    layers: int = 12
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    vocabulary: int = 50_265
    longest: int = 512

    @nn.compact
    def __call__(self, tokens, mask):
        """tokens i32[b, s], mask bool[b, s] -> (f32[b, s, width], f32[b, width]), of the tokens and of each text"""
        positions = jnp.cumsum(mask, axis=1, dtype=jnp.int32) * mask + PADDING
        types = jnp.zeros_like(tokens)  # a single one, kept from BERT
        x = nn.Embed(self.vocabulary, self.width, name="words")(tokens) + nn.Embed(1, self.width, name="types")(types)
        x = x + nn.Embed(self.longest + PADDING + 1, self.width, name="positions")(positions)
        x = nn.LayerNorm(epsilon=1e-5)(x)
        for _ in range(self.layers):
            x = PostNormBlock(self.heads, self.hidden, epsilon=1e-5)(x, mask)
        return x, Pooler()(x)


def workload(small: bool = False) -> bench.Workload:
    model = Roberta(layers=2, width=64, heads=4, hidden=256, vocabulary=1000, longest=64) if small else Roberta()
    texts = partial(sentences, padding=PADDING)
    return bert_workload("CodeBERT", model, small, layers={"SoD2 Table 5": 985}, texts=texts, median=1 / 4)
