"""The Program: everything the runtime needs to run one compiled function at any size.

* `symbols` are the unknown sizes; each is solved from one input's axis (`symbol = (size - offset) / scale`, exactly).
* `guards` decide, before anything runs, whether this program fits a call. A broken "contract" is the caller's error; a broken
  "version" guard means that another version must be compiled; a broken "check" is an error found in the middle of a trace.
* `slots` are buffers: an input, an output, a place in the arena at a symbolic offset, a constant, or a cached buffer (filled by
  `prepare` steps, again only when an input that they read is another array than last time: packed weights).
* `steps` run in order; each is one kernel over slots and sizes.
* All sizes are `Expr`s over symbols. The runtime gets them as postfix code and evaluates them once per shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sod2jax.ir.expr import Expr
from sod2jax.ir.loops import Kernel

Shape = tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Cond:
    """`lhs op rhs` over sizes, with op one of "==", "!=", "<=", "<"."""

    lhs: Expr
    op: str
    rhs: Expr

    def __str__(self):
        return f"{self.lhs} {self.op} {self.rhs}"


@dataclass(frozen=True, slots=True)
class Guard:
    cond: Cond
    kind: str  # "contract" | "version" | "check"
    message: str  # the rule in the user's words; {lhs} and {rhs} are filled with the values
    where: str = ""  # the user's source line, if known


@dataclass(frozen=True, slots=True)
class SymbolDef:
    """symbol = (size of axis `axis` of input `input` - offset) / scale."""

    name: str
    input: int
    axis: int
    scale: int = 1
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Input:
    path: str  # as users write it: "params['layer']['kernel']"
    dtype: np.dtype
    shape: Shape


@dataclass(frozen=True, slots=True)
class Output:
    """An array made by the steps, or (`forward`) an input handed back as it is."""

    dtype: np.dtype
    shape: Shape
    slot: int | None
    forward: int | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """A buffer. `index` counts within its kind: which input, output or constant; `offset` places an arena slot."""

    kind: str  # "input" | "output" | "arena" | "constant" | "cached"
    index: int
    dtype: np.dtype
    shape: Shape
    nbytes: Expr
    offset: Expr | None = None
    first: int = 0  # live from step `first` to step `last`, inclusive
    last: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel call. `prepare` names the inputs that it depends on, if it depends on nothing else and writes a cached slot."""

    kernel: int
    slots: tuple[int, ...]  # one per kernel buffer
    sizes: tuple[Expr, ...]  # one per kernel size
    extent: Expr  # trip count of the parallel loop
    work: Expr  # estimated scalar operations of the whole step; decides how many threads are worth waking
    scratch: Expr  # bytes of locals per thread
    prepare: tuple[int, ...] = ()
    source: str = ""  # the eqns it computes, for people


@dataclass(frozen=True)
class Program:
    name: str
    symbols: tuple[SymbolDef, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    kernels: tuple[Kernel, ...]
    guards: tuple[Guard, ...] = ()
    constants: tuple[np.ndarray, ...] = ()
    arena: Expr | None = None  # bytes of the arena
    bounds: dict[str, tuple[int, int | None]] = field(default_factory=dict)  # of the symbols
