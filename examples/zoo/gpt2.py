"""GPT-2 small in Flax Linen: 12 pre-norm layers of width 768 with causal attention (Radford et al., 2019).

The logits of the next token come from the transposed table of words. Dynamic: the batch and the length of the prompts; a prompt
may be padded behind its end. 1,011 eqns here; DNNFusion counts 2,533 layers.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sod2jax import bench
from zoo.layers.transformer import FeedForward, sentences, weights


class Block(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x, mask):
        y = nn.Dense(3 * x.shape[-1], name="qkv")(nn.LayerNorm(epsilon=1e-5)(x))
        q, k, v = (part.reshape(*x.shape[:2], self.heads, -1) for part in jnp.split(y, 3, axis=-1))
        y = nn.dot_product_attention(q, k, v, mask=mask)
        x = x + nn.Dense(x.shape[-1], name="out")(y.reshape(x.shape))
        return x + FeedForward(4 * x.shape[-1], nn.gelu)(nn.LayerNorm(epsilon=1e-5)(x))


class GPT2(nn.Module):
    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 50_257
    longest: int = 1024

    @nn.compact
    def __call__(self, tokens, mask):
        """tokens i32[b, s], mask bool[b, s], False where a token is padding -> logits f32[b, s, vocabulary]"""
        words = nn.Embed(self.vocabulary, self.width, name="words")
        place = jnp.arange(tokens.shape[1])
        x = words(tokens) + nn.Embed(self.longest, self.width, name="positions")(place)
        mask = (place[:, None] >= place) & mask[:, None, None, :]
        for _ in range(self.layers):
            x = Block(self.heads)(x, mask)
        return words.attend(nn.LayerNorm(epsilon=1e-5)(x))


def workload(small: bool = False) -> bench.Workload:
    model = GPT2(layers=2, width=64, heads=4, vocabulary=1000, longest=64) if small else GPT2()
    longest = model.longest
    return bench.Workload(
        name="GPT-2",
        fun=model.apply,
        params=lambda: weights(model, np.int32, bool),
        inputs=lambda rng, b, s: sentences(rng, model.vocabulary, b, s),
        shapes=("b, s", "b, s"),
        constraints=("1 <= b <= 8", f"1 <= s <= {longest}"),
        steady=[{"b": 1, "s": longest // 32}, {"b": 1, "s": longest // 8}, {"b": 2, "s": longest // 4}],
        trace=bench.sample(4 if small else 16, b=1, s=bench.lognormal(longest / 8, 0.8, 2, longest)),
        layers={"DNNFusion Table 5": 2533},
    )
