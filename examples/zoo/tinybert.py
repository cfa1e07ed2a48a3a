"""TinyBERT in Flax Linen: BERT with 4 layers of width 312 with 12 heads (Jiao et al., Findings of EMNLP'20).

Dynamic: the batch and the length of the sentences. 362 eqns here; DNNFusion counts 366 layers.
"""

from __future__ import annotations

import numpy as np

from sod2jax import bench
from zoo.bert_base import Bert
from zoo.layers.transformer import pairs, weights


def workload(small: bool = False) -> bench.Workload:
    model = Bert(layers=4, width=312, heads=12, hidden=1200)
    if small:  # heads of 26 values each too: no multiple of a vector
        model = Bert(layers=2, width=78, heads=3, hidden=300, vocabulary=1000)
    longest = 64 if small else 512
    return bench.Workload(
        name="TinyBERT",
        fun=model.apply,
        params=lambda: weights(model, np.int32, np.int32, bool),
        inputs=lambda rng, b, s: pairs(rng, model.vocabulary, b, s),
        shapes=("b, s", "b, s", "b, s"),
        constraints=("1 <= b <= 8", f"1 <= s <= {longest}"),
        steady=[{"b": 1, "s": longest // 8}, {"b": 1, "s": longest // 4}, {"b": 2, "s": longest // 2}],
        trace=bench.sample(4 if small else 16, b=(1, 1, 1, 2), s=bench.lognormal(longest / 6, 0.8, 2, longest)),
        layers={"DNNFusion Table 5": 366},
    )
