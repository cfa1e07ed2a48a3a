"""Long sums in blocks: sums of blocks are added up, so that rounding errors grow with the blocks, not with the elements.

* An accumulator that takes one element after another is off by up to half a unit in the last place of the whole sum each time:
  after 2^24 ones, f32 stands still. A block of a few thousand is summed from zero, and only then added.
* Each loop of a nest that sums gets a sum of its own, and a loop that may be longer than a block becomes a loop over blocks.
* Sums that are known to be short stay as they are, and so do other folds: their results do not depend on the order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from itertools import count

from sod2jax.ir.box import Box
from sod2jax.ir.expr import Expr, ceildiv, const, minimum, sym
from sod2jax.ir.loops import For, Init, Ref, Stmt, Update
from sod2jax.lowering.body import renamed

BLOCK = {"vector": 4096, "serial": 256, "unroll": 256}  # iterations; in vectors a lane has a 16th of them or fewer


def cascade(body: tuple[Stmt, ...], box: Box) -> tuple[Stmt, ...]:
    """`body` with its long sums of floats in blocks."""
    return _Cascade(box).block(body)


class _Cascade:
    def __init__(self, box: Box):
        self.box, self.numbers = box, count()

    def block(self, stmts: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        sums = {s.name: s for s in stmts if isinstance(s, Init) and s.op == "add" and s.dtype.kind == "f"}
        return tuple(self.loop(s, sums) if isinstance(s, For) else s for s in stmts)

    def loop(self, s: For, sums: Mapping[str, Init]) -> For:
        """`s`, with what it sums into `sums`, and what loops within it sum into accumulators of its own, in blocks."""
        s = replace(s, body=self.block(s.body))
        mine = {n: init for n, init in sums.items() if n in updated(s)}
        return self.partial(s, mine) if mine and self.long(s, mine) else s

    def long(self, s: For, sums: Collection[str]) -> bool:
        """Whether one of the sums may take more elements than a block."""
        return self.elements(s, sums) > min(BLOCK.values())

    def elements(self, s: For, sums: Collection[str]) -> float:
        inner = (self.elements(t, sums) for t in s.body if isinstance(t, For) and not updated(t).isdisjoint(sums))
        return self.most(s.extent) * max(inner, default=1)

    def most(self, extent: Expr) -> float:
        bound = extent.value if extent.value is not None else self.box.upper(extent)
        return float("inf") if bound is None else bound

    def partial(self, s: For, sums: Mapping[str, Init]) -> For:
        """`s` with partial sums in each loop within it, and in blocks of its own iterations."""
        body: list[Stmt] = []
        for t in s.body:
            mine = {n: init for n, init in sums.items() if isinstance(t, For) and n in updated(t)}
            body += self.apart(t, mine, self.partial) if mine else [t]
        s = replace(s, body=tuple(body))
        if self.most(s.extent) <= (size := BLOCK[s.kind]):
            return s
        block = f"{s.var}_{next(self.numbers)}"
        start = sym(block) * size
        inside = For(s.var, minimum(const(size), s.extent - start), renamed(s.body, s.var, start + sym(s.var)), s.kind)
        return For(block, ceildiv(s.extent, const(size)), tuple(self.apart(inside, sums, lambda t, _: t)), "serial")

    def apart(self, s: For, sums: Mapping[str, Init], then: Callable) -> Iterator[Stmt]:
        """The loop `s` with sums of its own, which are added to `sums` after it."""
        own = {n: Init(f"{n}_{next(self.numbers)}", init.op, init.dtype) for n, init in sums.items()}
        yield from own.values()
        yield then(into(s, {n: init.name for n, init in own.items()}), {init.name: init for init in own.values()})
        yield from (Update(n, Ref(init.name, init.dtype)) for n, init in own.items())


def updated(s: Stmt) -> set[str]:
    """The accumulators that a statement updates."""
    if isinstance(s, Update):
        return {s.name}
    return set().union(*map(updated, getattr(s, "body", ())))


def into(s: Stmt, names: Mapping[str, str]) -> Stmt:
    """`s`, updating other accumulators."""
    if isinstance(s, Update):
        return replace(s, name=names.get(s.name, s.name))
    return replace(s, body=tuple(into(t, names) for t in s.body)) if hasattr(s, "body") else s
