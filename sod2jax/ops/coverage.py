"""Which of JAX's primitives are served, and how: the table behind `sod2 ops`.

* "native": loops, kernels and steps of our own. "library": a function of the process at run time. "island": XLA, at the
  sizes of the call. "refused": UnsupportedError, or JAX's own error.
* The primitives are JAX's own, found in its modules; the rest is read from the records.
"""

from __future__ import annotations

from dataclasses import dataclass

from sod2jax import compat
from sod2jax.ops._base import FAMILIES, OPS, OpDef

HOW = ("native", "library", "island", "refused")

RULES = {  # fields of a record, in the order in which the compiler asks for them: (how, in words)
    "inner": ("native", "inlined"),
    "decompose": ("native", "by simpler primitives"),
    "contraction": ("native", "around the GEMM microkernel"),
    "pull": ("native", "element by element, fused"),
    "nest": ("native", "loops of its own"),
    "control": ("native", "steps of the program"),
    "extern": ("native", "a kernel of the runtime"),
    "host": ("library", "a function of the process"),
}

MUTABLE = ("native", "mutable arrays become values")

WITHOUT_RECORD = {  # a primitive's name, or the start of the module that defines it: (how, why)
    "pallas_call": ("island", "computed by XLA, if it is interpreted"),
    "mpmd_map": ("refused", "computation on several devices"),
    "new_ref": MUTABLE,
    "empty_ref": MUTABLE,
    "free_ref": MUTABLE,
    "freeze": MUTABLE,
    "accum_grad_in_ref": MUTABLE,
    "create_token": ("refused", "a token is no array"),
    "after_all": ("refused", "a token is no array"),
    "custom_lin": ("refused", "a derivative that JAX itself cannot compute"),
    "unreachable": ("refused", "a derivative that JAX itself cannot compute"),
    "state": MUTABLE,
    "lax.parallel": ("island", "communication between devices: inside of shard_map, which XLA computes"),
    "cudnn": ("refused", "a kernel for NVIDIA GPUs"),
    "pallas.mosaic_gpu": ("refused", "part of a kernel for NVIDIA GPUs"),
    "pallas.triton": ("refused", "part of a kernel for NVIDIA GPUs"),
    "pallas.mosaic": ("refused", "part of a kernel for TPUs"),
    "tpu_custom_call": ("refused", "a kernel for TPUs"),
    "pallas": ("refused", "part of a Pallas kernel"),
    "hijax": ("refused", "types that users define (hijax)"),
}


@dataclass(frozen=True)
class Row:
    """One primitive: how it is served, its SoD2 class and DNNFusion mapping type, the file of its family, and why."""

    primitive: str
    how: str
    dyn: str
    mapping: str
    family: str
    why: str


def rows() -> list[Row]:
    """All primitives that JAX has, and those of our own, by name."""
    found = {prim.name: (prim, module) for prim, module in compat.primitives().items()}
    found |= {prim.name: (prim, "") for prim in OPS}  # of two primitives of one name, that which has a record
    return [row(prim, module) for _, (prim, module) in sorted(found.items())]


def row(prim, module: str = "") -> Row:
    """The row of one primitive; `module` is where JAX defines it."""
    record = OPS.get(prim)
    if record is None:
        how, why = without_record(prim, module)
        return Row(prim.name, how, "", "", "", why)
    how, why = served(record)
    return Row(prim.name, how, record.dyn.name, record.mapping.name.lower().replace("_", "-"), family(prim), why)


def without_record(prim, module: str) -> tuple[str, str]:
    """(one of HOW, in words) of a primitive that has no record."""
    known = (words for start, words in WITHOUT_RECORD.items() if prim.name == start or module.startswith(start))
    return next(known, ("island", "computed by XLA"))


def served(record: OpDef) -> tuple[str, str]:
    """(one of HOW, in words) of a record."""
    return next((words for field, words in RULES.items() if getattr(record, field) is not None), ("refused", "no rule yet"))


def family(prim) -> str:
    """The file in ops/ that holds the primitive's record, or the module of a user's own."""
    module = FAMILIES[prim]
    return f"ops/{module.removeprefix('sod2jax.ops.')}.py" if module.startswith("sod2jax.ops.") else module
