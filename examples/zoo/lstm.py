"""A language model of two LSTM layers in Flax Linen, after the medium one of Zaremba et al. (2014, arXiv 1409.2329).

Width 650 and the 10,000 words of Penn Treebank; 19.8 million parameters. `nn.RNN` runs a cell over time by `lax.scan`. Dynamic:
the batch, and the length of the text, which is how often the scan steps.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import bench
from zoo.layers.weights import random_weights


class LanguageModel(nn.Module):
    layers: int = 2
    width: int = 650
    vocabulary: int = 10_000

    @nn.compact
    def __call__(self, tokens):
        """tokens i32[b, s] -> logits of each next token, f32[b, s, vocabulary]"""
        x = nn.Embed(self.vocabulary, self.width)(tokens)
        for _ in range(self.layers):
            x = nn.RNN(nn.OptimizedLSTMCell(self.width))(x)
        return nn.Dense(self.vocabulary)(x)


def workload(small: bool = False) -> bench.Workload:
    model = LanguageModel(width=32, vocabulary=100) if small else LanguageModel()
    longest = 32 if small else 256
    return bench.Workload(
        name="LSTM",
        fun=model.apply,
        params=lambda: random_weights(model, jax.ShapeDtypeStruct((1, 8), jnp.int32)),
        inputs=lambda rng, b, s: (rng.integers(0, model.vocabulary, (b, s), dtype=np.int32),),
        shapes=("b, s",),
        constraints=("1 <= b <= 32", f"1 <= s <= {longest}"),
        steady=[{"b": 1, "s": longest // 8}, {"b": 1, "s": longest}, {"b": 8, "s": longest // 4}],
        trace=bench.sample(4 if small else 16, b=(1, 2, 4), s=bench.lognormal(longest / 6, 0.7, 2, longest)),
    )
