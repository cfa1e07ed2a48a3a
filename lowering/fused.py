"""Small loops and branches as one kernel: their steps' kernels one after the other, within a loop of the kernel's own.

* A step costs some tens of nanoseconds besides its work. Where an iteration does less than that, the loop runs in machine code.
* Steps' kernels keep their order and their buffers, so that what one writes the next reads: no schedule changes, only who calls.
* All of its slots live side by side as long as the kernel runs: it lets no buffer lie over another.
* What a slot held before matters if some path reads it, or leaves it as it is ("rw"). A path that may not be taken, through a
  branch or a loop that may end at once, surely writes nothing. Only a temporary may be left unwritten: nobody reads it then.
* A kernel runs at most CHUNK iterations per call, so that the runtime can be interrupted, and goes on where it was.
* Where sizes decide whether an iteration is small, there are both: a loop of steps, and one kernel; sizes choose at run time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sod2jax.ir.expr import Expr, ceildiv, const, minimum, sym
from sod2jax.ir.loops import Buffer, Const, For, If, Index, Init, Kernel, Let, Load, Op, Ref, Stmt, Store, Update, Value, While
from sod2jax.ir.program import AnyStep, Branch, Extern, Loop, Slot, Step, walk
from sod2jax.lowering.canonical import Bound, canonical

CHUNK = 1 << 16  # iterations
LARGEST = 4096  # scalar operations of an iteration; beyond, a step's own cost does not count
MOST = 24  # kernels of an iteration
BOOL, INT = np.dtype(bool), np.dtype(np.int64)
ZERO = const(0)


def fused(
    loop: Loop, kernels: Sequence[Kernel | Extern], slots: Sequence[Slot], states: Collection[int]
) -> tuple[Loop, Bound, Expr] | None:
    """`loop` with one kernel as its body (number `len(kernels)`), that kernel, and the work of an iteration; None if it does too
    much at any size, or something else than kernels. `states`: the slots that hold the loop's state before and after it."""
    steps = list(walk((*loop.cond, *loop.body)))
    if not 0 < len(steps) <= MOST or not all(isinstance(s, Branch) or _is_plain(s, kernels) for s in steps):
        return None
    work = const(0)
    for s in steps:
        work = work + (s.work if isinstance(s, Step) else 0)
    if work.value is not None and work.value > LARGEST:
        return None
    return *_Fusion(loop, kernels, slots, states).result(), work


def _is_plain(step: AnyStep, kernels) -> bool:
    kernel = kernels[step.kernel] if isinstance(step, Step) and not step.prepare else None
    return isinstance(kernel, Kernel) and not kernel.locals and not _calls(kernel.body)


def choosing(work: Expr) -> Bound:
    """A kernel that says whether an iteration of so much work is small."""
    small = Op("le", (Index(work, INT), Const(LARGEST, INT)), BOOL)
    return canonical(Kernel("choose", (Buffer("out", BOOL, "w"),), (), (), "_once", const(1), (Store("out", ZERO, small),)))


def _calls(stmts) -> bool:
    return any(not isinstance(s, (For, If, While, Let, Init, Update, Store)) or _calls(getattr(s, "body", ())) for s in stmts)


class _Fusion:
    def __init__(self, loop: Loop, kernels, slots: Sequence[Slot], states: Collection[int]):
        self.loop, self.kernels, self.slots, self.states = loop, kernels, slots, states
        self.buffers: dict[int, Buffer] = {}  # by slot; `access` says how each is used
        self.count = 0
        # While statements are made, in their order:
        self.known: set[int] = set()  # slots that were surely written
        self.written: set[int] = set()  # slots that were written on some path
        self.exposed: set[int] = set()  # slots that some path read before it wrote them

    def result(self) -> tuple[Loop, Bound]:
        loop = self.loop
        if loop.length is None:
            stmts, extent = self.conditional(), const(1)
        else:
            stmts, extent = self.counted(), const(1)
        self.buffers = {s: replace(b, access=self.access(s)) for s, b in self.buffers.items()}
        stmts = self.registered(stmts)
        bound = canonical(Kernel("while", tuple(self.buffers.values()), (), (), "_once", extent, tuple(stmts)))
        step = Step(
            len(self.kernels), tuple(self.buffers), bound.sizes, extent, const(LARGEST), ZERO,
            source=f"{loop.source} of {sum(isinstance(s, Step) for s in walk((*loop.cond, *loop.body)))} kernels",
        )  # fmt: skip
        if loop.length is None:
            return Loop((), cond=(step,), pred=loop.pred, fresh=loop.fresh, source=loop.source), bound
        return Loop((step,), ceildiv(loop.length, const(CHUNK)), loop.counter, fresh=loop.fresh, source=loop.source), bound

    def conditional(self) -> list[Stmt]:
        """The condition, and, if it holds: body, condition, again while it holds. `pred` says in the end whether to go on."""
        test = self.block(self.loop.cond)
        pred = Load(self.read(self.loop.pred), ZERO, BOOL)
        known = set(self.known)
        again = (*self.block(self.loop.body), *self.swaps(), *self.block(self.loop.cond))
        self.known = known
        return [*test, If(pred, (While(again, pred, const(CHUNK)),))]

    def counted(self) -> list[Stmt]:
        """One chunk of the iterations; the runtime counts the chunks."""
        loop, var = self.loop, "_trip"
        chunk = self.fresh("chunk")
        if loop.counter is None:
            raise AssertionError("a counted loop that is fused counts in memory")
        first = Let(chunk, Load(self.read(loop.counter), ZERO, INT))
        start = sym(chunk) * CHUNK
        counter = self.write(loop.counter)
        count = Store(counter, ZERO, Index(start + sym(var), INT))
        body = (count, *self.block(loop.body), *self.swaps())
        again = Store(counter, ZERO, Ref(chunk, INT))
        return [first, For(var, minimum(const(CHUNK), loop.length - start), body), again]

    def swaps(self) -> list[Stmt]:
        """The next states become the states."""
        return [self.copy(old, new) for old, new in self.loop.swaps]

    def copy(self, to: int, source: int) -> Stmt:
        slot, i = self.slots[to], self.fresh("i")
        size = const(1)
        for d in slot.shape:
            size = size * d
        dtype = self.dtype(to, source)
        elements = size * (slot.dtype.itemsize // dtype.itemsize)
        out_of, into = self.read(source), self.write(to)
        if elements.value == 1:
            return Store(into, ZERO, Load(out_of, ZERO, dtype))
        return For(i, elements, (Store(into, sym(i), Load(out_of, sym(i), dtype)),), "vector")

    def dtype(self, *slots: int) -> np.dtype:
        """As kernels see a slot: complex numbers are pairs of floats."""
        return next((self.buffers[s].dtype for s in slots if s in self.buffers), self.slots[slots[0]].dtype)

    # -- steps

    def block(self, steps: Sequence[AnyStep]) -> list[Stmt]:
        stmts: list[Stmt] = []
        for step in steps:
            stmts += self.branch(step) if isinstance(step, Branch) else self.step(step)
        return stmts

    def step(self, step: Step) -> list[Stmt]:
        kernel = self.kernels[step.kernel]
        uses = list(zip(kernel.buffers, step.slots, strict=True))
        names = {b.name: self.read(s, b.dtype) for b, s in uses if b.access != "w"}
        names |= {b.name: self.write(s, b.dtype) for b, s in uses if b.access != "r"}
        env: dict[str, Expr] = dict(zip(kernel.sizes, step.sizes, strict=True))
        self.count += 1
        inline = _Inlined(f"_k{self.count}", names, env)
        if step.extent.value == 1:
            env[kernel.var] = ZERO
            return list(inline.body(kernel.body))
        return [For(inline.define(kernel.var), step.extent, inline.body(kernel.body))]

    def branch(self, step: Branch) -> list[Stmt]:
        index = self.slots[step.index].dtype
        which = Load(self.read(step.index), ZERO, index)
        last = len(step.branches) - 1
        stmts: list[Stmt] = []
        chosen = self.fresh("b")
        stmts.append(Let(chosen, which if index != BOOL else Op("convert", (which,), np.dtype(np.int32))))
        ref = Ref(chosen, np.dtype(np.int32) if index == BOOL else index)
        before, after = self.known, []
        for k, block in enumerate(step.branches):
            compare = "le" if k == 0 else "ge" if k == last else "eq"
            self.known = set(before)
            if last == 0:
                stmts += self.block(block)
            elif body := self.block(block):
                stmts.append(If(Op(compare, (ref, Const(k, ref.dtype)), BOOL), tuple(body)))
            after.append(self.known)
        self.known = set.intersection(*after)
        return stmts

    def registered(self, stmts: Sequence[Stmt]) -> list[Stmt]:
        """`stmts` where the scalars that they write live in registers: read at the start, written at the end."""
        one = [s for s, b in self.buffers.items() if b.access != "r" and self.slots[s].nbytes.value == b.dtype.itemsize]
        registers = _Registers({self.buffers[s].name: f"_r{s}" for s in one}, stmts)
        before: list[Stmt] = []
        after: list[Stmt] = []
        for s in one:
            buffer = self.buffers[s]
            if (register := registers.of.get(buffer.name)) is None:
                continue
            before.append(Init(register, "set", buffer.dtype))
            if buffer.access == "rw":
                before.append(Update(register, Load(buffer.name, ZERO, buffer.dtype)))
            after.append(Store(buffer.name, ZERO, Ref(register, buffer.dtype)))
        return [*before, *registers.body(stmts), *after]

    # -- slots

    def read(self, slot: int, dtype=None) -> str:
        if slot not in self.known:
            self.exposed.add(slot)
        return self.name(slot, dtype)

    def write(self, slot: int, dtype=None) -> str:
        self.written.add(slot)
        self.known.add(slot)
        return self.name(slot, dtype)

    def name(self, slot: int, dtype) -> str:
        if slot not in self.buffers:
            self.buffers[slot] = Buffer(f"x{len(self.buffers)}", dtype or self.slots[slot].dtype, "r")
        return self.buffers[slot].name

    def access(self, slot: int) -> str:
        if slot not in self.written:
            return "r"
        matters = slot in self.exposed or (slot in self.states and slot not in self.known)
        return "rw" if matters else "w"

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"_{stem}{self.count}"


class _Inlined:
    """Statements of a kernel under names of their own, on other buffers, with values for its sizes."""

    def __init__(self, prefix: str, buffers: Mapping[str, str], env: dict[str, Expr]):
        self.prefix, self.buffers, self.env = prefix, buffers, env

    def define(self, name: str) -> str:
        new = f"{self.prefix}{name}"
        self.env[name] = sym(new)
        return new

    def value(self, v: Value | None) -> Value | None:
        match v:
            case Ref(name, dtype):
                return Ref(f"{self.prefix}{name}", dtype)
            case Index(expr, dtype):
                return Index(expr.subs(self.env), dtype)
            case Load(buffer, at, dtype, where):
                return Load(self.buffers[buffer], at.subs(self.env), dtype, self.value(where))
            case Op(name, args, dtype):
                return Op(name, tuple(map(self.value, args)), dtype)
        return v

    def body(self, stmts: Sequence[Stmt]) -> tuple[Stmt, ...]:
        found: list[Stmt] = []
        for s in stmts:
            if isinstance(s, For) and s.extent.subs(self.env).value == 1:
                self.env[s.var] = ZERO
                found += self.body(s.body)
            else:
                found.append(self.stmt(s))
        return tuple(found)

    def stmt(self, s: Stmt) -> Stmt:
        match s:
            case For(var, extent, body, kind):
                extent = extent.subs(self.env)
                return For(self.define(var), extent, self.body(body), kind)
            case Let(name, value):
                value = self.value(value)
                return Let(self.define(name), value)
            case Init(name, op, dtype):
                return Init(self.define(name), op, dtype)
            case Update(name, value):
                return Update(f"{self.prefix}{name}", self.value(value))
            case Store(buffer, at, value, where):
                return Store(self.buffers[buffer], at.subs(self.env), self.value(value), self.value(where))
            case If(cond, body):
                return If(self.value(cond), self.body(body))
            case While(body, cond, limit):
                body = self.body(body)
                return While(body, self.value(cond), limit.subs(self.env))
        raise TypeError(f"no statement of a small kernel: {s}")


class _Registers:
    """Statements where loads and stores of some buffers' only element are those of registers."""

    def __init__(self, of: Mapping[str, str], stmts: Sequence[Stmt]):
        elsewhere = {b for b, at in _accesses(stmts) if at.value != 0}
        self.of = {b: r for b, r in of.items() if b not in elsewhere}

    def value(self, v: Value | None) -> Value | None:
        match v:
            case Load(buffer, _, dtype, where) if buffer in self.of:
                ref = Ref(self.of[buffer], dtype)
                return ref if where is None else Op("select", (self.value(where), ref, Const(0, dtype)), dtype)
            case Load(buffer, at, dtype, where):
                return Load(buffer, at, dtype, self.value(where))
            case Op(name, args, dtype):
                return Op(name, tuple(map(self.value, args)), dtype)
        return v

    def body(self, stmts: Sequence[Stmt]) -> tuple[Stmt, ...]:
        return tuple(map(self.stmt, stmts))

    def stmt(self, s: Stmt) -> Stmt:
        match s:
            case Store(buffer, _, value, where) if buffer in self.of:
                register, value = self.of[buffer], self.value(value)
                if where is not None:
                    value = Op("select", (self.value(where), value, Ref(register, value.dtype)), value.dtype)
                return Update(register, value)
            case Store(buffer, at, value, where):
                return Store(buffer, at, self.value(value), self.value(where))
            case For(var, extent, body, kind):
                return For(var, extent, self.body(body), kind)
            case Let(name, value) | Update(name, value):
                return type(s)(name, self.value(value))
            case If(cond, body):
                return If(self.value(cond), self.body(body))
            case While(body, cond, limit):
                return While(self.body(body), self.value(cond), limit)
        return s


def _accesses(stmts: Sequence[Stmt]) -> Iterator[tuple[str, Expr]]:
    """(buffer, offset) of everything that is loaded or stored; a store within a vector loop counts as elsewhere."""

    def of_value(v: Value | None):
        match v:
            case Load(buffer, at, _, where):
                yield buffer, at
                yield from of_value(where)
            case Op(_, args):
                for a in args:
                    yield from of_value(a)

    for s in stmts:
        match s:
            case Store(buffer, at, value, where):
                yield buffer, at
                yield from of_value(value)
                yield from of_value(where)
            case Let(_, value) | Update(_, value):
                yield from of_value(value)
            case For(_, _, body, kind):
                inner = list(_accesses(body))
                yield from inner
                if kind == "vector":
                    yield from ((b, const(-1)) for b in {x.buffer for x in body if isinstance(x, Store)})
            case If(cond, body) | While(body, cond, _):
                yield from of_value(cond)
                yield from _accesses(body)
