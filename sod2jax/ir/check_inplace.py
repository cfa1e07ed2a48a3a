"""The checker of a kernel's word that one of its buffers may lie over another: by running through its loops.

* Of each loop a few iterations are drawn, the first and last ones among them, at given sizes; every load of the one buffer and
  every store to the other then has a place and a time.
* Where a load and a store meet at an element, the load must come first: in the same iteration of the parallel loop and of every
  vector loop around both, in an earlier iteration of a serial loop, or earlier in the text.
* A place that depends on loaded values is not known here, and a `While` or a `Gemm` is not followed: such a kernel has no say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sod2jax.ir import interp
from sod2jax.ir.expr import Expr, postfix
from sod2jax.ir.loops import Const, For, Gemm, If, Index, Kernel, Let, Load, Op, Ref, Store, Update, Value, While

Names = dict[str, np.ndarray]
MOST = 1 << 11  # points of one access


@dataclass(frozen=True)
class _Access:
    """Some of the times at which an element is loaded or stored. `trail` leads to it: (number of a statement, loop or "")."""

    trail: tuple[tuple[int, str], ...]
    times: Names  # of loop variables
    element: np.ndarray


class _Unknown(Exception):
    pass


def overlay_problems(kernel: Kernel, sizes: dict[str, int]) -> Iterator[str]:
    """What is wrong with `inplace` of a kernel's buffers at these sizes."""
    pairs = [(b.name, name) for b in kernel.buffers for name in b.inplace]
    try:
        walk = _Walk(kernel, {n for pair in pairs for n in pair})
        walk.run({name: np.array([n]) for name, n in sizes.items()})
    except _Unknown as why:
        yield f"says that {', '.join(f'{new} may lie over {old}' for new, old in pairs)}, and {why}"
        return
    vector = {kernel.var, *walk.unordered}
    for new, old in pairs:
        for load in walk.loads.get(old, ()):
            for store in walk.stores.get(new, ()):
                if (found := _too_late(load, store, vector)) is not None:
                    yield f"says that {new} may lie over {old}, but reads element {found} of {old} after it may be overwritten"
                    break
            else:
                continue
            break


def _too_late(load: _Access, store: _Access, unordered: set[str]) -> int | None:
    """An element that is loaded when the store may have happened."""
    i, j = np.nonzero(load.element[:, None] == store.element[None, :])
    if not len(i):
        return None
    undecided = np.ones(len(i), bool)
    late = np.zeros(len(i), bool)
    for (n, var), (m, other) in zip(load.trail, store.trail):  # until they part
        if n != m:
            return _first(load, i, late | (undecided & (n > m)))
        if var and var == other:
            a, b = load.times[var][i], store.times[var][j]
            late |= undecided & ((a != b) if var in unordered else (a > b))
            undecided &= a == b
    return _first(load, i, late)


def _first(load: _Access, i: np.ndarray, late: np.ndarray) -> int | None:
    return int(load.element[i[late][0]]) if late.any() else None


class _Walk:
    def __init__(self, kernel: Kernel, names: set[str]):
        self.kernel, self.names = kernel, names
        self.loads: dict[str, list[_Access]] = {}
        self.stores: dict[str, list[_Access]] = {}
        self.unordered: set[str] = set()
        self.rng = np.random.default_rng(0)

    def run(self, sizes: Names) -> None:
        loop = For(self.kernel.var, self.kernel.extent, self.kernel.body)
        self.loop(loop, sizes, (), {}, 0)

    def loop(self, s: For, env: Names, trail, variables: Names, number: int) -> None:
        trips = np.atleast_1d(self.number(s.extent, env))
        some = min(6, max(1, MOST // max(1, trips.size)))
        drawn = np.stack([np.full_like(trips, 0), trips - 1, np.full_like(trips, 1), trips // 2, trips - 2,
                          self.rng.integers(0, np.maximum(trips, 1))])[:some]  # fmt: skip
        drawn = drawn[:, : trips.size] if trips.size > 1 else drawn
        count = max((x.size for x in env.values()), default=1)
        drawn = np.broadcast_to(drawn, (len(drawn), count)).reshape(-1)
        trips = np.tile(np.broadcast_to(trips, count), some)
        good = (drawn >= 0) & (drawn < trips)
        if not good.any():
            return
        wide = lambda x: np.tile(np.broadcast_to(x, count), some)[good]
        if s.kind == "vector":
            self.unordered.add(s.var)
        inner = {name: wide(x) for name, x in env.items()} | {s.var: drawn[good]}
        within = {name: wide(x) for name, x in variables.items()} | {s.var: drawn[good]}
        self.block(s.body, inner, (*trail, (number, s.var)), within)

    def block(self, stmts, env: Names, trail, variables: Names) -> None:
        env = dict(env)
        for number, s in enumerate(stmts):
            here = (*trail, (number, ""))
            match s:
                case For():
                    self.loop(s, env, trail, variables, number)
                case Let(name, value):
                    self.reads(value, env, here, variables)
                    if (known := self.value(value, env)) is not None:
                        env[name] = known
                case Update(_, value):
                    self.reads(value, env, here, variables)
                case Store(buffer, offset, value, where):
                    self.reads(value, env, here, variables)
                    self.reads(where, env, here, variables)
                    self.access(self.stores, buffer, offset, where, env, here, variables)
                case If(cond, body):
                    self.reads(cond, env, here, variables)
                    mask = self.value(cond, env)
                    if mask is None:
                        self.block(body, env, here, variables)
                    else:
                        count = max((x.size for x in env.values()), default=1)
                        mask = np.broadcast_to(mask, count).astype(bool)
                        if mask.any():
                            only = lambda x, mask=mask, count=count: np.broadcast_to(x, count)[mask]
                            self.block(
                                body, {n: only(x) for n, x in env.items()}, here, {n: only(x) for n, x in variables.items()}
                            )
                case While():
                    raise _Unknown("it repeats until something holds")
                case Gemm():
                    if self.names & {s.a, s.b, s.c, s.offsets}:
                        raise _Unknown("one of them takes part in a product")

    def reads(self, v: Value | None, env: Names, trail, variables: Names) -> None:
        match v:
            case Load(buffer, offset, _, where):
                self.access(self.loads, buffer, offset, where, env, trail, variables)
                self.reads(where, env, trail, variables)
            case Op(_, args):
                for a in args:
                    self.reads(a, env, trail, variables)

    def access(self, into, buffer: str, offset: Expr, where, env: Names, trail, variables: Names) -> None:
        if buffer not in self.names:
            return
        element = self.number(offset, env, buffer)
        count = max((x.size for x in env.values()), default=1)
        mask = self.value(where, env) if where is not None else None
        mask = np.ones(count, bool) if mask is None else np.broadcast_to(mask, count).astype(bool)
        only = lambda x: np.broadcast_to(x, count)[mask]
        into.setdefault(buffer, []).append(_Access(trail, {n: only(x) for n, x in variables.items()}, only(element)))

    def number(self, e: Expr, env: Names, buffer: str = "") -> np.ndarray:
        if not e.free <= env.keys():
            raise _Unknown(f"where it uses {buffer} depends on values" if buffer else "how long it runs depends on values")
        stack: list[np.ndarray] = []
        for op, operand in postfix(e):
            if op == "CONST":
                stack.append(np.int64(operand))
            elif op == "SYM":
                stack.append(env[operand])
            else:
                b = stack.pop()
                stack.append(interp.INDEX_OPS[op](stack.pop(), b))
        return np.asarray(stack[0])

    def value(self, v: Value, env: Names) -> np.ndarray | None:
        """A value that depends on indices alone."""
        match v:
            case Const(value, dtype):
                return np.asarray(value).astype(dtype)
            case Index(expr, dtype):
                return self.number(expr, env).astype(dtype) if expr.free <= env.keys() else None
            case Ref(name):
                return env.get(name)
            case Op(name, args, dtype):
                known = [self.value(a, env) for a in args]
                if any(x is None for x in known):
                    return None
                with np.errstate(all="ignore"):
                    return interp.scalar(name, dtype, *known)
        return None
