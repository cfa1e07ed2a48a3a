"""The step checker: steps name what exists, read only what is written, and slots live as long as they are used.

* Positions count as `ir.program.walk` does. An arena slot is used within its life only.
* Of a branch's results, only what every branch writes is there afterwards. A loop over a size writes what is as long as that
  size; of one that a condition ends, only the condition surely runs.
* What an iteration reads and did not write itself comes from outside or from the iteration before: it lives from before the loop
  to the loop's end. So do both slots of a pair that changes places, and the iteration writes the second one of them.
* An output that may lie over a donated input is written only after everything that reads it, or by the step that reads it last
  and may overwrite what it reads.
* Nobody writes inputs or constants. Steps that prepare stand at top level, and depend on the inputs that they name alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sod2jax.ir.check_kernel import first_touch
from sod2jax.ir.loops import Kernel, stored
from sod2jax.ir.program import AnyStep, Branch, HostCall, Loop, Output, Program, Step, walk

WRITABLE = ("output", "arena", "cached")
OWN = ("output", "arena")  # what control steps and host calls may write
SCALARS = {"index": ("bool", "int32"), "counter": ("int64",), "pred": ("bool",)}


# -- names and numbers


def step_problems(p: Program, step: AnyStep) -> Iterator[str]:
    """What is wrong with one step alone, not with those that it holds."""
    match step:
        case Step():
            yield from _kernel_call(p, step)
        case HostCall():
            if not 0 <= step.host < len(p.hosts):
                yield f"host function {step.host} does not exist"
            for n in (*step.reads, *step.writes):
                yield from _exists(p, n)
            for n in step.writes:
                yield from _own(p, n, "a host call")
        case Branch():
            yield from _scalar(p, "index", step.index)
            if not step.branches:
                yield "has no branches"
        case Loop():
            yield from _loop(p, step)


def _exists(p: Program, n: int) -> Iterator[str]:
    if not 0 <= n < len(p.slots):
        yield f"slot {n} does not exist"


def _own(p: Program, n: int, what: str) -> Iterator[str]:
    if 0 <= n < len(p.slots) and p.slots[n].kind not in OWN:
        yield f"writes slot {n} {p.slots[n].name} by {what}, and it is {p.slots[n].kind}"


def _scalar(p: Program, what: str, n: int) -> Iterator[str]:
    if not 0 <= n < len(p.slots):
        yield f"slot {n} does not exist"
    elif (slot := p.slots[n]).shape or np.dtype(slot.dtype).name not in SCALARS[what]:
        yield f"has its {what} in slot {n} {slot.name}, {slot.dtype} of rank {len(slot.shape)}, which must be a scalar of " + (
            " or ".join(SCALARS[what])
        )


def _kernel_call(p: Program, step: Step) -> Iterator[str]:
    if not 0 <= step.kernel < len(p.kernels):
        yield f"kernel {step.kernel} does not exist"
        return
    kernel = p.kernels[step.kernel]
    if len(step.slots) != len(kernel.buffers):
        yield f"gives {len(step.slots)} slots to {kernel.name}, which takes {len(kernel.buffers)} buffers"
    if len(step.sizes) != len(kernel.sizes):
        yield f"gives {len(step.sizes)} sizes to {kernel.name}, which takes {len(kernel.sizes)}"
    for n, buffer in zip(step.slots, kernel.buffers, strict=False):
        yield from _exists(p, n)
        if 0 <= n < len(p.slots) and stored(p.slots[n].dtype) != stored(buffer.dtype):
            yield f"slot {n} holds {p.slots[n].dtype}, but {kernel.name} takes {buffer.name} as {buffer.dtype}"
    for k in step.prepare:
        if not 0 <= k < len(p.inputs):
            yield f"prepares for input {k}, which does not exist"


def _loop(p: Program, step: Loop) -> Iterator[str]:
    if step.length is None and step.pred is None:
        yield "is a loop without an end"
    if step.pred is not None:
        yield from _scalar(p, "pred", step.pred)
    if step.counter is not None:
        yield from _scalar(p, "counter", step.counter)
        yield from _own(p, step.counter, "a loop's counter")
    slots = [n for pair in step.swaps for n in pair]
    for n in step.fresh:
        yield from _exists(p, n)
        yield from _own(p, n, "a loop that fills it")
    for n in slots:
        yield from _exists(p, n)
        yield from _own(p, n, "a change of places")
    if len(set(slots)) != len(slots):
        yield f"lets a slot change places twice: {slots}"


# -- order


def order_problems(p: Program) -> Iterator[str]:
    """What is wrong with the order of steps and with the lives of slots. The steps alone are right."""
    order = _Order(p)
    yield from order.run(p.steps)
    for n, out in enumerate(p.outputs):
        if out.slot is not None and out.slot not in order.written[0]:
            yield f"output {n} lies in slot {out.slot}, which nothing writes"
        if out.donor is not None:
            yield from (f"output {n} may lie over input {out.donor}, {why}" for why in _donated(p, order, out))


def _donated(p: Program, order: _Order, out: Output) -> Iterator[str]:
    if not 0 <= out.donor < len(p.inputs):
        yield "which does not exist"
    elif sum(other.donor == out.donor for other in p.outputs) > 1:
        yield "as another output does"
    elif any(other.forward == out.donor for other in p.outputs if other is not out) and out.forward != out.donor:
        yield "which another output hands back"
    elif out.forward not in (None, out.donor):
        yield "but hands back another one"
    elif out.slot is not None:
        first = order.first_write.get(out.slot, 0)
        for n, slot in enumerate(p.slots):
            last = order.last_read.get(n, -1)
            if (slot.kind, slot.index) != ("input", out.donor) or last < first or (last, n, out.slot) in order.over:
                continue
            yield f"which is read until step {last}; the output is written from step {first} on"


class _Order:
    """Follows the steps. `written[0]` are the slots with a value, `written[k]` those written in the k-th loop's iteration."""

    def __init__(self, p: Program):
        self.p, self.at = p, 0
        self.written = [{n for n, slot in enumerate(p.slots) if slot.kind in ("input", "constant")}]
        self.loops: list[tuple[int, int]] = []  # around the step at hand: own position, last position within
        self.depends = {n: {slot.index} for n, slot in enumerate(p.slots) if slot.kind == "input"}
        self.first_write: dict[int, int] = {}
        self.last_read: dict[int, int] = {}  # in a loop: its end
        self.over: set[tuple[int, int, int]] = set()  # (step, slot that it may write over, slot that it writes)

    def run(self, steps: Sequence[AnyStep], nested: bool = False) -> Iterator[str]:
        for step in steps:
            n, self.at = self.at, self.at + 1
            match step:
                case Step():
                    yield from self.kernel(n, step)
                    if step.prepare and nested:
                        yield f"step {n} prepares, and stands within another"
                case HostCall():
                    for slot in step.reads:
                        yield from self.read(n, slot, "an operand")
                    for slot in step.writes:
                        yield from self.write(n, slot)
                case Branch():
                    yield from self.branch(n, step)
                case Loop():
                    yield from self.loop(n, step)

    # -- one slot

    def name(self, slot: int) -> str:
        return f"slot {slot} {self.p.slots[slot].name}"

    def used(self, n: int, slot: int) -> Iterator[str]:
        x = self.p.slots[slot]
        if x.kind == "arena" and not x.first <= n <= x.last:
            yield f"step {n} uses {self.name(slot)}, which lives from step {x.first} to {x.last}"

    def read(self, n: int, slot: int, role: str) -> Iterator[str]:
        x = self.p.slots[slot]
        if slot not in self.written[0]:
            yield f"step {n} reads {self.name(slot)} as {role} before anything wrote it"
        yield from self.used(n, slot)
        self.last_read[slot] = max(self.last_read.get(slot, n), self.loops[0][1] if self.loops else n)
        for (first, last), fresh in zip(self.loops, self.written[1:], strict=True):
            if slot not in fresh and x.kind == "arena" and not (x.first <= first and last <= x.last):
                life = f"from step {x.first} to {x.last}, but the loop from {first} to {last}"
                yield f"step {n} reads {self.name(slot)} as {role}, which the iteration did not write; it lives {life}"

    def write(self, n: int, slot: int) -> Iterator[str]:
        if self.p.slots[slot].kind not in WRITABLE:
            yield f"step {n} writes {self.name(slot)}, which is {self.p.slots[slot].kind}"
        yield from self.used(n, slot)
        self.first_write.setdefault(slot, n)
        for written in self.written:
            written.add(slot)

    # -- one step

    def kernel(self, n: int, step: Step) -> Iterator[str]:
        p, kernel = self.p, self.p.kernels[step.kernel]
        uses = list(zip(step.slots, kernel.buffers, strict=True))
        by_name = {buffer.name: slot for slot, buffer in uses}
        for slot, buffer in uses:
            if buffer.access == "w":
                continue
            over = any(by_name.get(name) in self.written[0] for name in buffer.inplace)
            if not over and not (isinstance(kernel, Kernel) and first_touch(kernel, buffer.name) == "write"):
                yield from self.read(n, slot, f"{buffer.name} of {kernel.name}")
        for k, (slot, buffer) in enumerate(uses):
            for other, other_buffer in uses[k + 1 :]:
                linked = other_buffer.name in buffer.inplace or buffer.name in other_buffer.inplace
                if slot == other and not linked and "w" in buffer.access + other_buffer.access:
                    both = f"{buffer.name} and {other_buffer.name}"
                    yield f"step {n} gives slot {slot} twice to {kernel.name}, as {both}, and writes it"
        reads = {slot for slot, buffer in uses if buffer.access != "w"}
        writes = {slot for slot, buffer in uses if buffer.access != "r"}
        if not self.loops:
            self.over |= {(n, by_name[name], slot) for slot, buffer in uses for name in buffer.inplace if name in by_name}
        cached = {slot for slot in writes if p.slots[slot].kind == "cached"}
        if step.prepare and not cached:
            yield f"step {n} prepares, but writes no cached slot"
        if cached and cached != writes:
            yield f"step {n} writes cached and other slots"
        sources = set().union(*(self.depends.get(slot, set()) for slot in reads))
        if cached and not sources <= set(step.prepare):
            yield f"step {n} depends on inputs {sorted(sources)}, but prepares only for {sorted(step.prepare)}"
        if cached and (other := [s for s in reads if p.slots[s].kind not in ("input", "constant", "cached")]):
            kind = p.slots[other[0]].kind
            yield f"step {n} fills a cached slot from slot {other[0]}, which is {kind}: it changes at every call"
        for slot in cached:
            self.depends[slot] = self.depends.get(slot, set()) | set(step.prepare)
        for slot in writes:
            yield from self.write(n, slot)

    def branch(self, n: int, step: Branch) -> Iterator[str]:
        yield from self.read(n, step.index, "the index of a branch")
        before, after = self.written, None
        for block in step.branches:
            self.written = [set(x) for x in before]
            yield from self.run(block, nested=True)
            after = self.written if after is None else [a & b for a, b in zip(after, self.written, strict=True)]
        self.written = after

    def loop(self, n: int, step: Loop) -> Iterator[str]:
        last = n + sum(1 for _ in walk((*step.cond, *step.body)))
        for slot in step.fresh:
            yield from self.write(n, slot)  # it may hold anything
        for state, new in step.swaps:
            yield from self.read(n, state, "the state of a loop")
            for slot in (state, new):
                x = self.p.slots[slot]
                if x.kind == "arena" and not (x.first <= n and last <= x.last):
                    life = f"from step {x.first} to {x.last}"
                    yield f"step {n} lets {self.name(slot)} change places until step {last}, and it lives {life}"
        before = [set(x) for x in self.written]
        self.written.append(set())
        self.loops.append((n, last))
        if step.counter is not None:
            yield from self.write(n, step.counter)
        yield from self.run(step.cond, nested=True)
        if step.pred is not None:
            yield from self.read(self.at - 1, step.pred, "the condition of a loop")
        if step.length is None:  # the condition runs at least once
            before = [set(x) for x in self.written[:-1]]
        yield from self.run(step.body, nested=True)
        for _, new in step.swaps:
            if new not in self.written[-1]:
                yield f"step {n} makes {self.name(new)} the state of a loop, and not every iteration writes it"
        self.loops.pop()
        self.written.pop()
        self.written = self.written if step.length is not None and step.pred is None else before
