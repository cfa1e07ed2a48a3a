"""The slots of a Program get their lives and their places in the arena.

* Lifetimes, and which step may write over what, are `plan.lifetimes`' to say.
* A result is written over a buffer whose lifetime ends in its step, where that may be. The kernel is then told so.
* Without the memory plan each slot has memory of its own, and nothing is written over anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sod2jax.ir.expr import Expr, const
from sod2jax.ir.loops import Buffer, Kernel
from sod2jax.ir.program import AnyStep, Branch, Extern, Loop, Output, Slot, Step
from sod2jax.lowering.donate import cheap_copies, donors
from sod2jax.plan import memory
from sod2jax.plan.lifetimes import Lifetimes


@dataclass(frozen=True)
class Placed:
    slots: tuple[Slot, ...]
    steps: tuple[AnyStep, ...]
    kernels: tuple[Kernel | Extern, ...]
    arena: Expr
    donors: Mapping[int, int]  # of outputs: the inputs whose memory they may take


def place(
    slots: Sequence[Slot],
    steps: Sequence[AnyStep],
    kernels: Sequence[Kernel | Extern],
    samples: Sequence[Mapping[str, int]],
    outputs: Sequence[Output] = (),
    donated: Collection[int] = (),
    plain: bool = False,
) -> Placed:
    """Places the arena slots; with `plain` (memory planning disabled) each gets a place of its own."""
    lives = Lifetimes(steps, kernels)
    slots = [replace(s, first=lives.first.get(i, 0), last=lives.last.get(i, 0)) for i, s in enumerate(slots)]
    numbers = [i for i, s in enumerate(slots) if s.kind == "arena"]
    position = {s: k for k, s in enumerate(numbers)}
    successors = [] if plain else _successors(slots, lives, position)
    over = {(numbers[a], numbers[b]) for a, b in successors}
    taken = {} if plain else donors(outputs, slots, lives, donated)
    inputs = {s.index: i for i, s in enumerate(slots) if s.kind == "input"}
    given = {(inputs[d], outputs[o].slot) for o, d in taken.items() if outputs[o].slot is not None}
    kernels = list(kernels)
    steps = cheap_copies(steps, kernels, slots, given)
    over |= given
    end = len(lives.steps)
    buffers = [memory.Buffer(slots[i].nbytes, 0 if plain else slots[i].first, end if plain else slots[i].last) for i in numbers]
    merged, owner = memory.share(buffers, successors)
    placement = memory.place(merged, samples)
    for k, i in enumerate(numbers):
        slots[i] = replace(slots[i], offset=placement.offsets[owner[k]])
    table: dict[Kernel | Extern, int] = {}
    steps = tuple(_in_place(s, kernels, over, table) for s in steps)
    return Placed(tuple(slots), steps, tuple(table), placement.arena if numbers else const(0), taken)


def _successors(slots: Sequence[Slot], lives: Lifetimes, position: Mapping[int, int]) -> list[tuple[int, int]]:
    """Pairs (old, new) of arena slots where `new` is written over `old`, whose lifetime ends there."""
    successors: list[tuple[int, int]] = []
    taken: set[int] = set()
    for at, step in enumerate(lives.steps):
        if not isinstance(step, Step) or (new := step.slots[-1]) not in position:
            continue
        if lives.writers[new] != 1 or slots[new].first != at:
            continue  # part of something larger: the result of a branch, the state of a loop
        for old in step.slots[:-1]:
            ends = old in position and slots[old].first < at == slots[old].last and old not in taken
            if ends and slots[old].nbytes == slots[new].nbytes and lives.may_overwrite(at, new, old):
                successors.append((position[old], position[new]))
                taken.add(old)
                break
    return successors


def _in_place(step: AnyStep, kernels, over, table: dict) -> AnyStep:
    """Each kernel says which of its buffers lie over which others here: it takes all others to be apart. Numbers them anew."""
    again = lambda block: tuple(_in_place(s, kernels, over, table) for s in block)
    match step:
        case Branch():
            return replace(step, branches=tuple(map(again, step.branches)))
        case Loop():
            return replace(step, cond=again(step.cond), body=again(step.body))
        case Step():
            kernel = kernels[step.kernel]
            slot_of = {b.name: s for b, s in zip(kernel.buffers, step.slots, strict=True)}

            def narrowed(buffer: Buffer) -> Buffer:
                new = slot_of[buffer.name]
                return replace(buffer, inplace=tuple(n for n in buffer.inplace if slot_of[n] == new or (slot_of[n], new) in over))

            if any(b.inplace for b in kernel.buffers):
                kernel = replace(kernel, buffers=tuple(map(narrowed, kernel.buffers)))
            return replace(step, kernel=table.setdefault(kernel, len(table)))
    return step
