"""Outputs that may take over the memory of donated inputs.

* An output may lie over an input if nothing reads the input after the output's first write, or if that write's own kernel is
  the last reader and reads each element before it writes it. The steps are right either way; whether the memory is free shows
  at run time.
* Inputs take the first output of their size and dtype that fits, in order, as JAX does. What is handed back takes itself.
* A copy of a donated input into such an output is a copy of the runtime's own, which does nothing where both are one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sod2jax.ir.expr import const
from sod2jax.ir.loops import Buffer, For, Kernel, Let, Load, Ref, Store
from sod2jax.ir.program import AnyStep, Extern, Output, Slot, Step
from sod2jax.plan.lifetimes import Lifetimes


def donors(
    outputs: Sequence[Output],
    slots: Sequence[Slot],
    lives: Lifetimes,
    donated: Collection[int],
) -> dict[int, int]:
    """{output: the input whose memory it may take}."""
    read = {slot.index: n for n, slot in enumerate(slots) if slot.kind == "input"}
    found: dict[int, int] = {}

    def fits(output: Output, number: int) -> bool:
        if (n := read.get(number)) is None:
            return False  # nothing reads it: its size is unknown here
        x, y = slots[n], slots[output.slot]
        if x.dtype != y.dtype or x.nbytes is not y.nbytes:
            return False
        return x.last < y.first or (x.last == y.first and lives.may_overwrite(y.first, output.slot, n))

    for d in sorted(donated):
        handed = [i for i, o in enumerate(outputs) if o.forward == d]
        if handed:
            if len(handed) == 1:
                found[handed[0]] = d
            continue
        for i, output in enumerate(outputs):
            if i not in found and output.slot is not None and fits(output, d):
                found[i] = d
                break
    return found


def cheap_copies(
    steps: Sequence[AnyStep], kernels: list[Kernel | Extern], slots: Sequence[Slot], pairs: Collection[tuple[int, int]]
) -> tuple[AnyStep, ...]:
    """`steps` where plain copies between the slots of `pairs` are the runtime's, which notice that there is nothing to do."""

    def cheap(step: AnyStep) -> AnyStep:
        if not isinstance(step, Step) or step.slots not in pairs or not _copies(kernels[step.kernel]):
            return step
        reads, out = (
            Buffer(name, slots[s].dtype, access) for name, s, access in zip(("x0", "out0"), step.slots, "rw", strict=True)
        )
        kernel = Extern("copy_bytes", (reads, replace(out, inplace=(reads.name,))), ())
        if kernel not in kernels:
            kernels.append(kernel)
        # On one thread: nearly every call finds nothing to do.
        return Step(kernels.index(kernel), step.slots, (), slots[step.slots[1]].nbytes, const(0), const(0), source=step.source)

    return tuple(map(cheap, steps))


def _copies(kernel: Kernel | Extern) -> bool:
    """Whether a kernel stores what it loads, where it loads it."""
    if isinstance(kernel, Extern) or len(kernel.buffers) != 2:
        return False
    body = kernel.body
    while len(body) == 1 and isinstance(body[0], For):
        body = body[0].body
    match body:
        case (Let(name, Load(_, at, _, None)), Store(_, to, Ref(stored), None)):
            return name == stored and at is to
        case (Store(_, to, Load(_, at, _, None), None),):
            return at is to
    return False
