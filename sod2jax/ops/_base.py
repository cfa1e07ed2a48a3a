"""What is known of one primitive: the OpDef record and the registry of all of them.

Passes ask for properties of a record, never for a primitive's name; what a pass wants to know and cannot ask becomes a
field here.
A family of primitives stands in one file of this folder, regular families as tables (`elementwise.UNARY`).

* `dyn`: SoD2's operator class (papers: SoD2, section 3): what the output's shape and value depend on.
* `mapping`: DNNFusion's mapping type of the worst operand edge (table 2), an upper bound; passes derive the edge's own.
* `pull`: the loop rule. `pull(b, out, index, *operands, **params) -> Value` gives one element of the output at `index` (Exprs),
  reading operands as `x[index]`; `b` is a `Body`. Everything else about loops (fusion, index maps, vectors) follows from it.
* `values`: the transfer of symbolic values of small integer tensors (RDP's value map): `values(c, *operands, **params)`, operands
  and result being object arrays of Exprs (None where unknown); `c` is a `values.Context`.
* `solve`: backward transfer (RDP): `solve(outs, ins, **params)`, tuples of shapes, yields pairs of Exprs that must be equal.
* `forward`: for one-to-one index maps, the output index at which operand element `index` appears:
  `forward(out, index, x_shape, **params)`; lets an epilogue store through a transpose or reshape.
* `contraction`: for many-to-many anchors, the `Contraction` noun of an eqn (see `contract`).
* `inner`: for calls, the param that holds the body: such eqns are inlined before anything else looks at them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from sod2jax.ir.expr import Expr
from sod2jax.ir.loops import Value


class Dyn(Enum):
    """SoD2's operator classes, least dynamic first."""

    ISDO = "input shape determined output"
    ISDOS = "input shape determined output shape"
    ISVDOS = "input shape and value determined output shape"
    EDO = "execution determined output"


class Mapping(Enum):
    """DNNFusion's mapping types, in its order of complexity; SOURCE reads nothing."""

    SOURCE = 0
    ONE_TO_ONE = 1
    REORGANIZE = 2
    SHUFFLE = 3
    ONE_TO_MANY = 4
    MANY_TO_MANY = 5


class Tensor(Protocol):
    """An operand as a loop rule sees it."""

    shape: tuple[Expr, ...]
    dtype: np.dtype

    def __getitem__(self, index: Sequence[Expr]) -> Value: ...


class Body(Protocol):
    """What a loop rule may do besides reading operands (`lowering.body` is the real one)."""

    def op(self, name: str, *args: Value, dtype: np.dtype | None = None) -> Value: ...
    def const(self, value: object, dtype: np.dtype) -> Value: ...
    def convert(self, value: Value, dtype: np.dtype) -> Value: ...
    def position(self, expr: Expr, dtype: np.dtype) -> Value: ...  # an index as a value
    def index(self, value: Value) -> Expr: ...  # an integer value as an index
    def where(self, cond: Value, then: Callable[[], Value], other: Value) -> Value: ...  # reads of `then` happen where cond
    def fold(self, op: str, dtype: np.dtype, extents: Sequence[Expr], body: Callable[[tuple[Expr, ...]], Value]) -> Value: ...
    def simplify(self, expr: Expr) -> Expr: ...
    def known_eq(self, a: Expr, b: Expr) -> bool: ...


@dataclass(frozen=True, slots=True)
class Out:
    """The output that a rule computes: which one of the eqn's, and its aval."""

    shape: tuple[Expr, ...]
    dtype: np.dtype
    number: int = 0


@dataclass(frozen=True)
class OpDef:
    prim: object
    dyn: Dyn
    mapping: Mapping
    pull: Callable[..., Value] | None = None
    values: Callable | None = None
    solve: Callable | None = None
    forward: Callable | None = None
    contraction: Callable | None = None
    inner: str | None = None
    cost: float = 1.0  # scalar operations per output element, roughly; reductions: per input element
    folds: bool = False  # every output element folds over many input elements
    moves: bool = False  # outputs are input elements at other places, or constants: never worth a buffer of its own
    affine: bool = False  # moves elements by an affine index map: an operand read through it is still addressed by strides
    is_identity: bool = False  # out[i] = x[i]: the eqn says something to JAX and nothing to a CPU


OPS: dict[object, OpDef] = {}


def defop(record: OpDef) -> OpDef:
    """Registers a record; a second one for the same primitive is a mistake."""
    if record.prim in OPS:
        raise ValueError(f"{record.prim} has a record already")
    OPS[record.prim] = record
    return record


def of(prim) -> OpDef | None:
    """The record of `prim`, or None: the compiler then refuses the eqn by name."""
    return OPS.get(prim)


def defops(records: Iterable[OpDef]) -> None:
    for record in records:
        defop(record)
