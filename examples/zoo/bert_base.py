"""BERT-base in Flax Linen: 12 post-norm layers of width 768 with 12 heads (Devlin et al., NAACL'19).

Dynamic: the batch and the length of the sentences. 1,010 eqns here; DNNFusion counts 976 layers.
"""

from __future__ import annotations

import flax.linen as nn

from sod2jax import bench
from zoo.layers.transformer import Embeddings, Pooler, PostNormBlock, bert_workload


class Bert(nn.Module):
    layers: int = 12
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    vocabulary: int = 30_522

    @nn.compact
    def __call__(self, tokens, types, mask):
        """tokens i32[b, s], types i32[b, s], mask bool[b, s] -> (f32[b, s, width], sentences f32[b, width])"""
        x = Embeddings(self.vocabulary, self.width)(tokens, types)
        for _ in range(self.layers):
            x = PostNormBlock(self.heads, self.hidden)(x, mask)
        return x, Pooler()(x)


def workload(small: bool = False) -> bench.Workload:
    model = Bert(layers=2, width=64, heads=4, hidden=256, vocabulary=1000) if small else Bert()
    return bert_workload("BERT-base", model, small, layers={"DNNFusion Table 5": 976})
