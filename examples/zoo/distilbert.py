"""DistilBERT in Flax Linen: BERT-base with every other layer, and without token types and pooler (Sanh et al., 2019).

Dynamic: the batch and the length of the sentences. 512 eqns here; DNNFusion counts 457 layers.
"""

from __future__ import annotations

import flax.linen as nn
import numpy as np

from sod2jax import bench
from zoo.layers.transformer import Embeddings, PostNormBlock, sentences, weights


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
    longest = 64 if small else 512
    return bench.Workload(
        name="DistilBERT",
        fun=model.apply,
        params=lambda: weights(model, np.int32, bool),
        inputs=lambda rng, b, s: sentences(rng, model.vocabulary, b, s),
        shapes=("b, s", "b, s"),
        constraints=("1 <= b <= 8", f"1 <= s <= {longest}"),
        steady=[{"b": 1, "s": longest // 8}, {"b": 1, "s": longest // 4}, {"b": 2, "s": longest // 2}],
        trace=bench.sample(4 if small else 16, b=(1, 1, 1, 2), s=bench.lognormal(longest / 6, 0.8, 2, longest)),
        layers={"DNNFusion Table 5": 457},
    )
