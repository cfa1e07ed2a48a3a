"""Where the next state of a loop is written: over the old one if nothing reads that any more, else beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace

from sod2jax.ir.expr import Expr, ceildiv, const, minimum, sym
from sod2jax.ir.loops import Buffer, For, Kernel, Load, Store, stored
from sod2jax.ir.program import AnyStep, Extern, Loop, Slot, uses, walk
from sod2jax.lowering.canonical import Bound, canonical
from sod2jax.lowering.loopnest import BLOCK
from sod2jax.lowering.pull import OUT
from sod2jax.plan.lifetimes import Lifetimes


def merge_states(
    steps: Sequence[AnyStep],
    states: Sequence[tuple[int, int]],
    kernels: Sequence[Kernel | Extern],
) -> tuple[list[AnyStep], list[tuple[int, int]]]:
    """The body's steps where (old, new) of `states` became one slot if they may, and the pairs that did not.

    They may if one step of the list writes the new state, and may write it over the old one.
    """
    pairs = [(old, new) for old, new in states if old != new]
    lives = Lifetimes(steps, kernels, [new for _, new in pairs]) if pairs else None
    swaps, merged = [], {}
    for old, new in pairs:
        at = lives.first.get(new)
        writes = at is not None and new in uses(lives.steps[at], kernels)[1] and lives.writers[new] == 1
        if writes and any(lives.steps[at] is s for s in steps) and lives.may_overwrite(at, new, old):
            merged[new] = old
        else:
            swaps.append((old, new))
    return [renamed(s, merged) for s in steps], swaps


def renamed(step: AnyStep, names: Mapping[int, int]):
    """`step` with other slots; what it holds, too."""
    if not names:
        return step
    slot = lambda s: names.get(s, s)
    changes = {}
    for f in fields(step):
        value = getattr(step, f.name)
        if f.name in ("slots", "reads", "writes", "fresh"):
            changes[f.name] = tuple(map(slot, value))
        elif f.name in ("index", "counter", "pred"):
            changes[f.name] = slot(value)
        elif f.name == "swaps":
            changes[f.name] = tuple((slot(a), slot(b)) for a, b in value)
        elif f.name in ("body", "cond"):
            changes[f.name] = tuple(renamed(s, names) for s in value)
        elif f.name == "branches":
            changes[f.name] = tuple(tuple(renamed(s, names) for s in block) for block in value)
    assert is_dataclass(step)
    return replace(step, **changes)


def compact(
    slots: Sequence[Slot],
    steps: Sequence[AnyStep],
    kernels: Sequence[Kernel | Extern],
) -> tuple[list[Slot], tuple[AnyStep, ...], dict[int, int]]:
    """Drops the arena slots that no step touches any more; gives the new number of each slot, too."""
    used = {s for step in walk(steps) for part in uses(step, kernels) for s in part}
    used |= {step.pred for step in walk(steps) if isinstance(step, Loop) and step.pred is not None}
    kept = [i for i, s in enumerate(slots) if s.kind != "arena" or i in used]
    new = {old: k for k, old in enumerate(kept)}
    return [slots[i] for i in kept], tuple(renamed(s, new) for s in steps), new


def renumbered(step: Loop, old: int, new: int) -> Loop:
    """The loop of one kernel, whose number turned out to be another."""
    again = lambda block: tuple(replace(s, kernel=new) if s.kernel == old else s for s in block)
    return replace(step, cond=again(step.cond), body=again(step.body))


def copying(slot: Slot) -> tuple[Bound, Expr, Expr]:
    """A kernel that copies a slot's elements to another, its extent and its work."""
    size = const(1)
    for d in slot.shape:
        size = size * d
    dtype = stored(slot.dtype)
    size = size * (slot.dtype.itemsize // dtype.itemsize)
    task, at = sym("_task"), sym("_at")
    place = task * BLOCK + at
    loop = For("_at", minimum(const(BLOCK), size - task * BLOCK), (Store(OUT, place, Load("x0", place, dtype)),), "vector")
    extent = ceildiv(size, const(BLOCK))
    kernel = Kernel("copy", (Buffer("x0", dtype, "r"), Buffer(OUT, dtype, "w")), (), (), "_task", extent, (loop,))
    return canonical(kernel), extent, 2 * size
