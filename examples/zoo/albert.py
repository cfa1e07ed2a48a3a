"""ALBERT-base in Flax Linen: one layer of BERT-base applied 12 times, words of width 128 (Lan et al., ICLR'20).

Dynamic: the batch and the length of the sentences. 1,037 eqns here; DNNFusion counts 936 layers.
"""

from __future__ import annotations

import flax.linen as nn

from sod2jax import bench
from zoo.layers.transformer import Embeddings, Pooler, PostNormBlock, bert_workload


class Albert(nn.Module):
    layers: int = 12
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    vocabulary: int = 30_000
    embedding: int = 128

    @nn.compact
    def __call__(self, tokens, types, mask):
        """tokens i32[b, s], types i32[b, s], mask bool[b, s] -> (f32[b, s, width], sentences f32[b, width])"""
        x = nn.Dense(self.width)(Embeddings(self.vocabulary, self.embedding)(tokens, types))
        block = PostNormBlock(self.heads, self.hidden, activation=nn.gelu)
        for _ in range(self.layers):
            x = block(x, mask)
        return x, Pooler()(x)


def workload(small: bool = False) -> bench.Workload:
    model = Albert(layers=2, width=64, heads=4, hidden=256, vocabulary=1000, embedding=32) if small else Albert()
    return bert_workload("ALBERT", model, small, layers={"DNNFusion Table 5": 936})
