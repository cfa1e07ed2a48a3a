"""Which of JAX's primitives are served, and how: the table behind `sod2 ops`.

* "native": loops, kernels and steps of our own. "library": a NumPy function at run time. "refused": UnsupportedError.
* The primitives are JAX's own, found in its modules; the rest is read from the records.
"""

from __future__ import annotations

from dataclasses import dataclass

from sod2jax import compat
from sod2jax.ops._base import FAMILIES, OPS, OpDef

HOW = ("native", "library", "refused")

RULES = {  # fields of a record, in the order in which the compiler asks for them: (how, in words)
    "inner": ("native", "inlined"),
    "decompose": ("native", "by simpler primitives"),
    "contraction": ("native", "around the GEMM microkernel"),
    "pull": ("native", "element by element, fused"),
    "nest": ("native", "loops of its own"),
    "control": ("native", "steps of the program"),
    "extern": ("native", "a kernel of the runtime"),
    "host": ("library", "a NumPy function"),
}

REFUSED = {  # the start of the module that defines a primitive: why it has no record
    "jax._src.lax.parallel": "communication between devices",
    "jax._src.shard_map": "communication between devices",
    "jax._src.custom_partitioning": "communication between devices",
    "jax._src.cudnn": "a kernel for NVIDIA GPUs",
    "jax._src.pallas": "part of a Pallas kernel",
    "jax._src.state": "mutable references",
    "jax._src.hijax": "types that users define (hijax)",
    "jax.experimental.sparse": "sparse arrays",
    "jax._src.export": "a serialized function",
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
        why = next((text for start, text in REFUSED.items() if module.startswith(start)), "no rule yet")
        return Row(prim.name, "refused", "", "", "", why)
    how, why = served(record)
    return Row(prim.name, how, record.dyn.name, record.mapping.name.lower().replace("_", "-"), family(prim), why)


def served(record: OpDef) -> tuple[str, str]:
    """(one of HOW, in words) of a record."""
    return next((words for field, words in RULES.items() if getattr(record, field) is not None), ("refused", "no rule yet"))


def family(prim) -> str:
    """The file in ops/ that holds the primitive's record, or the module of a user's own."""
    module = FAMILIES[prim]
    return f"ops/{module.removeprefix('sod2jax.ops.')}.py" if module.startswith("sod2jax.ops.") else module
