"""A Program in Python: the oracle of the runtime's executor, and of everything that plans memory.

* The arena is one block of bytes and slots lie in it where their offsets say, so that a wrong lifetime shows.
* Kernels run through `ir.interp` unless the caller brings another way.
* With shadow bytes (`checked`) it is known of each byte which slot wrote it last, and whether that slot's life has ended. A read
  of anything else is a MemoryFault that names step, slot and who wrote there. Iterations of parallel loops then run backwards, so
  that one which needs what another one has not yet overwritten shows, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sod2jax.errors import Sod2Error
from sod2jax.ir import interp
from sod2jax.ir.expr import Expr
from sod2jax.ir.loops import Gemm, Kernel
from sod2jax.ir.program import AnyStep, Branch, Extern, HostCall, Loop, Program, Slot, Step, blocks, walk

RunKernel = Callable[[Kernel | Extern, dict[str, np.ndarray], dict[str, int], int], None]
NOTHING, DEAD = -1, -2  # in the place of a slot's number


class MemoryFault(Sod2Error):
    """A step reads memory that does not hold what it should: a mistake of the compiler, never of its user."""


def execute(
    program: Program, arrays: Sequence[np.ndarray], run: RunKernel | None = None, checked: bool = False
) -> list[np.ndarray]:
    """The outputs for these inputs. `run(kernel, buffers, sizes, extent)` runs one kernel on flat arrays.

    With `checked`, every read is held against shadow bytes; `run` then serves only for kernels that `ir.interp` cannot run.
    """
    return (_Checked if checked else _Execution)(program, arrays, run or _interpret).outputs()


def _interpret(kernel, buffers, sizes, extent) -> None:
    interp.run(kernel, buffers, sizes, 0, extent)


class _Execution:
    def __init__(self, program: Program, arrays: Sequence[np.ndarray], run: RunKernel):
        self.program, self.run = program, run
        self.sizes = solve(program, arrays)
        self.inputs = [np.ascontiguousarray(x) for x in arrays]
        nbytes = 0 if program.arena is None else self.eval(program.arena)
        self.arena = np.full(nbytes, 0xA5, np.uint8)  # what nobody wrote is no zero
        self.memory = list(map(self.place, program.slots))

    def eval(self, e: Expr) -> int:
        return e.eval(self.sizes)

    def shape(self, slot: Slot) -> tuple[int, ...]:
        return tuple(map(self.eval, slot.shape))

    def place(self, slot: Slot) -> np.ndarray:
        """The bytes of a slot."""
        nbytes = self.eval(slot.nbytes)
        match slot.kind:
            case "input":
                return self.inputs[slot.index].reshape(-1).view(np.uint8)
            case "constant":
                return np.array(self.program.constants[slot.index]).reshape(-1).view(np.uint8)
            case "arena":
                start = self.eval(slot.offset)
                return self.arena[start : start + nbytes]
        return np.full(nbytes, 0xA5, np.uint8)

    def array(self, number: int) -> np.ndarray:
        slot = self.program.slots[number]
        return self.memory[number].view(slot.dtype)[: int(np.prod(self.shape(slot)))].reshape(self.shape(slot))

    def scalar(self, number: int):
        return self.memory[number].view(self.program.slots[number].dtype)[0]

    def outputs(self) -> list[np.ndarray]:
        self.block(self.program.steps, 0)
        return [np.array(self.inputs[o.forward] if o.forward is not None else self.array(o.slot)) for o in self.program.outputs]

    def block(self, steps: Sequence[AnyStep], at: int) -> None:
        """Steps from position `at` on."""
        for step in steps:
            self.step(step, at)
            at += _positions((step,))

    def step(self, step: AnyStep, at: int) -> None:
        match step:
            case Step():
                self.kernel(step, at)
            case HostCall():
                self.host(step, at)
            case Branch():
                chosen = min(max(int(self.scalar(step.index)), 0), len(step.branches) - 1)
                self.block(step.branches[chosen], at + 1 + sum(map(_positions, step.branches[:chosen])))
            case Loop():
                self.loop(step, at)

    def host(self, step: HostCall, at: int) -> None:
        results = self.program.hosts[step.host].call(*map(self.array, step.reads))
        for number, result in zip(step.writes, results, strict=True):
            self.array(number)[...] = result

    def buffers(self, step: Step) -> dict[str, np.ndarray]:
        return {
            b.name: self.memory[s][: self.memory[s].size // b.dtype.itemsize * b.dtype.itemsize].view(b.dtype)
            for b, s in zip(self.program.kernels[step.kernel].buffers, step.slots, strict=True)
        }

    def kernel(self, step: Step, at: int) -> None:
        kernel = self.program.kernels[step.kernel]
        sizes = dict(zip(kernel.sizes, map(self.eval, step.sizes), strict=True))
        self.run(kernel, self.buffers(step), sizes, self.eval(step.extent))

    def loop(self, step: Loop, at: int) -> None:
        trip = 0
        while step.length is None or trip < self.eval(step.length):
            if step.counter is not None:
                self.count(step.counter, trip)
            if step.pred is not None:
                self.block(step.cond, at + 1)
                if not self.scalar(step.pred):
                    break
            self.block(step.body, at + 1 + _positions(step.cond))
            self.exchange(step)
            trip += 1
        if trip % 2:
            self.exchange(step)
            for a, b in step.swaps:
                self.copy(a, b)

    def count(self, slot: int, trip: int) -> None:
        self.memory[slot].view(np.int64)[0] = trip

    def exchange(self, step: Loop) -> None:
        for a, b in step.swaps:
            self.memory[a], self.memory[b] = self.memory[b], self.memory[a]

    def copy(self, to: int, source: int) -> None:
        self.memory[to][...] = self.memory[source]


class _Checked(_Execution):
    """Execution with shadow bytes: the slot that wrote each byte of a slot's memory last, NOTHING or DEAD."""

    def __init__(self, program: Program, arrays: Sequence[np.ndarray], run: RunKernel):
        super().__init__(program, arrays, run)
        owners = np.full(len(self.arena), NOTHING, np.int64)
        start = lambda slot: self.eval(slot.offset)
        self.owner = [
            owners[start(s) : start(s) + self.eval(s.nbytes)]
            if s.kind == "arena"
            else np.full(len(self.memory[n]), n if s.kind in ("input", "constant") else NOTHING, np.int64)
            for n, s in enumerate(program.slots)
        ]
        self.order = list(walk(program.steps))
        self.ends = self._ends()
        self.at = 0

    def _ends(self) -> dict[int, list[int]]:
        """Slots by the position after which they hold nothing: the outermost step that the life holds and that holds its end."""
        # What chooses a branch or ends a loop is read between two steps.
        asked = {s.index for s in self.order if isinstance(s, Branch)} | {s.pred for s in self.order if isinstance(s, Loop)}
        found: dict[int, list[int]] = {}
        held = [at + _positions((step,)) for at, step in enumerate(self.order)]
        for n, slot in enumerate(self.program.slots):
            if slot.kind == "arena" and n not in asked and slot.last < len(self.order):
                around = [at for at in range(slot.first, slot.last) if blocks(self.order[at]) and held[at] > slot.last]
                found.setdefault(min(around, default=slot.last), []).append(n)
        return found

    def outputs(self) -> list[np.ndarray]:
        found = super().outputs()
        for n, out in enumerate(self.program.outputs):
            if out.slot is not None:
                self.at = len(self.order)
                self.reads(out.slot, slice(0, found[n].nbytes), f"output {n}")
        return found

    def step(self, step: AnyStep, at: int) -> None:
        self.at = at
        if isinstance(step, Branch):
            self.reads(step.index, slice(None), "the index of a branch")
        super().step(step, at)
        for n in self.ends.get(at, ()):
            self.owner[n][self.owner[n] == n] = DEAD

    def reads(self, slot: int, part, role: str, opaque: bool = False) -> None:
        """`opaque`: it may be that not all of it is read."""
        owner = self.owner[slot][part]
        bad = (owner != slot) & (owner != NOTHING) if opaque else owner != slot
        if bad.any():
            slots = self.program.slots
            who = int(owner[bad].reshape(-1)[0])
            held = {NOTHING: "which nothing wrote", DEAD: "where a slot lay whose life has ended"}
            why = held.get(who) or f"where slot {who} {slots[who].name} was written since"
            source = getattr(self.order[self.at], "source", "") if self.at < len(self.order) else "the end"
            raise MemoryFault(
                f"{self.program.name}: step {self.at} ({source}) reads slot {slot} {slots[slot].name} as {role}, {why}"
            )

    def writes(self, slot: int, part=slice(None)) -> None:
        self.owner[slot][part] = slot

    def host(self, step: HostCall, at: int) -> None:
        for n in step.reads:
            self.reads(n, slice(0, self.array(n).nbytes), "an operand")
        super().host(step, at)
        for n in step.writes:
            self.writes(n)

    def kernel(self, step: Step, at: int) -> None:
        kernel = self.program.kernels[step.kernel]
        if isinstance(kernel, Kernel) and not _multiplies(kernel.body):
            sizes = dict(zip(kernel.sizes, map(self.eval, step.sizes), strict=True))
            watch = _Watch(self, {b.name: (s, b.dtype.itemsize) for b, s in zip(kernel.buffers, step.slots, strict=True)})
            for i in reversed(range(self.eval(step.extent))):
                interp.run(kernel, self.buffers(step), sizes, i, i + 1, watch=watch)
            return
        uses = list(zip(kernel.buffers, step.slots, strict=True))
        for b, s in uses:
            if b.access != "w":
                self.reads(s, slice(None), b.name, opaque=True)
        super().kernel(step, at)
        for b, s in uses:
            if b.access != "r":
                self.writes(s)

    def count(self, slot: int, trip: int) -> None:
        super().count(slot, trip)
        self.writes(slot)

    def exchange(self, step: Loop) -> None:
        super().exchange(step)
        for a, b in step.swaps:
            self.owner[a], self.owner[b] = self.owner[b], self.owner[a]
            for mine, other in ((a, b), (b, a)):
                self.owner[mine][self.owner[mine] == other] = mine

    def copy(self, to: int, source: int) -> None:
        super().copy(to, source)
        self.owner[to][...] = np.where(self.owner[source] == source, to, self.owner[source])


class _Watch:
    def __init__(self, execution: _Checked, slots: dict[str, tuple[int, int]]):
        self.execution, self.slots = execution, slots

    def bytes(self, size: int, elements: np.ndarray) -> np.ndarray:
        return np.asarray(elements).reshape(-1, 1) * size + np.arange(size)

    def read(self, buffer: str, elements: np.ndarray) -> None:
        if buffer in self.slots:  # else it is a local
            slot, size = self.slots[buffer]
            self.execution.reads(slot, self.bytes(size, elements), buffer)

    def write(self, buffer: str, elements: np.ndarray) -> None:
        if buffer in self.slots:
            slot, size = self.slots[buffer]
            self.execution.writes(slot, self.bytes(size, elements))


def _multiplies(stmts) -> bool:
    return any(isinstance(s, Gemm) or _multiplies(getattr(s, "body", ())) for s in stmts)


def _positions(steps: Sequence[AnyStep]) -> int:
    return sum(1 for _ in walk(steps))


def solve(program: Program, arrays: Sequence[np.ndarray]) -> Mapping[str, int]:
    """The symbols' values at these inputs."""
    return {s.name: (arrays[s.input].shape[s.axis] - s.offset) // s.scale for s in program.symbols}
