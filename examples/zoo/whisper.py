"""Whisper base in Flax NNX: speech to text with an encoder and a decoder (Radford et al., 2022, arXiv 2212.04356).

Log-mel frames go through two convolutions, the second of which halves their number, and 6 transformer layers with sinusoidal
positions; 6 decoder layers of causal self-attention and cross-attention score the next token after each one given. Width 512, 8
heads; the output shares the embedding's table.

Dynamic: the batch, the number of audio frames (the original pads to 3000), the number of tokens. No paper counts its
layers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sod2jax import bench
from zoo.layers.attention import sinusoids
from zoo.layers.weights import functional

MELS = 80


class Attention(nnx.Module):
    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.query = nnx.Linear(width, width, rngs=rngs)
        self.key = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.value = nnx.Linear(width, width, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x, context, causal: bool = False):
        """x f32[b, n, width], context f32[b, m, width] -> f32[b, n, width]"""

        def split(y):
            return y.reshape(*y.shape[:2], self.heads, y.shape[2] // self.heads)

        query, key, value = split(self.query(x)), split(self.key(context)), split(self.value(context))
        return self.out(jax.nn.dot_product_attention(query, key, value, is_causal=causal).reshape(x.shape))


class FeedForward(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs):
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x):
        return self.down(nnx.gelu(self.up(x), approximate=False))


class EncoderBlock(nnx.Module):
    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.attention_norm = nnx.LayerNorm(width, rngs=rngs)
        self.attention = Attention(width, heads, rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.feed_forward = FeedForward(width, rngs)

    def __call__(self, x):
        y = self.attention_norm(x)
        x = x + self.attention(y, y)
        return x + self.feed_forward(self.norm(x))


class DecoderBlock(nnx.Module):
    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.attention_norm = nnx.LayerNorm(width, rngs=rngs)
        self.attention = Attention(width, heads, rngs)
        self.audio_norm = nnx.LayerNorm(width, rngs=rngs)
        self.audio_attention = Attention(width, heads, rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.feed_forward = FeedForward(width, rngs)

    def __call__(self, x, audio):
        y = self.attention_norm(x)
        x = x + self.attention(y, y, causal=True)
        x = x + self.audio_attention(self.audio_norm(x), audio)
        return x + self.feed_forward(self.norm(x))


class Encoder(nnx.Module):
    def __init__(self, layers: int, width: int, heads: int, rngs: nnx.Rngs):
        self.stem = nnx.Conv(MELS, width, kernel_size=3, padding=1, rngs=rngs)
        self.halve = nnx.Conv(width, width, kernel_size=3, strides=2, padding=1, rngs=rngs)
        self.blocks = nnx.List([EncoderBlock(width, heads, rngs) for _ in range(layers)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, frames):
        """frames f32[b, t, mels] -> f32[b, t/2 rounded up, width]"""
        x = nnx.gelu(self.stem(frames), approximate=False)
        x = nnx.gelu(self.halve(x), approximate=False)
        x = x + sinusoids(jnp.arange(x.shape[1]), x.shape[2])
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Decoder(nnx.Module):
    def __init__(self, layers: int, width: int, heads: int, vocabulary: int, longest: int, rngs: nnx.Rngs):
        self.words = nnx.Embed(vocabulary, width, rngs=rngs)
        self.positions = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (longest, width)))
        self.blocks = nnx.List([DecoderBlock(width, heads, rngs) for _ in range(layers)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, tokens, audio):
        """tokens i32[b, s], audio f32[b, n, width] -> logits f32[b, s, vocabulary]"""
        x = self.words(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, audio)
        return self.words.attend(self.norm(x))


class Whisper(nnx.Module):
    def __init__(self, layers: int, width: int, heads: int, vocabulary: int, longest: int, rngs: nnx.Rngs):
        self.encoder = Encoder(layers, width, heads, rngs)
        self.decoder = Decoder(layers, width, heads, vocabulary, longest, rngs)

    def __call__(self, frames, tokens):
        return self.decoder(tokens, self.encoder(frames))


BASE = {"layers": 6, "width": 512, "heads": 8, "vocabulary": 51_865, "longest": 448}
SMALL = {"layers": 2, "width": 32, "heads": 4, "vocabulary": 200, "longest": 32}


def workload(small: bool = False) -> bench.Workload:
    sizes = SMALL if small else BASE
    vocabulary, tokens = sizes["vocabulary"], sizes["longest"]
    frames = 200 if small else 3000  # of 10 ms
    call, state = functional(lambda: Whisper(**sizes, rngs=nnx.Rngs(0)))
    return bench.Workload(
        name="Whisper base",
        fun=call,
        params=state,
        inputs=lambda rng, b, t, s: (
            rng.standard_normal((b, t, MELS), dtype="float32"),
            rng.integers(0, vocabulary, (b, s), dtype="int32"),
        ),
        shapes=(f"b, t, {MELS}", "b, s"),
        constraints=("1 <= b <= 8", f"2 <= t <= {frames}", f"1 <= s <= {tokens}"),
        steady=[
            {"b": 1, "t": frames // 10, "s": tokens // 28},
            {"b": 1, "t": frames // 3, "s": tokens // 8},
            {"b": 2, "t": frames // 2, "s": tokens // 4},
        ],
        trace=bench.sample(
            4 if small else 16,
            b=1,
            t=bench.lognormal(frames / 5, 0.7, 20, frames),
            s=bench.lognormal(tokens / 10, 0.7, 1, tokens),
        ),
    )
