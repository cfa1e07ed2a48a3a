"""What the compiler knows of each JAX primitive, by family. Importing this package fills the table."""

from sod2jax.ops import (
    composite,
    contract,
    control,
    create,
    elementwise,
    index,
    reduce,
    scatter,
    shape,
    special,
    structure,
    window,
)
from sod2jax.ops._base import OPS, Body, Dyn, ExternCall, Mapping, OpDef, Out, Tensor, defop, of

__all__ = [
    "OPS",
    "Body",
    "Dyn",
    "ExternCall",
    "Mapping",
    "OpDef",
    "Out",
    "Tensor",
    "composite",
    "contract",
    "control",
    "create",
    "defop",
    "elementwise",
    "index",
    "of",
    "reduce",
    "scatter",
    "shape",
    "special",
    "structure",
    "window",
]  # fmt: skip
