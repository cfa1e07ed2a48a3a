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
* `decompose`: the same in simpler primitives, as a JAX function `decompose(*operands, **params)`; traced and inlined like a call.
  NotImplemented instead of a result leaves the eqn as it is.
* `nest`: for what no `pull` can say (scatter, running sums): `nest(b, outs, *operands, **params)` writes the loops itself; see
  `Nest`. With a `pull` besides, the nest fills buffers (a concatenation, piece by piece), and what reads an element of it pulls.
* `overwrites`: {output: operand}, or a function from the eqn to it, whose memory the eqn updates in place; a copy comes first
  where the operand is needed elsewhere. With `spares`, only operands that nobody needs any more are overwritten, and none copied.
* `extern`: for kernels of the runtime's own (sort): `extern(outs, ins, **params) -> ExternCall`, given shapes and dtypes.
* `host`: for libraries: `host(**params) -> Host`, a function of NumPy arrays, called without knowledge of sizes beforehand.
* `lacks`: what of an eqn the rules cannot do, in words, or "": `lacks(*avals, **params)`; XLA then computes it (`ops.island`).
* `control`: the eqn holds jaxprs that run as steps of their own: `control(eqn)` gives its `ops.control.Loop` or `Branch`.
* `branches`: for branches, the param that holds their bodies: where values are followed, they meet behind it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Table
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from jax.extend.core import Var

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


class Array(Protocol):
    """An output as a nest sees it: memory of its own kernel, or (`overwrites`) what the operand holds already."""

    shape: tuple[Expr, ...]
    dtype: np.dtype

    def store(self, index: Sequence[Expr], value: Value, where: Value | None = None) -> None: ...
    def load(self, index: Sequence[Expr]) -> Value: ...  # what was stored last


class Nest(Body, Protocol):
    """What a `nest` rule may do besides.

    `with b.tasks(extents) as index:` stands around everything, once: iterations run on any thread in any order, so that no two of
    them may touch the same element of an output. `with b.loop(extent, kind="serial") as i:` is a loop; kind "vector" promises
    that its iterations are independent. Operands are read as in `pull`, and everything before them may be computed on the way.
    """

    def tasks(self, extents: Sequence[Expr]) -> AbstractContextManager[tuple[Expr, ...]]: ...
    def loop(self, extent: Expr, kind: str = "serial") -> AbstractContextManager[Expr]: ...
    def elements(self, shape: Sequence[Expr]) -> AbstractContextManager[tuple[Expr, ...]]: ...  # tasks; the last axis in vectors
    def when(self, cond: Value) -> AbstractContextManager[None]: ...  # cond must not vary in a vector loop
    def accumulator(self, op: str, dtype: np.dtype) -> AbstractContextManager[tuple]: ...  # (update(value), result() after loops)


@dataclass(frozen=True, slots=True)
class ExternCall:
    """A call of a kernel that the runtime brings along (`runtime/src/library.h`): buffers are the operands, then the outputs."""

    name: str
    sizes: tuple[Expr, ...]
    extent: Expr  # of its parallel loop
    work: Expr
    scratch: Expr  # bytes per thread


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
    decompose: Callable | None = None
    nest: Callable | None = None
    overwrites: Table[int, int] | Callable | None = None
    spares: bool = False
    extern: Callable | None = None
    host: Callable | None = None
    control: Callable | None = None
    branches: str | None = None
    lacks: Callable | None = None
    cost: float = 1.0  # scalar operations per output element, roughly; reductions: per input element
    folds: bool = False  # every output element folds over many input elements
    moves: bool = False  # outputs are input elements at other places, or constants: never worth a buffer of its own
    affine: bool = False  # moves elements by an affine index map: an operand read through it is still addressed by strides
    is_identity: bool = False  # out[i] = x[i]: the eqn says something to JAX and nothing to a CPU


    @property
    def whole(self) -> bool:
        """Whether the eqn computes all its outputs at once, by loops or calls of its own."""
        return self.pull is None and any(rule is not None for rule in (self.nest, self.extern, self.host, self.control))

    def overwritten(self, eqn) -> Table[int, int]:
        """`overwrites` of an eqn. With `spares`, without operands that are literals: nothing has their memory."""
        found = self.overwrites(eqn) if callable(self.overwrites) else self.overwrites or {}
        return {out: k for out, k in found.items() if isinstance(eqn.invars[k], Var)} if self.spares else found


OPS: dict[object, OpDef] = {}
FAMILIES: dict[object, str] = {}  # the module that registered a record


def defop(record: OpDef) -> OpDef:
    """Registers a record; a second one for the same primitive is a mistake."""
    if record.prim in OPS:
        raise ValueError(f"{record.prim} has a record already")
    OPS[record.prim] = record
    frame = sys._getframe()
    while (name := frame.f_globals["__name__"]) == __name__:
        frame = frame.f_back
    FAMILIES[record.prim] = name
    return record


def of(prim) -> OpDef | None:
    """The record of `prim`, or None: XLA then computes the eqn."""
    return OPS.get(prim)


def defops(records: Iterable[OpDef]) -> None:
    for record in records:
        defop(record)
