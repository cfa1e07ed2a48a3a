"""From pieces to the Program: steps with their slots, lifetimes, the arena's plan.

* Equal kernels are kept once, and an operand that several anchors pack alike is packed once.
* What depends on parameters alone lies in cached slots and is filled by prepare steps, which come first. What a loop computes
  from its constants alone comes before the loop.
* States of a loop lie in one slot each. A new state is written over the old one where nothing reads that any more; else into a
  slot of its own, and the two change places.
* All branches write the same slots.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jax.extend.core import Literal, Var

from sod2jax.ir.expr import Expr, const
from sod2jax.ir.loops import Buffer, Kernel
from sod2jax.ir.program import AnyStep, Branch, Extern, Host, HostCall, Input, Loop, Output, Program, Slot, Step, uses, walk
from sod2jax.lowering.anchors import Panels
from sod2jax.lowering.arena import place
from sod2jax.lowering.fused import choosing, fused
from sod2jax.lowering.pieces import BranchPiece, CallPiece, KernelPiece, LoopPiece, Lowering, What, final
from sod2jax.lowering.states import compact, copying, merge_states, renumbered
from sod2jax.plan.graph import Graph


@dataclass(eq=False)
class Block:
    """One list of steps while it is laid out; `of` says in which slot something lies."""

    lowering: Lowering
    parent: Block | None = None
    repeats: bool = False  # the body or the condition of a loop
    of: dict[What, int] = field(default_factory=dict)
    results: dict[Var, int] = field(default_factory=dict)  # slots that outputs must lie in
    steps: list[AnyStep] = field(default_factory=list)

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else self.parent.depth + 1

    def final(self, what: What) -> What:
        """What the memory of `what` holds in the end."""
        return final(self.lowering.successor, what)


class Assembler:
    def __init__(self, lowering: Lowering, variants: bool = True, in_place: bool = True):
        self.variants = variants  # whether sizes may choose between versions of a step
        self.in_place = in_place  # whether the next state of a loop may be written over the last one
        self.slots: list[Slot] = []
        self.constants: list[np.ndarray] = []
        self.hosts: list[Host] = []
        self.kernels: dict[Kernel | Extern, int] = {}
        self.prepare: list[Step] = []
        self.depth: list[int] = []  # of the block that writes a slot; 0: main
        self.roots: dict[int, frozenset[int]] = {}  # slots of parameters and of what was prepared from them: which inputs
        self.packed: dict[object, int] = {}
        self.counts: dict[str, int] = {}
        self.main = Block(lowering)
        graph = lowering.graph
        self.outputs = {v: i for i, v in reversed(list(enumerate(graph.jaxpr.outvars))) if isinstance(v, Var)}
        self.run(self.main)

    # -- slots

    def add(self, kind: str, dtype, shape, elements: Expr, name: str, index: int | None = None, depth: int = 0) -> int:
        if index is None:
            index = self.counts.get(kind, 0)
            self.counts[kind] = index + 1
        self.slots.append(Slot(kind, index, dtype, shape, elements * dtype.itemsize, name=name))
        self.depth.append(depth)
        return len(self.slots) - 1

    def get(self, block: Block, what: What) -> int:
        """The slot of something that is read: made already, or an input or constant."""
        if what in block.of:
            return block.of[what]
        graph = block.lowering.graph
        shape, dtype, size = graph.shape(what), graph.dtype(what), graph.size(what)
        if what in graph.consts:
            self.constants.append(np.ascontiguousarray(graph.consts[what]))
            number = self.add("constant", dtype, shape, size, f"const{len(self.constants) - 1}")
            self.roots[number] = frozenset()
        else:
            position = graph.jaxpr.invars.index(what)
            number = self.add("input", dtype, shape, size, f"arg{position}", position)
            if position in graph.parameters:
                self.roots[number] = frozenset({position})
        block.of[what] = number
        return number

    def make(self, block: Block, what: What, elements: Expr | None = None, cached: bool = False) -> int:
        """The slot that a step writes."""
        graph, final = block.lowering.graph, block.final(what)
        if what in block.of:
            return block.of[what]
        if isinstance(what, Panels):
            dtype, shape, name = graph.dtype(graph.eqns[what.eqn].outvars[0]), (elements,), f"packed{what.eqn}"
        else:
            dtype, shape, name = graph.dtype(what), graph.shape(what), f"v{graph.maker.get(what, 0)}"
            elements = graph.size(what) if elements is None else elements
        if final in block.results:
            number = block.results[final]
        elif block is self.main and final in self.outputs:
            number = self.add("output", dtype, shape, elements, name, self.outputs[final])
        else:
            number = self.add("cached" if cached else "arena", dtype, shape, elements, name, depth=block.depth)
        block.of[what] = number
        if what is not final:
            block.of[final] = number
        return number

    # -- steps

    def run(self, block: Block) -> Block:
        for piece in block.lowering.pieces:
            match piece:
                case KernelPiece():
                    self.kernel(block, piece)
                case CallPiece():
                    self.call(block, piece)
                case LoopPiece():
                    self.loop(block, piece)
                case BranchPiece():
                    self.branch(block, piece)
        return block

    def take_over(self, block: Block, writes: Sequence[What]) -> None:
        """Results that overwrite an operand lie in its slot."""
        successor = block.lowering.successor
        for x in [x for x, out in successor.items() if out in writes and x in block.of]:
            block.of[successor[x]] = block.of[x]

    def kernel(self, block: Block, piece: KernelPiece) -> None:
        lowered = piece.lowered
        reads = tuple(self.get(block, r) for r in lowered.reads)
        # What was prepared from parameters serves everywhere; another packing the block whose values it packs.
        everywhere, here = (lowered.bound, reads), (block, lowered.bound, lowered.reads)
        if piece.group.packs is not None and not self.packed.keys().isdisjoint((everywhere, here)):
            block.of[piece.writes[0]] = self.packed[everywhere if everywhere in self.packed else here]
            return
        home, needs = block, None
        if piece.group.prepare:
            home, needs = self.home(block, reads)
            static = all(e.value is not None for e in (*piece.elements, *lowered.bound.sizes))
            needs = needs if static else None
        self.take_over(block, piece.writes)
        made = [self.make(block, w, e, needs is not None) for w, e in zip(piece.writes, piece.elements, strict=True)]
        if piece.group.packs is not None:
            self.packed[here if needs is None else everywhere] = made[0]
        for number in made if piece.group.prepare else ():
            self.depth[number] = home.depth
            if needs is not None:
                self.roots[number] = needs
        step = Step(
            self.kernels.setdefault(lowered.bound.kernel, len(self.kernels)),
            (*reads, *made), lowered.bound.sizes, lowered.extent, lowered.work, lowered.scratch,
            tuple(sorted(needs)) if needs else (), describe(block.lowering.graph, piece),
        )  # fmt: skip
        (home.steps if needs is None else self.prepare).append(step)

    def home(self, block: Block, reads: Sequence[int]) -> tuple[Block, frozenset[int] | None]:
        """The outermost block that something invariant can stand in, and the inputs it is made of if it is made of parameters
        alone."""
        if all(r in self.roots for r in reads):
            needs = frozenset().union(*(self.roots[r] for r in reads))
            if needs:
                return self.main, needs
        while block.repeats and all(self.depth[r] < block.depth for r in reads):
            block = block.parent
        return block, None

    def call(self, block: Block, piece: CallPiece) -> None:
        graph, call = block.lowering.graph, piece.call
        reads = tuple(self.get(block, r) for r in piece.reads)
        self.take_over(block, piece.writes)
        writes = tuple(self.make(block, w) for w in piece.writes)
        source = str(graph.eqns[piece.group.whole].primitive)
        if isinstance(call, Host):
            self.hosts.append(call)
            block.steps.append(HostCall(len(self.hosts) - 1, reads, writes, source))
            return
        kernel = extern(call.name, [graph.dtype(v) for v in piece.reads], [graph.dtype(v) for v in piece.writes], len(call.sizes))
        number = self.kernels.setdefault(kernel, len(self.kernels))
        block.steps.append(Step(number, (*reads, *writes), call.sizes, call.extent, call.work, call.scratch, source=source))

    def loop(self, block: Block, piece: LoopPiece) -> None:
        form, graph = piece.loop, block.lowering.graph
        consts = [self.get(block, v) for v in form.consts]
        self.take_over(block, piece.writes)
        state = [self.make(block, v) for v in piece.writes]
        body = Block(piece.body, block, repeats=True)
        variables = piece.body.graph.jaxpr.invars
        body.of.update(zip(variables, (*consts, *state)))
        counter = self.add("arena", np.dtype(np.int64), (), const(1), "counter", depth=body.depth)
        body.of[variables[-1]] = counter
        before = [self.depth[s] for s in state]
        for s in state:
            self.depth[s] = body.depth  # it changes with each iteration: nothing that reads it stands outside
        self.run(body)
        new = [self.get(body, v) for v in piece.body.graph.jaxpr.outvars]
        test, pred = Block(piece.cond, block, repeats=True) if piece.cond else None, None
        if test is not None:
            consts = [self.get(block, v) for v in form.cond_consts]
            test.of.update(zip(piece.cond.graph.jaxpr.invars, (*consts, *state), strict=True))
            self.run(test)
            pred = self.get(test, piece.cond.graph.jaxpr.outvars[0])
        for s, depth in zip(state, before, strict=True):
            self.depth[s] = depth
        steps, swaps = self.merged(body.steps, list(zip(state, new, strict=True)))
        source = str(graph.eqns[piece.group.whole].primitive)
        condition = tuple(test.steps) if test is not None else ()
        fresh = tuple(s for s, start in zip(state, form.init, strict=True) if start is None)
        step = Loop(tuple(steps), form.length, counter, condition, pred, tuple(swaps), source, fresh)
        block.steps.append(self.small_or_large(block, step, state))

    def merged(self, steps: Sequence[AnyStep], states: Sequence[tuple[int, int]]) -> tuple[list[AnyStep], list[tuple[int, int]]]:
        """`merge_states`, unless there is no memory plan."""
        if not self.in_place:
            return list(steps), [(old, new) for old, new in states if old != new]
        return merge_states(steps, states, list(self.kernels))

    def small_or_large(self, block: Block, loop: Loop, states: Sequence[int]) -> AnyStep:
        """The loop as one kernel where its iterations are small; both ways where sizes decide."""
        kernels = list(self.kernels)
        one = fused(loop, kernels, self.slots, states)
        if not any(loop.counter in uses(s, kernels)[0] for s in walk((*loop.cond, *loop.body))):
            loop = replace(loop, counter=None)  # no step of its own reads it; one kernel counts chunks with it
        if one is None:
            return loop
        small, bound, work = one
        if work.value is None and not self.variants:
            return loop
        small = renumbered(small, len(self.kernels), self.kernels.setdefault(bound.kernel, len(self.kernels)))
        if work.value is not None:
            return small
        choice, zero = choosing(work), const(0)
        index = self.add("arena", np.dtype(bool), (), const(1), "small", depth=block.depth)
        number = self.kernels.setdefault(choice.kernel, len(self.kernels))
        block.steps.append(Step(number, (index,), choice.sizes, const(1), zero, zero, source="is small"))
        return Branch(index, ((loop,), (small,)), loop.source)

    def branch(self, block: Block, piece: BranchPiece) -> None:
        form = piece.branch
        if isinstance(form.index, Literal):  # effects keep rewriting from taking the branch
            number = min(max(int(form.index.val), 0), len(piece.bodies) - 1)
            index, bodies = None, piece.bodies[number : number + 1]
        else:
            index, bodies = self.get(block, form.index), piece.bodies
        operands = [self.get(block, v) for v in form.operands]
        self.take_over(block, piece.writes)
        made = [self.make(block, v) for v in piece.writes]
        branches = []
        for body in bodies:
            jaxpr = body.graph.jaxpr
            results = {v: s for k, (v, s) in enumerate(zip(jaxpr.outvars, made, strict=True)) if k not in piece.states}
            inner = Block(body, block, results=results)
            inner.of.update(zip(jaxpr.invars, operands, strict=True))
            self.run(inner)
            new = [(made[k], self.get(inner, jaxpr.outvars[k])) for k in sorted(piece.states)]
            steps, apart = self.merged(inner.steps, new)
            branches.append((*steps, *(self.copy(old, fresh) for old, fresh in apart)))
        if index is None:
            block.steps += branches[0]
            return
        block.steps.append(Branch(index, tuple(branches), str(block.lowering.graph.eqns[piece.group.whole].primitive)))

    def copy(self, to: int, source: int) -> Step:
        """Moves the contents of one slot to another of the same size."""
        bound, extent, work = copying(self.slots[to])
        number = self.kernels.setdefault(bound.kernel, len(self.kernels))
        return Step(number, (source, to), bound.sizes, extent, work, const(0), source="copy")


def extern(name: str, reads: Sequence[np.dtype], writes: Sequence[np.dtype], sizes: int) -> Extern:
    """The signature of a kernel of the runtime's own."""
    buffers = [Buffer(f"x{k}", dtype, "r") for k, dtype in enumerate(reads)]
    buffers += [Buffer(f"out{k}", dtype, "w") for k, dtype in enumerate(writes)]
    return Extern(name, tuple(buffers), tuple(f"n{k}" for k in range(sizes)))


def assemble(
    name: str,
    lowering: Lowering,
    inputs: Sequence[Input],
    samples: Sequence[Mapping[str, int]],
    disable: frozenset[str] = frozenset(),
    donated: Collection[int] = (),
    **rest,
) -> Program:
    """The Program of `lowering`; `samples` are sizes to plan the arena for, the most important one last; `donated` are
    inputs whose memory outputs may take."""
    plain = "memory" in disable
    made = Assembler(lowering, "variants" not in disable, not plain)
    steps = (*made.prepare, *made.main.steps)
    slots, steps, numbers = compact(made.slots, steps, list(made.kernels))
    outputs = [_output(made, numbers, v) for v in lowering.graph.jaxpr.outvars]
    placed = place(slots, steps, list(made.kernels), samples, outputs, donated, plain)
    return Program(
        name=name,
        inputs=tuple(inputs),
        outputs=tuple(replace(o, donor=placed.donors.get(i)) for i, o in enumerate(outputs)),
        slots=placed.slots,
        steps=placed.steps,
        kernels=tuple(k if isinstance(k, Extern) else replace(k, name=f"{k.name}_{i}") for i, k in enumerate(placed.kernels)),
        constants=tuple(made.constants),
        hosts=tuple(made.hosts),
        arena=placed.arena,
        **rest,
    )


def _output(made: Assembler, numbers: Mapping[int, int], v: Var) -> Output:
    graph: Graph = made.main.lowering.graph
    shape, dtype, slot = graph.shape(v), graph.dtype(v), made.main.of.get(v)
    if slot is not None and made.slots[slot].kind == "output":
        return Output(dtype, shape, numbers[slot])
    return Output(dtype, shape, None, forward=graph.jaxpr.invars.index(v))


def describe(graph: Graph, piece: KernelPiece) -> str:
    """The eqns of a group, for people."""
    if piece.group.packs is not None:
        return f"pack {graph.eqns[piece.group.packs.eqn].primitive} operand"
    return " ".join(str(graph.eqns[i].primitive) for i in piece.group.members)
