"""What the compiler knows of each JAX primitive, by family. Importing this package fills the table."""

from sod2jax.ops import contract, control, create, elementwise, index, reduce, shape, structure, window
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
    "contract",
    "control",
    "create",
    "defop",
    "elementwise",
    "index",
    "of",
    "reduce",
    "shape",
    "structure",
    "window",
]  # fmt: skip
