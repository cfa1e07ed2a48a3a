"""The Program: everything the runtime needs to run one compiled function at any size.

* `symbols` are the unknown sizes; each is solved from one input's axis (`symbol = (size - offset) / scale`, exactly).
* `guards` decide, before anything runs, whether this program fits a call. A broken "contract" is the caller's error; a broken
  "version" guard means that another version must be compiled; a broken "check" is an error found in the middle of a trace.
* `slots` are buffers: an input, an output, a place in the arena at a symbolic offset, a constant, or a cached buffer (filled by
  `prepare` steps, again only when an input that they read is another array than last time: packed weights).
* `steps` run in order. A `Step` is one kernel over slots and sizes; a `HostCall` a function of the process (a library, XLA, the
  user's callback); a `Branch` runs one of several lists of steps, a `Loop` one list again and again. All of them share the slots.
* Positions count all steps in the order of `walk`: a control step first, then what it holds. Slots live from one to another.
* All sizes are `Expr`s over symbols. The runtime gets them as postfix code and evaluates them once per shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from sod2jax.ir.expr import Expr
from sod2jax.ir.loops import Buffer, Kernel

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
    error: type[Exception] | None = None  # what JAX raises where it is broken, if another version would not do, either

    def broken(self, env: dict[str, int]) -> str:
        """What to say where the sizes `env` break it."""
        values = {"lhs": str(self.cond.lhs.eval(env)), "rhs": str(self.cond.rhs.eval(env))}
        text = self.message or f"{self.cond} must hold"
        for name, value in values.items():
            text = text.replace("{" + name + "}", value)
        return f"{text} at {self.where}" if self.where else text


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
    donor: int | None = None  # the input whose memory it may take if a call donates it; the steps are right either way


@dataclass(frozen=True, slots=True)
class Slot:
    """A buffer. `index` counts within its kind: which input, output or constant; `offset` places an arena slot."""

    kind: str  # "input" | "output" | "arena" | "constant" | "cached"
    index: int
    dtype: np.dtype
    shape: Shape
    nbytes: Expr
    offset: Expr | None = None
    first: int = 0  # live from position `first` to position `last`, inclusive
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


@dataclass(frozen=True, slots=True)
class Extern:
    """A kernel that the runtime brings along under this name; it is called as a generated one is."""

    name: str
    buffers: tuple[Buffer, ...]
    sizes: tuple[str, ...]


@dataclass(frozen=True)
class Host:
    """A function of this process: `call(*reads) -> results`, NumPy arrays in and a sequence of arrays out.

    The arrays that it is given lie in the runtime's memory and are valid during the call only; results are copied.
    """

    name: str  # "cholesky", "callback"
    call: Callable[..., Sequence[np.ndarray]]
    kind: str = "library"  # | "island" (compiled by XLA at the call's sizes) | "callback"
    note: str = ""  # why it is an island, and the user's line


@dataclass(frozen=True, slots=True)
class HostCall:
    """One call of `Program.hosts[host]`; shapes and dtypes are the slots'."""

    host: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Branch:
    """Runs one of `branches`: number `slots[index]`, a scalar of bool or int32, clamped into range."""

    index: int
    branches: tuple[tuple[AnyStep, ...], ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Loop:
    """Runs `body` `length` times, or (`length` None) while `cond` leaves true in the bool scalar slot `pred`.

    `counter`, if any, is an int64 scalar slot that holds the number of the iteration. After each one the two slots of each
    pair in `swaps` change places: the first holds the loop's state, the second received the next one. They have equal bytes.
    After the last iteration the state lies in the first slot's own memory. `fresh` are slots that the iterations fill together:
    what they held before does not matter.
    """

    body: tuple[AnyStep, ...]
    length: Expr | None = None
    counter: int | None = None
    cond: tuple[AnyStep, ...] = ()
    pred: int | None = None
    swaps: tuple[tuple[int, int], ...] = ()
    source: str = ""
    fresh: tuple[int, ...] = ()


AnyStep = Step | HostCall | Branch | Loop


def blocks(step: AnyStep) -> tuple[tuple[AnyStep, ...], ...]:
    """The lists of steps that a control step holds, in the order of `walk`."""
    match step:
        case Branch():
            return step.branches
        case Loop():
            return step.cond, step.body
    return ()


def walk(steps: Sequence[AnyStep]) -> Iterator[AnyStep]:
    """All steps, nested ones after the one that holds them: the order that positions count."""
    for step in steps:
        yield step
        for block in blocks(step):
            yield from walk(block)


def uses(step: AnyStep, kernels: Sequence[Kernel | Extern]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The slots that a step reads and writes, without those of the steps that it holds."""
    match step:
        case Step():
            access = [(b.access, s) for b, s in zip(kernels[step.kernel].buffers, step.slots, strict=True)]
            return tuple(s for a, s in access if a != "w"), tuple(s for a, s in access if a != "r")
        case HostCall():
            return step.reads, step.writes
        case Branch():
            return (step.index,), ()
        case Loop():
            states = tuple(s for pair in step.swaps for s in pair)
            counter = () if step.counter is None else (step.counter,)
            return states, (*counter, *states)
    raise TypeError(f"{step!r} is no step")


@dataclass(frozen=True)
class Program:
    name: str
    symbols: tuple[SymbolDef, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    slots: tuple[Slot, ...]
    steps: tuple[AnyStep, ...]
    kernels: tuple[Kernel | Extern, ...]
    guards: tuple[Guard, ...] = ()
    constants: tuple[np.ndarray, ...] = ()
    hosts: tuple[Host, ...] = ()
    arena: Expr | None = None  # bytes of the arena
    bounds: dict[str, tuple[int, int | None]] = field(default_factory=dict)  # of the symbols
