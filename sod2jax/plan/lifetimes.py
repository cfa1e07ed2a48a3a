"""Lifetimes of slots, and who may write over what: the one place where the planner decides either.

* Positions count as `ir.program.walk` does. A step needs a slot afterwards if a step that may run later reads it before it is
  written anew: a later step of the list, of what follows the list, or of the loop's next iteration.
* Lists are followed backwards. A loop may run not at all or again, so that at its head, and at the end of its body, all is
  needed that follows the loop or that an iteration reads before it writes it.
* Both slots of a pair that changes places hold a state in turn, and the counter is written anew by each iteration: they live
  from a loop's first position to its last. So does everything that is needed at its head.
* A branch needs what any of its lists needs, and has written what all of them have.
* A slot's lifetime is the range of positions from the first to the last at which it is used or needed. It holds a loop from
  outside either whole or not at all.
* `may_overwrite`: nothing that runs later needs the old contents, and the kernel that writes the new ones reads each old element
  before it writes there (`Buffer.inplace`). A kernel of several steps gives no such word, unless it was shown for the whole of
  it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sod2jax.ir.loops import Kernel
from sod2jax.ir.program import AnyStep, Branch, Extern, Loop, Step, blocks, uses, walk

Slots = frozenset[int]
NONE: Slots = frozenset()


@dataclass(frozen=True)
class _Effect:
    """Of one step, or of a list: what it reads before it writes it, what it surely writes, and its number of positions."""

    reads: Slots = NONE
    writes: Slots = NONE
    count: int = 0

    def then(self, other: _Effect) -> _Effect:
        return _Effect(self.reads | (other.reads - self.writes), self.writes | other.writes, self.count + other.count)


class Lifetimes:
    """`first[s]` and `last[s]` of each slot that `steps` use; `needed` are slots that are read after all of them."""

    def __init__(self, steps: Sequence[AnyStep], kernels: Sequence[Kernel | Extern], needed: Collection[int] = ()):
        self.kernels = kernels
        self.steps = list(walk(steps))
        self.first: dict[int, int] = {}
        self.last: dict[int, int] = {}
        self.writers: dict[int, int] = {}  # how many steps write a slot
        self.needed: list[Slots] = [NONE] * len(self.steps)  # after each step, of its own slots
        self.loop: list[int] = [-1] * len(self.steps)  # around each step: position of the innermost loop
        self._ends: dict[int, int] = {}  # of loops
        self._effects: dict[int, _Effect] = {}  # by id: the steps are alive
        self._list(steps, 0, set(needed), -1)
        self._hold_loops_whole()

    # -- what steps do

    def _effect(self, step: AnyStep) -> _Effect:
        found = self._effects.get(id(step))
        if found is None:
            found = self._effects[id(step)] = self._find_effect(step)
        return found

    def _find_effect(self, step: AnyStep) -> _Effect:
        match step:
            case Branch():
                lists = [self._effect_of(block) for block in step.branches]
                reads = frozenset({step.index}).union(*(e.reads for e in lists))
                return _Effect(reads, frozenset.intersection(*(e.writes for e in lists)), 1 + sum(e.count for e in lists))
            case Loop():
                around = self._iteration(step)
                states = {old for old, _ in step.swaps}
                writes = self._effect_of(step.cond).writes.union(step.fresh)  # a condition is asked at least once
                return _Effect((around.reads | states) - {*step.fresh, step.counter}, writes, 1 + around.count)
        reads, writes = uses(step, self.kernels)
        return _Effect(frozenset(reads), frozenset(writes), 1)

    def _iteration(self, loop: Loop) -> _Effect:
        asks = _Effect(NONE if loop.pred is None else frozenset({loop.pred}))
        gives = _Effect(frozenset(new for _, new in loop.swaps))
        return self._effect_of(loop.cond).then(asks).then(self._effect_of(loop.body)).then(gives)

    def _effect_of(self, steps: Sequence[AnyStep]) -> _Effect:
        total = _Effect()
        for step in steps:
            total = total.then(self._effect(step))
        return total

    # -- backwards

    def _touch(self, slots: Collection[int], at: int) -> None:
        for s in slots:
            self.first[s] = min(self.first.get(s, at), at)
            self.last[s] = max(self.last.get(s, at), at)

    def _list(self, steps: Sequence[AnyStep], begin: int, live: set[int], loop: int) -> None:
        """Steps from position `begin` on; `live` is what is needed after them, and becomes what is needed before them."""
        at = begin + sum(self._effect(s).count for s in steps)
        for step in reversed(steps):
            at -= self._effect(step).count
            self.loop[at] = loop
            match step:
                case Branch():
                    self._branch(step, at, live, loop)
                case Loop():
                    self._loop(step, at, live)
                case _:
                    reads, writes = uses(step, self.kernels)
                    self._touch((*reads, *writes), at)
                    self.needed[at] = frozenset(s for s in (*reads, *writes) if s in live)
                    for s in writes:
                        self.writers[s] = self.writers.get(s, 0) + 1
                    live.difference_update(writes)
                    live.update(reads)

    def _branch(self, step: Branch, at: int, live: set[int], loop: int) -> None:
        before: set[int] = {step.index}
        begin = at + 1
        for block in step.branches:
            inner = set(live)
            self._list(block, begin, inner, loop)
            begin += self._effect_of(block).count
            before |= inner
        # What all lists write is one thing to those who read it afterwards.
        self._touch((step.index, *frozenset.intersection(*(self._effect_of(b).writes for b in step.branches))), at)
        live.clear()
        live |= before

    def _loop(self, step: Loop, at: int, live: set[int]) -> None:
        middle = at + 1 + self._effect_of(step.cond).count
        end = self._ends[at] = at + self._effect(step).count - 1
        held = {s for pair in step.swaps for s in pair} | ({step.counter} - {None})
        head = self._iteration(step).reads | held | set(step.fresh)
        inner = live | head
        self._list(step.body, middle, inner, at)
        inner |= live | ({step.pred} - {None})
        self._list(step.cond, at + 1, inner, at)
        if step.pred is not None:
            self._touch((step.pred,), middle - 1)
        written = {s for inside in blocks(step) for s in self._touched(inside)}
        for s in head | (live & written):
            self._touch((s,), at)
            self._touch((s,), end)
        for s in held:
            self.writers[s] = self.writers.get(s, 0) + 1
        live.clear()
        live |= inner - {*step.fresh, step.counter}

    def _touched(self, steps: Sequence[AnyStep]) -> set[int]:
        return {s for step in walk(steps) for part in uses(step, self.kernels) for s in part}

    def _hold_loops_whole(self) -> None:
        """What lives before a loop and is used in it lives to its end."""
        for s, last in self.last.items():
            loop = self.loop[last] if not isinstance(self.steps[last], Loop) else last
            while loop >= 0:
                if self.first[s] <= loop < self.last[s]:
                    self.last[s] = max(self.last[s], self._ends[loop])
                loop = self.loop[loop]

    # -- who may write over what

    def may_overwrite(self, at: int, new: int, old: int) -> bool:
        """Whether the step at position `at` may write slot `new` where slot `old` lies."""
        step = self.steps[at]
        if not isinstance(step, Step) or self.last.get(old, -1) > at or old in self.needed[at]:
            return False
        if old not in step.slots:
            return True
        uses_of = lambda slot: [b for b, s in zip(self.kernels[step.kernel].buffers, step.slots, strict=True) if s == slot]
        (reads, writes) = uses_of(old), uses_of(new)
        return len(reads) == len(writes) == 1 and reads[0].access == "r" and reads[0].name in writes[0].inplace
