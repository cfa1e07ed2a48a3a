"""TinyBERT in Flax Linen: BERT with 4 layers of width 312 with 12 heads (Jiao et al., Findings of EMNLP'20).

Dynamic: the batch and the length of the sentences. 362 eqns here; DNNFusion counts 366 layers.
"""

from __future__ import annotations

from sod2jax import bench
from zoo.bert_base import Bert
from zoo.layers.transformer import bert_workload


def workload(small: bool = False) -> bench.Workload:
    model = Bert(layers=4, width=312, heads=12, hidden=1200)
    if small:  # heads of 26 values each too: no multiple of a vector
        model = Bert(layers=2, width=78, heads=3, hidden=300, vocabulary=1000)
    return bert_workload("TinyBERT", model, small, layers={"DNNFusion Table 5": 366})
