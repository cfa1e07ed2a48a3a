"""Which sizes to try: those at which loops, tiles and guards have their edges, in few combinations.

* A symbol's candidates are 0, 1, 2, some primes, the edges of vectors and register tiles and their neighbours, and what the
  constraints and guards name: where a comparison turns, and the numbers in it.
* Every candidate is to be tried once, and then as many pairs of candidates as there is room for.
* A combination that breaks a constraint moves to the nearest one that does not: symbol after symbol, each to the nearest value
  for which the conditions hold that are decided by then. Equalities are solved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sod2jax.ir.expr import Expr, const, sym
from sod2jax.ir.program import Cond
from sod2jax.lowering import microkernel
from sod2jax.lowering.targets import Target
from sod2jax.specs import holds
from sod2jax.trace import Signature

SMALL = (0, 1, 2, 3, 5)
PRIMES = (13, 37, 61, 131, 257)  # no multiple of anything, below and above a few vectors and tiles
REACH = 4096  # how far from the wanted size an allowed one is looked for
LARGEST = 1 << 16  # numbers above this in constraints are no edges to try

Sizes = dict[str, int]


@dataclass(frozen=True)
class Space:
    """The sizes that calls may have: symbols, what holds for them, and whether the arrays fit into memory."""

    names: tuple[str, ...]
    conds: tuple[Cond, ...]
    fits: Callable[[Sizes], bool] = lambda sizes: True

    @staticmethod
    def of(signature: Signature, fits: Callable[[Sizes], bool] = lambda sizes: True) -> Space:
        names = tuple(d.name for d in signature.symbols)
        conds = [Cond(const(signature.lower.get(n, 0)), "<=", sym(n)) for n in names]
        conds += [Cond(const(0), "<=", e) for shape in signature.shapes for e in shape if e.free]
        return Space(names, (*conds, *(g.cond for g in signature.contract)), fits)

    def broken(self, sizes: Mapping[str, int]) -> Cond | None:
        """A condition that these sizes break."""
        return next((c for c in self.conds if not holds(c, sizes)), None)

    def nearest(self, wanted: Mapping[str, int], order: Sequence[str] = ()) -> Sizes | None:
        """The wanted sizes moved to where all conditions hold, those in `order` first; None if there is no such place nearby."""
        found: Sizes = {}
        for name in [*order, *(n for n in self.names if n not in order)]:
            decided = [c for c in self.conds if name in _free(c) and _free(c) <= {*found, name}]
            near = _near(name, wanted[name], found, decided)
            value = next((v for v in near if all(holds(c, {**found, name: v}) for c in decided)), None)
            if value is None:
                return None
            found[name] = value
        return {n: found[n] for n in self.names}


def _free(cond: Cond) -> frozenset[str]:
    return cond.lhs.free | cond.rhs.free


def _near(name: str, wanted: int, found: Sizes, conds: Sequence[Cond]) -> Iterator[int]:
    for c in conds:
        if c.op == "==" and (solved := _solve(c, name, found)) is not None:
            scale, rest = solved
            value, left = divmod(-rest, scale)
            yield from [] if left else [value]
            return
    yield wanted
    for step in range(1, REACH + 1):
        yield from (wanted - step, wanted + step) if step <= wanted else (wanted + step,)


def _solve(cond: Cond, name: str, sizes: Mapping[str, int]) -> tuple[int, int] | None:
    """(scale, rest) of lhs - rhs = scale * name + rest, if it is that."""
    difference = (cond.lhs - cond.rhs).subs({n: const(v) for n, v in sizes.items()})
    affine = difference.linear((name,))
    if affine is None or affine[1].value is None:
        return None
    scale = affine[0].get(name, const(0)).value
    return (scale, affine[1].value) if scale else None


# -- the candidates of one symbol


def tile_edges(target: Target, dtypes: Iterable[np.dtype]) -> list[int]:
    """Lanes of a vector, and rows and columns of a register tile, of each dtype."""
    edges = set()
    for dtype in map(np.dtype, dtypes):
        edges.add(target.lanes(dtype))
        computed = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        tile = microkernel.tile(target, computed)
        edges |= {tile.rows, tile.vectors * target.lanes(computed)}
    return sorted(edges)


def turning_points(name: str, conds: Iterable[Cond]) -> set[int]:
    """Sizes around which the truth of a condition changes, as far as it names them."""
    points: set[int] = set()
    for c in conds:
        if name not in _free(c):
            continue
        if (solved := _solve(c, name, {})) is not None:
            scale, rest = solved
            points.add(-rest // scale)
        points |= {int(n) for e in (c.lhs, c.rhs) for n in re.findall(r"\b\d+\b", str(e))}
    return {p for p in points if 0 <= p <= LARGEST}


def candidates(
    name: str, edges: Iterable[int], conds: Iterable[Cond], guards: Iterable[Cond] = (), given: Iterable[int] = ()
) -> list[int]:
    """The sizes to try for one symbol, small ones first. Both `conds` and `guards` have edges; `conds` must hold."""
    conds = list(conds)
    around = {e + d for e in (*edges, *turning_points(name, [*conds, *guards])) for d in (-1, 0, 1)}
    alone = Space((name,), tuple(c for c in conds if _free(c) == {name}))
    nearest = (alone.nearest({name: n}) for n in {*SMALL, *PRIMES, *around, *given} if n >= 0)
    return sorted({found[name] for found in nearest if found})


# -- combinations


def combine(space: Space, tried: Mapping[str, Sequence[int]], given: Mapping[str, int], most: int, seed: int) -> list[Sizes]:
    """At most `most` combinations: the given one, then every candidate once, then pairs of candidates."""
    rng = np.random.default_rng(seed)
    chosen: dict[tuple, Sizes] = {}
    seen: set[frozenset] = set()

    def add(sizes: Sizes | None) -> bool:
        if sizes is None or not space.fits(sizes):
            return False
        chosen.setdefault(tuple(sizes.values()), sizes)
        seen.update(_goals(sizes))
        return True

    if given.keys() >= set(space.names) and space.broken(given) is None:
        add({n: given[n] for n in space.names})
    for goal in _wanted(tried, rng):
        if len(chosen) >= most:
            break
        if goal in seen:
            continue
        first = dict(goal)
        rest = {n: _any(n, options, seen, rng) for n, options in tried.items() if n not in first}
        for others in (rest, dict.fromkeys(rest, 1)):  # the goal may fit only where the others are small
            if add(space.nearest({**others, **first}, tuple(first))):
                break
    first, *others = chosen.values() or [None]
    return [first, *sorted(others, key=lambda sizes: (sum(sizes.values()), *sizes.values()))] if first is not None else []


def _goals(sizes: Mapping[str, int]) -> Iterator[frozenset]:
    yield from (frozenset([pair]) for pair in sizes.items())
    yield from map(frozenset, combinations(sizes.items(), 2))


def _wanted(tried: Mapping[str, Sequence[int]], rng) -> list[frozenset]:
    """What should be seen: every candidate, then pairs; 0 and 1 first."""
    alone = [frozenset([(n, v)]) for n, options in tried.items() for v in options]
    pairs = [
        frozenset([(n, v), (m, w)]) for (n, first), (m, second) in combinations(tried.items(), 2) for v in first for w in second
    ]
    rng.shuffle(alone)
    rng.shuffle(pairs)
    for goals in (alone, pairs):
        goals.sort(key=lambda goal: min(2, max(v for _, v in goal)))
    return alone + pairs


def _any(name: str, options: Sequence[int], seen: set[frozenset], rng) -> int:
    fresh = [v for v in options if frozenset([(name, v)]) not in seen]
    return int(rng.choice(fresh or options))


def nbytes(shape: Iterable[Expr], dtype, sizes: Mapping[str, int]) -> int:
    n = dtype.itemsize
    for e in shape:
        n *= e.eval(sizes)
    return n
