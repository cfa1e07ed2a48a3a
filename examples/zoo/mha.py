"""MHA-1 to MHA-4 of the oneDNN Graph Compiler's paper: the attention of BERT between its projections, without weights.

As in the paper's graph, keys come transposed, and a transposition at the end brings a token's heads together. The paper measures
batches of 32, 64 and 128 at one length for each model, on 32 cores. Here batch and length are any up to these; the steady sizes
have the paper's lengths, and batches of 1, 8 and 32.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import bench


@dataclass(frozen=True)
class Attention:
    length: int  # the longest
    width: int
    heads: int

    @property
    def head_size(self) -> int:
        return self.width // self.heads

    def __call__(self, query, keys, values, mask):
        """query and values f32[b, heads, s, head size], keys f32[b, heads, head size, s] -> f32[b, s, heads, head size]

        `mask`, f32[b, 1, 1, s], is added to the scores: 0, and very negative where a key is padding.
        """
        scores = query @ keys / self.head_size**0.5 + mask
        return jnp.transpose(jax.nn.softmax(scores) @ values, (0, 2, 1, 3))

    def inputs(self, rng: np.random.Generator, b: int, s: int) -> tuple:
        draw = lambda *shape: rng.standard_normal((b, self.heads, *shape), dtype=np.float32)
        lengths = rng.integers(max(1, s // 2), s + 1, b)  # the rest of each sequence is padding
        mask = np.where(np.arange(s) < lengths[:, None], 0, -10_000).astype(np.float32)
        return draw(s, self.head_size), draw(self.head_size, s), draw(s, self.head_size), mask[:, None, None]


MODELS = {
    "MHA-1": Attention(length=128, width=768, heads=8),
    "MHA-2": Attention(length=128, width=768, heads=12),
    "MHA-3": Attention(length=384, width=1024, heads=8),
    "MHA-4": Attention(length=512, width=1024, heads=16),
}


def workload(small: bool = False) -> list[bench.Workload]:
    return [_workload(name, model, small) for name, model in MODELS.items()]


def _workload(name: str, model: Attention, small: bool) -> bench.Workload:
    if small:
        model = Attention(model.length // 8, model.width // 8, model.heads)
    heads, size, longest = model.heads, model.head_size, model.length
    return bench.Workload(
        name=name,
        fun=lambda params, *inputs: model(*inputs),
        params=(),
        inputs=model.inputs,
        shapes=(f"b, {heads}, s, {size}", f"b, {heads}, {size}, s", f"b, {heads}, s, {size}", "b, 1, 1, s"),
        constraints=("1 <= b <= 128", f"1 <= s <= {longest}"),
        steady=[{"b": b, "s": longest} for b in ((1, 2, 3) if small else (1, 8, 32))],
        trace=bench.sample(4 if small else 16, b=(1, 2, 4, 8), s=bench.lognormal(longest / 3, 0.6, 4, longest)),
    )
