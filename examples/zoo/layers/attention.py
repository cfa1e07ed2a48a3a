"""Multi-head attention beyond Flax's own: queries, keys and values of three arrays, or logits that know relative positions along
one axis (Transformer-XL) or two (SAM)."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax.numpy as jnp


class Attention(nn.Module):
    """Attention where queries, keys and values may come from three arrays, and heads may be narrower than width / heads."""

    heads: int
    inner: int  # width of all heads

    @nn.compact
    def __call__(self, query, key, value):
        """query f32[b, n, width], key and value f32[b, m, any width] -> f32[b, n, width]"""
        Heads = partial(nn.DenseGeneral, (self.heads, self.inner // self.heads))
        y = nn.dot_product_attention(Heads(name="query")(query), Heads(name="key")(key), Heads(name="value")(value))
        return nn.DenseGeneral(query.shape[-1], axis=(-2, -1), name="out")(y)


def sinusoids(positions, width: int, longest: float = 10_000.0):
    """Sines and cosines of positions[n] at `width / 2` frequencies each: f32[n, width]."""
    frequencies = jnp.exp(-jnp.log(longest) * jnp.arange(width // 2) / (width // 2))
    angles = positions[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def relative_shift(logits):
    """[..., i, r] for distances r = n-1, ..., -(n-1) between query i and key j -> [..., i, j].

    Row i is needed from column n-1-i on: read with one more column in front, row-major, rows of n elements are just that.
    """
    *batch, n, distances = logits.shape
    padded = jnp.pad(logits, [(0, 0)] * len(batch) + [(0, 0), (1, 0)])
    shifted = padded.reshape(*batch, distances + 1, n)[..., 1:, :]
    return shifted.reshape(*batch, n, distances)[..., :n]


class RelativeAttention(nn.Module):
    """Self-attention with the relative positions of Transformer-XL: a projected sinusoid per distance, two biases per head."""

    heads: int

    @nn.compact
    def __call__(self, x, mask=None):
        """x f32[b, n, width] -> f32[b, n, width]; `mask`, bool[b, 1, 1, n], is False where a key is padding."""
        _, n, width = x.shape
        size = width // self.heads
        Heads = partial(nn.DenseGeneral, (self.heads, size))
        query, key, value = (Heads(name=name)(x) for name in ("query", "key", "value"))
        distances = Heads(name="position", use_bias=False)(sinusoids(jnp.arange(n - 1, -n, -1), width))
        content_bias, position_bias = (
            self.param(name, nn.initializers.normal(0.02), (self.heads, size)) for name in ("content_bias", "position_bias")
        )
        bias = relative_shift(jnp.einsum("bnhd,rhd->bhnr", query + position_bias, distances)) / jnp.sqrt(size)
        y = nn.dot_product_attention(query + content_bias, key, value, bias=bias, mask=mask)
        return nn.DenseGeneral(width, axis=(-2, -1), name="out")(y)


class GridAttention(nn.Module):
    """Self-attention over a grid with decomposed relative positions: the logit of a pair of places gains the query's product with
    a vector for their distance in rows, and with one for that in columns."""

    heads: int
    longest: int  # the largest height or width of a grid

    @nn.compact
    def __call__(self, x):
        """x f32[b, h, w, width] -> f32[b, h, w, width]"""
        b, h, w, width = x.shape
        size = width // self.heads
        query, key, value = (nn.DenseGeneral((self.heads, size), name=name)(x) for name in ("query", "key", "value"))

        def distances(name, n):
            table = self.param(name, nn.initializers.normal(0.02), (2 * self.longest - 1, size))
            return table[jnp.arange(n)[:, None] - jnp.arange(n) + self.longest - 1]

        rows = jnp.einsum("bhwnd,hkd->bnhwk", query, distances("rows", h))
        columns = jnp.einsum("bhwnd,wkd->bnhwk", query, distances("columns", w))
        bias = rows[..., :, None] + columns[..., None, :]
        flat = (t.reshape(b, h * w, self.heads, size) for t in (query, key, value))
        y = nn.dot_product_attention(*flat, bias=bias.reshape(b, self.heads, h * w, h * w))
        return nn.DenseGeneral(width, axis=(-2, -1), name="out")(y.reshape(b, h, w, self.heads, size))
