"""The checker of memory over time: no write destroys what something that runs later reads.

It shares nothing with the planner: it does not ask which lifetimes were meant, but follows the memory along every path.

* A graph of moments: one per step, one for each end of a loop's iteration, and edges to all that may run next. Two slots that
  change places do so at each iteration's end, so that a loop with such pairs is laid out twice, once per assignment of slots to
  memory; after an odd number of iterations the states are moved back. A place is the memory of one slot.
* Backwards to a fixpoint: which places are read later. A write ends that, unless it may be partial. Forwards: which places some
  path has written. What is both is needed.
* At each moment the places that it writes must be apart from every place that is still needed, and from those that the same
  kernel reads; two that are one memory need the kernel's word (`Buffer.inplace`, which `ir.check_inplace` holds to be true).
* The life that a slot declares covers every moment at which its place is used or needed: the runtime may fill it with anything
  outside of that life (`SOD2_CHECK=2`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sod2jax.ir.check_kernel import first_touch
from sod2jax.ir.loops import Kernel
from sod2jax.ir.program import AnyStep, Branch, HostCall, Loop, Program, Step, walk


@dataclass(eq=False)
class Moment:
    """Sets of places are bit masks."""

    at: int  # position of the step
    what: str
    loops: tuple[tuple[int, int], ...]  # around it: first and last position
    reads: int = 0
    fills: int = 0  # written as a whole
    touches: int = 0  # written in part, or where it may not be
    clears: int = 0  # made to hold nothing
    over: frozenset[tuple[int, int]] = frozenset()  # (place written, place read): the kernel's word that they may be one
    ends: bool = False  # a loop's end: what is needed here, the loop holds
    then: list[Moment] = field(default_factory=list)
    before: int = 0  # places that are read later: before it, and after it
    after: int = 0
    holds: int = 0  # places that some path has written, after it

    @property
    def needed(self) -> int:
        return self.after & self.holds


class Timeline:
    """All moments of a Program, with what is needed before and after each."""

    def __init__(self, p: Program):
        self.p, self.moments = p, []
        self.places = list(range(len(p.slots)))  # of each slot, at the moment that is laid out
        last = self._list(p.steps, 0, [], ())
        end = self._moment(len(list(walk(p.steps))), "the end", ())
        end.reads = _mask(o.slot for o in p.outputs if o.slot is not None)
        self._join(last, end)
        self._solve()

    # -- moments

    def _moment(self, at: int, what: str, loops) -> Moment:
        self.moments.append(moment := Moment(at, what, loops))
        return moment

    @staticmethod
    def _join(before: Sequence[Moment], moment: Moment) -> None:
        for b in before:
            b.then.append(moment)

    def _place(self, slots) -> int:
        return _mask(self.places[s] for s in slots)

    def _list(self, steps: Sequence[AnyStep], at: int, before: list[Moment], loops) -> list[Moment]:
        """Lays out steps from position `at` on, after the moments of `before`; gives the last ones."""
        for step in steps:
            before = self._step(step, at, before, loops)
            at += sum(1 for _ in walk((step,)))
        return before

    def _step(self, step: AnyStep, at: int, before: list[Moment], loops) -> list[Moment]:
        match step:
            case Branch():
                choice = self._moment(at, "the choice of a branch", loops)
                choice.reads = self._place((step.index,))
                self._join(before, choice)
                after, begin = [], at + 1
                for block in step.branches:
                    after += self._list(block, begin, [choice], loops)
                    begin += sum(1 for _ in walk(block))
                return after
            case Loop():
                return self._loop(step, at, before, loops)
        moment = self._moment(at, "", loops)
        self._join(before, moment)
        if isinstance(step, HostCall):
            moment.what = self.p.hosts[step.host].name
            moment.reads, moment.fills = self._place(step.reads), self._place(step.writes)
        else:
            self._kernel(moment, step)
        return [moment]

    def _kernel(self, moment: Moment, step: Step) -> None:
        kernel = self.p.kernels[step.kernel]
        moment.what = kernel.name
        place = {b.name: self.places[s] for b, s in zip(kernel.buffers, step.slots, strict=True)}
        for b in kernel.buffers:
            fresh = isinstance(kernel, Kernel) and first_touch(kernel, b.name) == "write"
            if b.access == "r" or (b.access == "rw" and not fresh):
                moment.reads |= 1 << place[b.name]
            if b.access == "w":
                moment.fills |= 1 << place[b.name]
            elif b.access == "rw":
                moment.touches |= 1 << place[b.name]
        moment.over = frozenset((place[b.name], place[n]) for b in kernel.buffers for n in b.inplace if n in place)

    def _loop(self, step: Loop, at: int, before: list[Moment], loops) -> list[Moment]:
        middle = at + 1 + sum(1 for _ in walk(step.cond))
        last = middle + sum(1 for _ in walk(step.body)) - 1
        around = (*loops, (at, last))
        enter = self._moment(at, "the beginning of a loop", loops)
        enter.clears = self._place(step.fresh)
        self._join(before, enter)
        heads, leaves, came = [], [], [enter]
        for odd in (False, True)[: 2 if step.swaps else 1]:
            head = self._moment(at, "the head of a loop", around)
            head.fills = 0 if step.counter is None else self._place((step.counter,))
            self._join(came, head)
            heads.append(head)
            asked = self._list(step.cond, at + 1, [head], around)
            if step.pred is not None:
                test = self._moment(middle - 1, "the condition of a loop", around)
                test.reads = self._place((step.pred,))
                self._join(asked, test)
                asked = [test]
            leave = self._moment(last, "the end of a loop", loops)
            leave.ends = True
            self._join(asked, leave)
            done = self._list(step.body, middle, asked, around)
            turn = self._moment(last, "the end of an iteration", around)
            turn.ends = True
            turn.reads = self._place(new for _, new in step.swaps)
            self._join(done, turn)
            if odd:
                states, news = (self._place(pair[k] for pair in step.swaps) for k in (0, 1))
                leave.reads, leave.fills = states, news  # the states move back to their own memory
            leaves.append(leave)
            self._swap(step)
            came = [turn]
        if not step.swaps:
            self._swap(step)
        self._join(came, heads[0])
        return leaves

    def _swap(self, step: Loop) -> None:
        for a, b in step.swaps:
            self.places[a], self.places[b] = self.places[b], self.places[a]

    def _solve(self) -> None:
        changed = True
        while changed:
            changed = False
            for m in reversed(self.moments):
                after = 0
                for n in m.then:
                    after |= n.before
                before = (after & ~m.fills & ~m.clears) | m.reads
                if (before, after) != (m.before, m.after):
                    m.before, m.after, changed = before, after, True
        held = dict.fromkeys(self.moments, 0)  # before each moment
        changed = True
        while changed:
            changed = False
            for m in self.moments:
                m.holds = held[m] & ~m.clears | m.fills | m.touches
                for n in m.then:
                    if m.holds & ~held[n]:
                        held[n] |= m.holds
                        changed = True


def _mask(places) -> int:
    mask = 0
    for p in places:
        mask |= 1 << p
    return mask


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def conflicts(p: Program, timeline: Timeline) -> dict[tuple[int, int], str]:
    """Pairs of arena slots that must lie apart, with why."""
    arena = _mask(n for n, slot in enumerate(p.slots) if slot.kind == "arena")
    found: dict[tuple[int, int], str] = {}
    for m in timeline.moments:
        for w in _bits((m.fills | m.touches) & arena):
            for other in _bits((m.needed | m.reads | m.fills | m.touches) & arena & ~(1 << w)):
                needed = (m.needed | m.fills | m.touches) >> other & 1
                if (needed or (w, other) not in m.over) and (key := (min(w, other), max(w, other))) not in found:
                    why = "which is needed afterwards" if m.needed >> other & 1 else "which it uses, too"
                    writes = f"step {m.at} ({m.what}) writes slot {w} {p.slots[w].name}"
                    found[key] = f"{writes} over slot {other} {p.slots[other].name}, {why}"
    return found


def life_problems(p: Program, timeline: Timeline) -> Iterator[str]:
    """Arena slots whose declared life is shorter than what is made of them."""
    told: set[int] = set()
    for m in timeline.moments:
        for n in _bits(m.needed | m.reads | m.fills | m.touches):
            slot = p.slots[n]
            if slot.kind != "arena" or n in told:
                continue
            used = (m.reads | m.fills | m.touches) >> n & 1
            # In a loop that a life holds from outside, it ends where the loop does.
            held = any(slot.first <= first and last == slot.last for first, last in m.loops) or m.ends
            later = any(t.before >> n & 1 and t.at != m.at for t in m.then)
            ends_early = m.needed >> n & 1 and m.at == slot.last and later and not held
            if not slot.first <= m.at <= slot.last or ends_early:
                told.add(n)
                verb = "uses" if used else "needs"
                after = " and afterwards" if ends_early else ""
                life = f"which lives from step {slot.first} to {slot.last}"
                yield f"step {m.at} ({m.what}) {verb} slot {n} {slot.name}{after}, {life}"
