"""A Program in Python: the oracle of the runtime's executor, and of everything that plans memory.

* The arena is one block of bytes and slots lie in it where their offsets say, so that a wrong lifetime shows.
* Kernels run through `ir.interp` unless the caller brings another way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sod2jax.ir import interp
from sod2jax.ir.expr import Expr
from sod2jax.ir.loops import Kernel
from sod2jax.ir.program import AnyStep, Branch, Extern, HostCall, Loop, Program, Slot, Step

RunKernel = Callable[[Kernel | Extern, dict[str, np.ndarray], dict[str, int], int], None]


def execute(program: Program, arrays: Sequence[np.ndarray], run: RunKernel | None = None) -> list[np.ndarray]:
    """The outputs for these inputs. `run(kernel, buffers, sizes, extent)` runs one kernel on flat arrays."""
    return _Execution(program, arrays, run or _interpret).outputs()


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
        self.block(self.program.steps)
        return [np.array(self.inputs[o.forward] if o.forward is not None else self.array(o.slot)) for o in self.program.outputs]

    def block(self, steps: Sequence[AnyStep]) -> None:
        for step in steps:
            match step:
                case Step():
                    self.kernel(step)
                case HostCall():
                    results = self.program.hosts[step.host].call(*map(self.array, step.reads))
                    for number, result in zip(step.writes, results, strict=True):
                        self.array(number)[...] = result
                case Branch():
                    at = int(self.scalar(step.index))
                    self.block(step.branches[min(max(at, 0), len(step.branches) - 1)])
                case Loop():
                    self.loop(step)

    def kernel(self, step: Step) -> None:
        kernel = self.program.kernels[step.kernel]
        buffers = {
            b.name: self.memory[s][: self.memory[s].size // b.dtype.itemsize * b.dtype.itemsize].view(b.dtype)
            for b, s in zip(kernel.buffers, step.slots, strict=True)
        }
        sizes = dict(zip(kernel.sizes, map(self.eval, step.sizes), strict=True))
        self.run(kernel, buffers, sizes, self.eval(step.extent))

    def loop(self, step: Loop) -> None:
        trip = 0
        while step.length is None or trip < self.eval(step.length):
            if step.length is None:
                self.block(step.cond)
                if not self.scalar(step.pred):
                    break
            if step.counter is not None:
                self.memory[step.counter].view(np.int64)[0] = trip
            self.block(step.body)
            for a, b in step.swaps:
                self.memory[a], self.memory[b] = self.memory[b], self.memory[a]
            trip += 1
        if trip % 2:
            for a, b in step.swaps:
                self.memory[a], self.memory[b] = self.memory[b], self.memory[a]
                self.memory[a][...] = self.memory[b]


def solve(program: Program, arrays: Sequence[np.ndarray]) -> Mapping[str, int]:
    """The symbols' values at these inputs."""
    return {s.name: (arrays[s.input].shape[s.axis] - s.offset) // s.scale for s in program.symbols}
