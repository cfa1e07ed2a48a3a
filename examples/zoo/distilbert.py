"""DistilBERT in Flax Linen: BERT-base with every other layer, and without token types and pooler (Sanh et al., 2019).

Dynamic: the batch and the length of the sentences. 512 eqns here; DNNFusion counts 457 layers.
"""

from __future__ import annotations

import flax.linen as nn

from sod2jax import bench
from zoo.layers.transformer import Embeddings, PostNormBlock, bert_workload, sentences


class DistilBert(nn.Module):
    layers: int = 6
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    vocabulary: int = 30_522

    @nn.compact
    def __call__(self, tokens, mask):
        """tokens i32[b, s], mask bool[b, s] -> f32[b, s, width]"""
        x = Embeddings(self.vocabulary, self.width)(tokens)
        for _ in range(self.layers):
            x = PostNormBlock(self.heads, self.hidden)(x, mask)
        return x


def workload(small: bool = False) -> bench.Workload:
    model = DistilBert(layers=2, width=64, heads=4, hidden=256, vocabulary=1000) if small else DistilBert()
    return bert_workload("DistilBERT", model, small, layers={"DNNFusion Table 5": 457}, texts=sentences)
