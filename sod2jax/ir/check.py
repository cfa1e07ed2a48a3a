"""The Program checker: what must be true of every Program, whatever made it.

* Names and numbers: everything refers to what exists, once, with the right dtype and arity. Kernels by `ir.check_kernel`.
* Order: steps read only what is written, and a slot's life covers its uses, in loops and branches too: `ir.check_steps`.
* Sizes, at N random points that satisfy bounds and guards (edges are drawn often): none is negative, bytes suffice for the
  shape, extents and scratch are what the kernel needs, every unmasked access of a sampled iteration lies in its buffer.
* Memory, at the same points: arena slots lie within the arena, on 64-byte boundaries; no two overlap that hold something needed
  at one time (`ir.check_lives`, which follows the steps itself), nor two whose declared lives meet, unless the kernel that ends
  the one and begins the other does so in place, at the same offset; and a kernel that says so can (`ir.check_inplace`).
* `check` reports all that is wrong at once, with the sizes and the formulas.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from sod2jax.errors import Sod2Error
from sod2jax.ir.check_accesses import accesses
from sod2jax.ir.check_inplace import overlay_problems
from sod2jax.ir.check_kernel import kernel_problems
from sod2jax.ir.check_lives import Timeline, conflicts, life_problems
from sod2jax.ir.check_steps import order_problems, step_problems
from sod2jax.ir.expr import FLOORDIV, MOD, SYM, Expr, const, sym
from sod2jax.ir.loops import Kernel
from sod2jax.ir.program import Cond, Guard, Loop, Program, Slot, Step, walk

ALIGN = 64
KINDS = ("input", "output", "arena", "constant", "cached")
LARGEST = 1 << 16  # of sampled sizes
PRODUCT_BITS = 40  # of sampled sizes in one monomial, so that no formula leaves int64


def level() -> int:
    """The value of `SOD2_CHECK` in the environment: 0 checks nothing, 1 every Program, 2 memory while it runs, too."""
    text = os.environ.get("SOD2_CHECK", "")
    return int(text) if text.isdigit() else int(bool(text))


class ProgramError(Sod2Error):
    """A Program breaks an invariant: a mistake of the compiler, never of its user."""


def check(program: Program, samples: int = 1000, seed: int = 0) -> int:
    """Raises ProgramError with everything that is wrong; gives the number of sampled points, 0 if no sizes satisfy the guards."""
    problems = list(_structure(program))
    count = 0
    if not problems:
        timeline = Timeline(program)
        problems = [*order_problems(program), *life_problems(program, timeline)]
        sizes, count = sample(program, samples, np.random.default_rng(seed))
        if count:
            values = Values(sizes, count)
            problems += _sizes(program, values)
            problems += _memory(program, values, timeline)
            problems += _overlays(program, values)
    if problems:
        shown = "\n".join(f"  {p}" for p in problems[:30])
        more = f"\n  and {len(problems) - 30} more" if len(problems) > 30 else ""
        raise ProgramError(f"{program.name} breaks {len(problems)} invariant{'s' * (len(problems) > 1)}:\n{shown}{more}")
    return count


# -- names and numbers


def _structure(p: Program) -> Iterator[str]:
    names = [s.name for s in p.symbols]
    yield from _twice("symbol", names)
    yield from _twice("kernel", [k.name for k in p.kernels if isinstance(k, Kernel)])  # the library's serve many dtypes
    for s in p.symbols:
        if not (0 <= s.input < len(p.inputs) and 0 <= s.axis < len(p.inputs[s.input].shape)):
            yield f"symbol {s.name} is solved from axis {s.axis} of input {s.input}, which does not exist"
        elif s.scale < 1:
            yield f"symbol {s.name} has scale {s.scale}; it must be positive"
        elif p.inputs[s.input].shape[s.axis] is not sym(s.name) * s.scale + s.offset:
            yield (
                f"symbol {s.name} is solved from {p.inputs[s.input].path} axis {s.axis} as {s.scale}*{s.name} + {s.offset}, "
                f"but that size is {p.inputs[s.input].shape[s.axis]}"
            )
    for name in p.bounds.keys() - set(names):
        yield f"bounds of {name}, which is no symbol"
    for what, e in _formulas(p):
        if not e.free <= set(names):
            yield f"{what} uses {', '.join(sorted(e.free - set(names)))}, which no input defines"
    for n, slot in enumerate(p.slots):
        yield from (f"slot {n} {slot.name}: {why}" for why in _slot(p, slot))
    for n, out in enumerate(p.outputs):
        yield from (f"output {n}: {why}" for why in _output(p, out))
    for kernel in p.kernels:
        if isinstance(kernel, Kernel):
            yield from (f"kernel {kernel.name}: {why}" for why in kernel_problems(kernel))
    for n, step in enumerate(walk(p.steps)):
        yield from (f"step {n}: {why}" for why in step_problems(p, step))


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    seen = set()
    for name in names:
        if name in seen:
            yield f"two {what}s are named {name}"
        seen.add(name)


def _formulas(p: Program) -> Iterator[tuple[str, Expr]]:
    """Every formula over symbols, with what it is."""
    for n, x in enumerate(p.inputs):
        yield from ((f"shape of input {n} {x.path}", size) for size in x.shape)
    for n, x in enumerate(p.outputs):
        yield from ((f"shape of output {n}", size) for size in x.shape)
    for n, slot in enumerate(p.slots):
        yield from ((f"shape of slot {n} {slot.name}", size) for size in slot.shape)
        yield f"bytes of slot {n} {slot.name}", slot.nbytes
        if slot.offset is not None:
            yield f"offset of slot {n} {slot.name}", slot.offset
    for n, step in enumerate(walk(p.steps)):
        if isinstance(step, Step):
            yield from ((f"size {k} of step {n}", e) for k, e in enumerate(step.sizes))
            yield f"extent of step {n}", step.extent
            yield f"work of step {n}", step.work
            yield f"scratch of step {n}", step.scratch
        elif isinstance(step, Loop) and step.length is not None:
            yield f"length of step {n}", step.length
    for g in p.guards:
        yield from ((f"guard {g.cond}", e) for e in (g.cond.lhs, g.cond.rhs))
    if p.arena is not None:
        yield "arena", p.arena


def _slot(p: Program, slot: Slot) -> Iterator[str]:
    held = {"input": p.inputs, "output": p.outputs, "constant": p.constants}
    if slot.kind not in KINDS:
        yield f"no such kind: {slot.kind}"
    elif slot.kind in held and not 0 <= slot.index < len(held[slot.kind]):
        yield f"{slot.kind} {slot.index} does not exist"
    elif slot.kind in held:
        x = held[slot.kind][slot.index]
        if np.dtype(x.dtype) != np.dtype(slot.dtype):
            yield f"holds {slot.dtype}, but {slot.kind} {slot.index} is {x.dtype}"
        if slot.kind == "constant" and slot.nbytes.value != x.nbytes:
            yield f"has {slot.nbytes} bytes, but constant {slot.index} has {x.nbytes}"
    if (slot.kind == "arena") != (slot.offset is not None):
        yield f"a slot has an offset if and only if it lies in the arena; this one is {slot.kind}"
    if slot.kind == "arena" and p.arena is None:
        yield "lies in an arena that the program does not have"


def _output(p: Program, out) -> Iterator[str]:
    if (out.slot is None) == (out.forward is None):
        yield "is made by a slot or forwards an input; it must be one of both"
    elif out.forward is not None:
        if not 0 <= out.forward < len(p.inputs):
            yield f"forwards input {out.forward}, which does not exist"
        elif (x := p.inputs[out.forward]).dtype != out.dtype or len(x.shape) != len(out.shape):
            yield f"is {out.dtype} of rank {len(out.shape)} and forwards {x.path}, {x.dtype} of rank {len(x.shape)}"
    elif not 0 <= out.slot < len(p.slots):
        yield f"slot {out.slot} does not exist"
    elif (slot := p.slots[out.slot]).kind not in ("output", "constant"):
        yield f"lies in slot {out.slot}, which is {slot.kind}"
    elif np.dtype(slot.dtype) != np.dtype(out.dtype):
        yield f"is {out.dtype}, but slot {out.slot} holds {slot.dtype}"


# -- random sizes


class Values:
    """Formulas at all sampled points at once, each shared part once."""

    def __init__(self, sizes: Mapping[str, np.ndarray], count: int):
        self.sizes, self.count = sizes, count
        self.memo: dict[Expr, np.ndarray] = {}

    def __call__(self, e: Expr) -> np.ndarray:
        out = self.memo.get(e)
        if out is None:
            out = self.memo[e] = sum((c * self.product(m) for m, c in e.terms), np.zeros(self.count, np.int64))
        return out

    def product(self, monomial) -> np.ndarray:
        result = np.ones(self.count, np.int64)
        for atom in monomial:
            result = result * (self.sizes[atom.name] if atom.kind == SYM else self.of_atom(atom.expr, atom))
        return result

    def of_atom(self, e: Expr, atom) -> np.ndarray:
        out = self.memo.get(e)
        if out is None:
            first, *rest = map(self, atom.args)
            if atom.kind in (FLOORDIV, MOD):
                # Division by zero has no value; where it matters, the runtime stops. Here it counts as 0.
                (divisor,) = rest
                safe = np.where(divisor == 0, 1, divisor)
                out = np.where(divisor == 0, 0, first // safe if atom.kind == FLOORDIV else first % safe)
            else:
                extreme = np.minimum if atom.kind == "min" else np.maximum
                out = first
                for x in rest:
                    out = extreme(out, x)
            self.memo[e] = out
        return out

    def holds(self, cond: Cond) -> np.ndarray:
        a, b = self(cond.lhs), self(cond.rhs)
        return {"==": a == b, "!=": a != b, "<=": a <= b, "<": a < b}[cond.op]

    def at(self, k: int) -> str:
        return ", ".join(f"{name}={x[k]}" for name, x in self.sizes.items()) or "the only size"


def sample(p: Program, count: int, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], int]:
    """Random sizes within bounds that satisfy the guards; edges, powers of two and their neighbours come often."""
    tries = count * (16 if p.guards else 1)
    names = [s.name for s in p.symbols]
    degrees: dict[Expr, int] = {}
    highest = max([1, *(_degree(e, degrees) for _, e in _formulas(p))])
    widest = min(LARGEST, 1 << PRODUCT_BITS // highest)
    sizes = {}
    for name in names:
        low, high = p.bounds.get(name, (0, None))
        high = max(low, widest) if high is None else high
        wide = np.exp(rng.uniform(0, np.log(min(high, low + widest) - low + 1), tries)).astype(np.int64) - 1 + low
        power = (np.int64(1) << rng.integers(0, 17, tries)) + rng.integers(-1, 2, tries)
        edge = rng.choice([low, low, low + 1, low + 2, 3, 7, 97, 128, min(high, low + widest)], tries)
        kind = rng.integers(0, 4, tries)
        sizes[name] = np.clip(np.where(kind == 0, edge, np.where(kind == 1, power, wide)), low, min(high, low + widest))
    _impose(p.guards, sizes, names)
    values = Values(sizes, tries)
    good = np.ones(tries, bool)
    for guard in p.guards:
        good &= values.holds(guard.cond)
    for name in names:
        low, high = p.bounds.get(name, (0, None))
        good &= (sizes[name] >= low) & (sizes[name] <= (high if high is not None else np.iinfo(np.int64).max))
    chosen = np.flatnonzero(good)[:count]
    return {name: x[chosen] for name, x in sizes.items()}, len(chosen)


def _degree(e: Expr, memo: dict[Expr, int]) -> int:
    """Of the polynomial that bounds `e`."""
    if e not in memo:
        atoms = [[1 if a.kind == SYM else max(_degree(x, memo) for x in a.args) for a in m] for m, _ in e.terms]
        memo[e] = max(map(sum, atoms), default=0)
    return memo[e]


def _impose(guards: Iterable[Guard], sizes: dict[str, np.ndarray], names: list[str]) -> None:
    """Moves the samples onto equalities, which chance would never meet: the last symbol of one is solved for."""
    for guard in guards:
        cond = guard.cond
        if cond.op != "==":
            continue
        difference = cond.lhs - cond.rhs
        values = Values(sizes, len(next(iter(sizes.values()))) if sizes else 0)
        for name in sorted(difference.free, key=names.index, reverse=True):
            solved = difference.linear({name})
            if solved is not None and solved[0][name].value in (1, -1):
                sizes[name] = values(solved[1] * -solved[0][name].value)
                break
        else:
            if len(difference.terms) == 1 and difference.terms[0][0][0].kind == MOD:
                dividend, divisor = difference.terms[0][0][0].args
                if len(dividend.free) == 1 and divisor.value and str(dividend) in sizes:
                    sizes[str(dividend)] = sizes[str(dividend)] // divisor.value * divisor.value


def _sizes(p: Program, values: Values) -> Iterator[str]:
    def never(bad: np.ndarray, text: str) -> Iterator[str]:
        if bad.any():
            yield f"{text} at {values.at(int(np.argmax(bad)))}"

    for what, e in _formulas(p):
        if not what.startswith(("guard", "size ", "length ")):
            yield from never(values(e) < 0, f"{what} is negative: {e}")
    for n, slot in enumerate(p.slots):
        needed = _elements(slot.shape) * np.dtype(slot.dtype).itemsize
        yield from never(values(slot.nbytes) < values(needed), f"slot {n} {slot.name} has {slot.nbytes} bytes and needs {needed}")
        if slot.kind in ("input", "output"):
            held = (p.inputs if slot.kind == "input" else p.outputs)[slot.index]
            yield from never(values(slot.nbytes) != values(_elements(held.shape) * np.dtype(slot.dtype).itemsize),
                             f"slot {n} {slot.name} has {slot.nbytes} bytes, not those of {slot.kind} {slot.index}")  # fmt: skip
    for n, out in enumerate(p.outputs):
        source = p.inputs[out.forward].shape if out.forward is not None else p.slots[out.slot].shape
        yield from never(values(_elements(source)) != values(_elements(out.shape)), f"output {n} has not the size of its source")
    loops = (step for step in walk(p.steps) if isinstance(step, Loop))
    trips = {loop.counter: values(loop.length) for loop in loops if loop.counter is not None and loop.length is not None}
    for n, step in enumerate(walk(p.steps)):
        for a, b in step.swaps if isinstance(step, Loop) else ():
            sizes = p.slots[a].nbytes, p.slots[b].nbytes
            differ = values(sizes[0]) != values(sizes[1])
            yield from never(differ, f"step {n} lets slots {a} and {b} change places, of {sizes[0]} and {sizes[1]} bytes,")
        if not isinstance(step, Step) or not isinstance(kernel := p.kernels[step.kernel], Kernel):
            continue
        inside = Values({name: values(e) for name, e in zip(kernel.sizes, step.sizes, strict=True)}, values.count)
        differs = inside(kernel.extent) != values(step.extent)
        yield from never(differs, f"step {n} has extent {step.extent}, but {kernel.name} has {kernel.extent}")
        local_bytes = [inside(x.extent) * np.dtype(x.dtype).itemsize for x in kernel.locals]
        needed = sum((-(-nbytes // ALIGN) * ALIGN for nbytes in local_bytes), values(const(0)))
        yield from never(values(step.scratch) < needed, f"step {n} has {step.scratch} bytes of scratch; {kernel.name} needs more")
        room = {x.name: inside(x.extent) for x in kernel.locals}
        for slot, buffer in zip(step.slots, kernel.buffers, strict=True):
            room[buffer.name] = values(p.slots[slot].nbytes) // np.dtype(buffer.dtype).itemsize
        counters = {buffer.name: trips[s] for s, buffer in zip(step.slots, kernel.buffers, strict=True) if s in trips}
        for buffer, offset, at, runs in accesses(kernel, inside, np.random.default_rng(n), counters):
            yield from never(
                runs & ((at < 0) | (at >= room[buffer])),
                f"step {n}: {kernel.name} accesses {buffer}[{offset}] outside of its buffer",
            )


def _elements(shape: tuple[Expr, ...]) -> Expr:
    result = const(1)
    for size in shape:
        result = result * size
    return result


# -- memory


def _overlays(p: Program, values: Values) -> Iterator[str]:
    done: set[tuple] = set()
    for n, step in enumerate(walk(p.steps)):
        kernel = p.kernels[step.kernel] if isinstance(step, Step) else None
        if not isinstance(kernel, Kernel) or not any(b.inplace for b in kernel.buffers) or (kernel, step.sizes) in done:
            continue
        done.add((kernel, step.sizes))
        runs = np.flatnonzero(values(step.extent) > 0)
        for k in {*runs[:1], *runs[len(runs) // 2 :][:1], *runs[-1:]}:
            sizes = {name: int(values(e)[k]) for name, e in zip(kernel.sizes, step.sizes, strict=True)}
            yield from (f"step {n}: kernel {kernel.name} {why} at {values.at(k)}" for why in overlay_problems(kernel, sizes))


def _memory(p: Program, values: Values, timeline: Timeline) -> Iterator[str]:
    arena = [(n, slot) for n, slot in enumerate(p.slots) if slot.kind == "arena"]
    begin = {n: values(slot.offset) for n, slot in arena}
    end = {n: begin[n] + values(slot.nbytes) for n, slot in arena}
    for n, slot in arena:
        if (bad := begin[n] % ALIGN != 0).any():
            yield f"slot {n} {slot.name} is not on a {ALIGN}-byte boundary at {values.at(int(np.argmax(bad)))}: {slot.offset}"
        if (bad := end[n] > values(p.arena)).any():
            where = values.at(int(np.argmax(bad)))
            yield f"slot {n} {slot.name} ends outside of the arena at {where}: {slot.offset} + {slot.nbytes}"
    apart = conflicts(p, timeline)
    linked = _in_place(p)
    for k, (n, a) in enumerate(arena):
        for m, b in arena[k + 1 :]:
            why = apart.get((n, m))
            live = a.first <= b.last and b.first <= a.last
            if why is None and not live:
                continue
            overlap = (begin[n] < end[m]) & (begin[m] < end[n]) & (end[n] > begin[n]) & (end[m] > begin[m])
            if why is None and frozenset((n, m)) in linked:
                overlap &= begin[n] != begin[m]
            if overlap.any():
                yield (
                    f"slots {n} {a.name} (steps {a.first}-{a.last}) and {m} {b.name} (steps {b.first}-{b.last}) overlap at "
                    f"{values.at(int(np.argmax(overlap)))}: [{a.offset}, +{a.nbytes}) and [{b.offset}, +{b.nbytes})"
                    + (f"; {why}" if why else "")
                )


def _in_place(p: Program) -> set[frozenset[int]]:
    """Pairs of slots whose declared lives may share memory: one ends in the step where the other begins, whose kernel says so.

    Whether it is right in saying so, and whether anything needs the old contents later, is checked apart from this.
    """
    linked = set()
    for at, step in enumerate(walk(p.steps)):
        if not isinstance(step, Step):
            continue
        buffers = p.kernels[step.kernel].buffers
        slot_of = {b.name: s for b, s in zip(buffers, step.slots, strict=True)}
        for b in buffers:
            for name in b.inplace:
                old, new = p.slots[slot_of[name]], p.slots[slot_of[b.name]]
                if old.first < at == old.last == new.first:
                    linked.add(frozenset((slot_of[name], slot_of[b.name])))
    return linked
