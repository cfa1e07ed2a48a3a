"""The order in which pieces run, for memory's sake (SoD2 section 4.3): what frees more than it takes comes early.

* Greedy: of the pieces whose operands are there, the next one is that with the least growth of what is alive; the jaxpr's own
  order decides between equals.
* What packs an operand, and what reads nothing but inputs (an array of zeros, say), waits for the first piece that needs it.
* Memory that is overwritten must have been read; effects keep their order.
* Sizes are those of a sample. The greedy order is taken only if its peak there is lower than that of the order that it is given.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from sod2jax.analyse.liveness import lives, peak


@dataclass(frozen=True)
class Node:
    """A piece: what it reads and writes, and which earlier nodes it must follow besides those that write its operands."""

    reads: tuple[Hashable, ...]
    writes: tuple[Hashable, ...]
    after: tuple[int, ...] = ()
    waits: bool = False  # it serves another node and is better done right before that


def ordered(nodes: Sequence[Node], size: Mapping[Hashable, int]) -> list[int]:
    """A permutation of `nodes`; `size` has the bytes of what lies in the arena, and of nothing else."""
    given = list(range(len(nodes)))
    found = _Greedy(nodes, size).order()
    return found if _peak(nodes, found, size) < _peak(nodes, given, size) else given


def _peak(nodes: Sequence[Node], order: Sequence[int], size: Mapping[Hashable, int]) -> int:
    inside = lambda names: [v for v in names if v in size]
    found = lives([(inside(nodes[i].reads), inside(nodes[i].writes)) for i in order])
    return peak(found, size.__getitem__)[0]


class _Greedy:
    def __init__(self, nodes: Sequence[Node], size: Mapping[Hashable, int]):
        self.nodes, self.size = nodes, size
        maker = {v: i for i, node in enumerate(nodes) for v in node.writes}
        self.needs = [
            sorted({maker[v] for v in node.reads if v in maker and maker[v] != i} | set(node.after))
            for i, node in enumerate(nodes)
        ]
        needed = {j for needs in self.needs for j in needs}
        self.lazy = [
            i in needed and (node.waits or (not self.needs[i] and size.keys().isdisjoint(node.reads)))
            for i, node in enumerate(nodes)
        ]
        # Steps of the search: a node that does not wait, after those that waited for it.
        self.missing: dict[int, set[int]] = {}
        self.users: dict[int, list[int]] = {}
        for i in range(len(nodes)):
            if not self.lazy[i]:
                self.missing[i] = {j for k in self.with_waiting(i) for j in self.needs[k] if not self.lazy[j]} - {i}
                for j in self.missing[i]:
                    self.users.setdefault(j, []).append(i)
        self.readers: dict[Hashable, int] = {}
        for node in nodes:
            for v in set(node.reads):
                self.readers[v] = self.readers.get(v, 0) + 1
        self.alive: set[Hashable] = set()
        self.done: set[int] = set()

    def with_waiting(self, i: int) -> list[int]:
        """Node `i` after all nodes that wait for it."""
        found: dict[int, None] = {}
        stack = [(i, iter(self.needs[i]))]
        while stack:
            node, rest = stack[-1]
            j = next((j for j in rest if self.lazy[j] and j not in found), None)
            if j is None:
                found[node] = None
                stack.pop()
            else:
                stack.append((j, iter(self.needs[j])))
        return list(found)

    def order(self) -> list[int]:
        result: list[int] = []
        ready = [i for i, missing in self.missing.items() if not missing]
        while ready:
            best = min(ready, key=lambda i: (self.growth(i), i))
            ready.remove(best)
            for i in self.step(best):
                result.append(i)
                self.done.add(i)
                self.alive.update(v for v in self.nodes[i].writes if v in self.size)
                for v in set(self.nodes[i].reads):
                    self.readers[v] -= 1
            for user in self.users.get(best, ()):
                self.missing[user].discard(best)
                if not self.missing[user]:
                    ready.append(user)
        return result

    def step(self, i: int) -> list[int]:
        return [j for j in self.with_waiting(i) if j not in self.done]

    def growth(self, i: int) -> int:
        """How many bytes more are alive after node `i` and what waited for it."""
        nodes = [self.nodes[j] for j in self.step(i)]
        reads: dict[Hashable, int] = {}
        for node in nodes:
            for v in set(node.reads):
                reads[v] = reads.get(v, 0) + 1
        left = lambda v: self.readers.get(v, 0) - reads.get(v, 0)
        taken = sum(self.size.get(v, 0) for node in nodes for v in node.writes if left(v))
        return taken - sum(self.size[v] for v in reads if v in self.alive and not left(v))
