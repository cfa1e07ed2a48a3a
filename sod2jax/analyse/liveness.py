"""Liveness: from which to which position of an order a variable holds a value that something still needs.

* An order is a sequence of positions, each with reads and writes; eqns of a jaxpr, fusion groups and steps of a Program alike.
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

    def overlaps(self, other: Life) -> bool:
        return self.first <= other.last and other.first <= self.last


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


def lives_in_jaxpr(jaxpr, order: Sequence[int] | None = None) -> dict[object, Life]:
    """The life of each variable of a jaxpr whose eqns run in `order` (numbers of eqns; as written if None)."""
    eqns = jaxpr.eqns if order is None else [jaxpr.eqns[k] for k in order]
    positions = [(variables(eqn.invars), variables(eqn.outvars)) for eqn in eqns]
    return lives(positions, [*jaxpr.constvars, *jaxpr.invars], variables(jaxpr.outvars))


def variables(atoms) -> list:
    """Without literals."""
    return [v for v in atoms if not hasattr(v, "val")]


def alive_at(found: Mapping[Hashable, Life], position: int) -> list[Hashable]:
    return [var for var, life in found.items() if life.first <= position <= life.last]


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
