"""Liveness: from which to which position of an order a variable holds a value that something still needs.

* An order is a sequence of positions, each with reads and writes: steps of a Program, say.
* A variable lives from the position that first writes it to the last that reads or writes it, both included. An input lives from
  position 0, an output to the last position; a variable that is written and never read lives at one position.
* `peak` is the largest sum of sizes alive at one position: what no memory plan of this order can go below.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple


class Life(NamedTuple):
    """Positions `first` to `last`, inclusive."""

    first: int
    last: int


def lives(
    order: Sequence[tuple[Iterable[Hashable], Iterable[Hashable]]],
    inputs: Iterable[Hashable] = (),
    outputs: Iterable[Hashable] = (),
) -> dict[Hashable, Life]:
    """The life of each variable; `order` gives (reads, writes) per position.

    Raises ValueError for a read, or an output, that nothing wrote.
    """
    first: dict[Hashable, int] = dict.fromkeys(inputs, 0)
    last: dict[Hashable, int] = dict.fromkeys(first, 0)
    for position, (reads, writes) in enumerate(order):
        for var in reads:
            if var not in first:
                raise ValueError(f"position {position} reads {var}, which nothing before it wrote")
            last[var] = position
        for var in writes:
            first.setdefault(var, position)
            last[var] = position
    for var in outputs:
        if var not in first:
            raise ValueError(f"output {var} is never written")
        last[var] = max(len(order) - 1, 0)
    return {var: Life(first[var], last[var]) for var in first}


def peak(found: Mapping[Hashable, Life], size: Callable[[Hashable], int]) -> tuple[int, int]:
    """(bytes, position) of the largest sum of sizes alive; (0, 0) of nothing."""
    change: dict[int, int] = {}
    for var, life in found.items():
        n = size(var)
        change[life.first] = change.get(life.first, 0) + n
        change[life.last + 1] = change.get(life.last + 1, 0) - n
    best, where, total = 0, 0, 0
    for position in sorted(change):
        total += change[position]
        if total > best:
            best, where = total, position
    return best, where
