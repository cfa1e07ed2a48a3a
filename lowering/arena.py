"""The slots of a Program get their lives and their places in the arena.

* A slot lives from the first position that touches it to the last (`ir.program.walk` counts them). What a loop body reads of
  outside, and the states of the loop, live until the loop ends: the next iteration needs them.
* A result is written over a buffer that dies in its step, where its kernel allows that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sod2jax.ir.expr import Expr, const
from sod2jax.ir.loops import Kernel
from sod2jax.ir.program import AnyStep, Branch, Extern, Loop, Output, Slot, Step, uses, walk
from sod2jax.lowering.donate import cheap_copies, donors
from sod2jax.plan import memory


@dataclass(frozen=True)
class Placed:
    slots: tuple[Slot, ...]
    steps: tuple[AnyStep, ...]
    kernels: tuple[Kernel | Extern, ...]
    arena: Expr
    donors: Mapping[int, int]  # of outputs: the inputs whose memory they may take


class _Lives:
    """First and last position of each slot, and the loop that each position stands in."""

    def __init__(self, steps: Sequence[AnyStep], kernels: Sequence[Kernel | Extern]):
        self.kernels = kernels
        self.first: dict[int, int] = {}
        self.last: dict[int, int] = {}
        self.loop: list[int] = []  # of each position: that of the innermost loop around it, -1 for none
        self.writers: dict[int, int] = {}
        self.run(steps, -1)

    def touch(self, slot: int, at: int) -> None:
        self.first.setdefault(slot, at)
        self.last[slot] = at

    def run(self, steps: Sequence[AnyStep], loop: int) -> None:
        for step in steps:
            at = len(self.loop)
            self.loop.append(loop)
            reads, writes = uses(step, self.kernels)
            for slot in (*reads, *writes):
                self.touch(slot, at)
            for slot in writes:
                self.writers[slot] = self.writers.get(slot, 0) + 1
            match step:
                case Branch():
                    # What any branch writes is one thing to those who read it afterwards.
                    for slot in results(step, self.kernels):
                        self.touch(slot, at)
                    for block in step.branches:
                        self.run(block, loop)
                case Loop():
                    self.loop_around(step, at)

    def loop_around(self, step: Loop, at: int) -> None:
        for slot in carried(step, self.kernels):
            self.touch(slot, at)
        self.run(step.cond, at)
        self.run(step.body, at)
        end = len(self.loop) - 1
        for slot, last in self.last.items():
            if last > at and self.first[slot] <= at:
                self.last[slot] = end


def carried(step: Loop, kernels) -> set[int]:
    """The slots of a loop that hold something from one iteration to the next: read by its steps before they are written."""
    return _exposed((*step.cond, *step.body), kernels) | {s for pair in step.swaps for s in pair} | (
        set() if step.counter is None else {step.counter}
    )  # fmt: skip


def results(step: Branch, kernels) -> set[int]:
    """The slots that every branch writes."""
    written = [{s for inner in walk(block) for s in uses(inner, kernels)[1]} for block in step.branches]
    return set.intersection(*written)


def _exposed(steps: Sequence[AnyStep], kernels) -> set[int]:
    found, written = set(), set()
    for step in walk(steps):
        reads, writes = uses(step, kernels)
        found.update(r for r in reads if r not in written)
        written.update(writes)
    return found


def place(
    slots: Sequence[Slot],
    steps: Sequence[AnyStep],
    kernels: Sequence[Kernel | Extern],
    overwritable: Mapping[int, Sequence[int]],
    samples: Sequence[Mapping[str, int]],
    outputs: Sequence[Output] = (),
    donated: Collection[int] = (),
    plain: bool = False,
) -> Placed:
    """Places the arena slots; with `plain` (memory planning disabled) each gets a place of its own."""
    lives = _Lives(steps, kernels)
    slots = [replace(s, first=lives.first.get(i, 0), last=lives.last.get(i, 0)) for i, s in enumerate(slots)]
    numbers = [i for i, s in enumerate(slots) if s.kind == "arena"]
    position = {s: k for k, s in enumerate(numbers)}
    heirs = [] if plain else _heirs(slots, steps, lives, position, overwritable)
    over = {(numbers[a], numbers[b]) for a, b in heirs}
    taken = donors(outputs, slots, steps, lives.loop, overwritable, donated)
    inputs = {s.index: i for i, s in enumerate(slots) if s.kind == "input"}
    given = {(inputs[d], outputs[o].slot) for o, d in taken.items() if outputs[o].slot is not None}
    kernels = list(kernels)
    steps = cheap_copies(steps, kernels, slots, given)
    over |= given
    end = len(lives.loop)
    buffers = [memory.Buffer(slots[i].nbytes, 0 if plain else slots[i].first, end if plain else slots[i].last) for i in numbers]
    merged, owner = memory.share(buffers, heirs)
    placement = memory.place(merged, samples)
    for k, i in enumerate(numbers):
        slots[i] = replace(slots[i], offset=placement.offsets[owner[k]])
    table: dict[Kernel | Extern, int] = {}
    steps = tuple(_in_place(s, kernels, over, table) for s in steps)
    return Placed(tuple(slots), steps, tuple(table), placement.arena if numbers else const(0), taken)


def _heirs(slots, steps, lives: _Lives, position, overwritable) -> list[tuple[int, int]]:
    """Pairs (old, new) of arena slots where `new` is written over `old`, which dies there."""
    heirs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for at, step in enumerate(walk(steps)):
        if not isinstance(step, Step) or (written := step.slots[-1]) not in position or lives.writers[written] != 1:
            continue
        if slots[written].first != at:
            continue  # part of something larger: the result of a branch, the state of a loop
        for s in step.slots[:-1]:
            dies = s in position and slots[s].last == at and slots[s].first > lives.loop[at] and s not in taken
            fits = s in overwritable.get(written, ()) and slots[s].nbytes == slots[written].nbytes and step.slots.count(s) == 1
            if dies and fits:
                heirs.append((position[s], position[written]))
                taken.add(s)
                break
    return heirs


def _in_place(step: AnyStep, kernels, over, table: dict) -> AnyStep:
    """Kernels whose output lies over an input say so, since others assume that buffers do not overlap. Numbers them anew."""
    again = lambda block: tuple(_in_place(s, kernels, over, table) for s in block)
    match step:
        case Branch():
            return replace(step, branches=tuple(map(again, step.branches)))
        case Loop():
            return replace(step, cond=again(step.cond), body=again(step.body))
        case Step():
            kernel = kernels[step.kernel]
            written = step.slots[-1]
            pairs = list(zip(kernel.buffers, step.slots, strict=True))[:-1]
            names = {b.name for b, s in pairs if (s, written) in over or s == written}
            if names:
                *reads, out = kernel.buffers
                kernel = replace(kernel, buffers=(*reads, replace(out, inplace=names.pop())))
            return replace(step, kernel=table.setdefault(kernel, len(table)))
    return step
