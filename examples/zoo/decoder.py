"""SmolLM-135M, a decoder of the Llama family, in Flax NNX: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

30 layers of width 576, 9 heads that share 3 heads of keys and values, the embedding tied to the logits; 134.5 million parameters.
Two workloads, as a server runs it: the prompt fills the cache (batch and length are dynamic), then each step reads one token, and
its cache is longer by one position than the step's before (batch and the cache's length are dynamic). Both give the logits of the
next token, and the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sod2jax import bench
from zoo.layers.weights import functional


@dataclass(frozen=True)
class Config:
    layers: int = 30
    width: int = 576
    heads: int = 9
    kv_heads: int = 3
    hidden: int = 1536
    vocabulary: int = 49_152
    longest: int = 2048
    rope_base: float = 10_000.0

    @property
    def head_size(self) -> int:
        return self.width // self.heads


class Attention(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        heads, kv_heads, size = config.heads, config.kv_heads, config.head_size
        project = lambda heads: nnx.LinearGeneral(config.width, (heads, size), use_bias=False, rngs=rngs)
        self.query, self.key, self.value = project(heads), project(kv_heads), project(kv_heads)
        self.out = nnx.LinearGeneral((heads, size), config.width, axis=(-2, -1), use_bias=False, rngs=rngs)

    def __call__(self, x, rotation, mask, cache):
        query, key, value = rotate(self.query(x), rotation), rotate(self.key(x), rotation), self.value(x)
        if cache is not None:
            key, value = (jnp.concatenate(parts, axis=1) for parts in zip(cache, (key, value), strict=True))
        return self.out(jax.nn.dot_product_attention(query, key, value, mask=mask)), (key, value)


class SwiGLU(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.gate = nnx.Linear(config.width, config.hidden, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(config.width, config.hidden, use_bias=False, rngs=rngs)
        self.down = nnx.Linear(config.hidden, config.width, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.down(nnx.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.attention_norm = nnx.RMSNorm(config.width, epsilon=1e-5, rngs=rngs)
        self.attention = Attention(config, rngs=rngs)
        self.mlp_norm = nnx.RMSNorm(config.width, epsilon=1e-5, rngs=rngs)
        self.mlp = SwiGLU(config, rngs=rngs)

    def __call__(self, x, rotation, mask, cache):
        attended, cache = self.attention(self.attention_norm(x), rotation, mask, cache)
        x = x + attended
        return x + self.mlp(self.mlp_norm(x)), cache


class Decoder(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.config = config
        self.embed = nnx.Embed(config.vocabulary, config.width, rngs=rngs)
        self.blocks = nnx.List([Block(config, rngs=rngs) for _ in range(config.layers)])
        self.norm = nnx.RMSNorm(config.width, epsilon=1e-5, rngs=rngs)

    def __call__(self, tokens, cache=None):
        """tokens i32[b, s] -> logits of the token after the last, f32[b, vocabulary], and the cache.

        The cache is a pair for each layer, keys and values, f32[b, t, kv heads, head size] of the t tokens before.
        """
        past = 0 if cache is None else cache[0][0].shape[1]
        positions = past + jnp.arange(tokens.shape[1])
        mask = positions[:, None] >= jnp.arange(past + tokens.shape[1])
        rotation = rotary(positions, self.config.head_size, self.config.rope_base)
        x, grown = self.embed(tokens), []
        for block, layer_cache in zip(self.blocks, cache or [None] * self.config.layers, strict=True):
            x, layer_cache = block(x, rotation, mask, layer_cache)
            grown.append(layer_cache)
        return self.embed.attend(self.norm(x[:, -1])), grown


def rotary(positions, size: int, base: float):
    """Cosines and sines of the angles of rotary embedding, f32[positions, 1, size / 2] each."""
    angles = positions[:, None, None] / base ** (jnp.arange(0, size, 2) / size)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x, rotation):
    """x f32[b, s, heads, size]: each number of the first half and its partner in the second, turned by an angle."""
    (cos, sin), (first, second) = rotation, jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def workload(small: bool = False) -> list[bench.Workload]:
    config = Config(layers=2, width=48, heads=6, kv_heads=2, hidden=128, vocabulary=500, longest=256) if small else Config()
    call, state = functional(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    tokens = lambda rng, *shape: rng.integers(0, config.vocabulary, shape, dtype=np.int32)

    def step_inputs(rng, b, t):
        draw = lambda: rng.standard_normal((b, t, config.kv_heads, config.head_size), dtype=np.float32)
        return tokens(rng, b, 1), [(draw(), draw()) for _ in range(config.layers)]

    longest = config.longest
    prefill = bench.Workload(
        name="decoder, prefill",
        fun=call,
        params=state,
        inputs=lambda rng, b, s: (tokens(rng, b, s),),
        shapes=("b, s",),
        constraints=("1 <= b <= 8", f"1 <= s <= {longest}"),
        steady=[{"b": 1, "s": longest // 64}, {"b": 1, "s": longest // 8}, {"b": 4, "s": longest // 16}],
        trace=bench.sample(4 if small else 16, b=1, s=bench.lognormal(longest / 20, 0.8, 4, longest // 4)),
    )
    step = bench.Workload(
        name="decoder, step",
        fun=call,
        params=state,
        inputs=step_inputs,
        shapes=("b, 1", f"b, t, {config.kv_heads}, {config.head_size}"),
        constraints=("1 <= b <= 8", f"1 <= t < {longest}"),
        steady=[{"b": 1, "t": longest // 16}, {"b": 1, "t": longest // 2}, {"b": 4, "t": longest // 8}],
        trace=[{"b": 1, "t": longest // 16 + i} for i in range(4 if small else 16)],  # a text grows
    )
    return [prefill, step]
