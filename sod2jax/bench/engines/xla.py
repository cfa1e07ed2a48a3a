"""Plain JAX: `jax.jit` compiles for every new size, or for every new power of two when inputs are padded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from sod2jax import specs
from sod2jax.bench.engines.engine import Engine, Size


class Exact(Engine):
    """jax.jit at the exact sizes."""

    def prepare(self) -> None:
        self._traced = 0

        def fun(params, *inputs):
            self._traced += 1
            return self.workload.fun(params, *inputs)

        self._function = jax.jit(fun)

    def call(self, taken: tuple, size: Size) -> Any:
        return jax.block_until_ready(self._function(self.params, *taken))

    def compilations(self) -> int:
        return self._traced

    def temp_bytes(self, inputs: tuple, size: Size) -> int:
        before = self._traced
        analysis = self._function.lower(self.params, *inputs).compile().memory_analysis()
        self._traced = before
        return analysis.temp_size_in_bytes

    def kept_bytes(self) -> int:
        return 0

    def facts(self) -> dict[str, Any]:
        return {"jax": jax.__version__}


class Padded(Exact):
    """jax.jit on inputs padded with zeros to powers of two, as people do who cannot wait for a compilation at every size.

    The padding is part of a call; a result is cut to the shape that it has at the exact size. It equals the exact one where the
    model hides the padding by a mask that is among its inputs, and zero there.
    """

    def prepare(self) -> None:
        super().prepare()
        self._padded: dict[tuple, tuple[list, list]] = {}  # by size: padding of each leaf, slices of each result

    def take(self, inputs: tuple, size: Size) -> Any:
        if (key := tuple(size.items())) not in self._padded:
            results = jax.tree.leaves(jax.eval_shape(self.workload.fun, self.params, *inputs))
            self._padded[key] = self._widths(inputs, size), [tuple(map(slice, r.shape)) for r in results]
        return jax.tree.map(np.asarray, inputs)

    def _widths(self, inputs: tuple, size: Size) -> list[list[tuple[int, int]]]:
        """Of every input, what `np.pad` takes."""
        rounded, contract = round_up(size, self.workload.contract), self.workload.contract
        widths = []
        for x, spec in zip(jax.tree.leaves(inputs), contract.leaf_specs(inputs, {}), strict=True):
            dims = spec.over(np.ndim(x)) if spec is not None else (None,) * np.ndim(x)
            after = [n if dim is None else dim.eval(rounded) for dim, n in zip(dims, np.shape(x), strict=True)]
            widths.append([(0, wide - n) for wide, n in zip(after, np.shape(x), strict=True)])
        return widths

    def _pad(self, inputs: tuple, size: Size) -> tuple:
        leaves, tree = jax.tree.flatten(inputs)
        return tree.unflatten(list(map(np.pad, leaves, self._padded[tuple(size.items())][0])))

    def call(self, taken: tuple, size: Size) -> Any:
        leaves, tree = jax.tree.flatten(super().call(self._pad(taken, size), size))
        cuts = self._padded[tuple(size.items())][1]
        return tree.unflatten([np.asarray(x)[cut] for x, cut in zip(leaves, cuts, strict=True)])

    def temp_bytes(self, inputs: tuple, size: Size) -> int:
        return super().temp_bytes(self._pad(self.take(inputs, size), size), size)

    def padding(self, size: Size) -> float:
        inputs = self.workload.make_inputs(size)
        shapes = [np.shape(x) for x in jax.tree.leaves(inputs)]
        exact = sum(map(math.prod, shapes))
        widths = self._widths(inputs, size)
        padded = sum(math.prod(n + more for n, (_, more) in zip(s, w, strict=True)) for s, w in zip(shapes, widths, strict=True))
        return 1 - exact / padded if padded else 0.0


def round_up(size: Size, contract: specs.Contract) -> dict[str, int]:
    """Each dim at the next power of two; more where the constraints want it, less where they bound it."""
    now = {name: int(n) for name, n in size.items()}
    conds = [cond for _, cond in contract.constraints]
    for _ in now:  # a dim may have to wait for another that bounds it
        for name in now:
            now[name] = _round_dim(name, size[name], now, conds)
    return now


def _round_dim(name: str, exact: int, now: Size, conds: Sequence) -> int:
    goal = 1 << max(exact - 1, 0).bit_length() if exact else 0
    highest = min((n for cond in conds if (n := _bound(name, cond, now)) is not None), default=2 * goal)
    fits = lambda n: all(specs.holds(cond, {**now, name: n}) for cond in conds)
    up, down = range(goal, min(2 * goal, highest) + 1), range(min(goal, highest), exact, -1)
    return next((n for candidates in (up, down) for n in candidates if fits(n)), now[name])


def _bound(name: str, cond, now: Size) -> int | None:
    """The largest value of the dim that a constraint such as "s <= 512" or "s < t" allows."""
    affine = cond.lhs.linear((name,)) if cond.op in ("<=", "<") and name in cond.lhs.free else None
    if affine is None or affine[0][name].value != 1 or name in cond.rhs.free or not affine[1].free <= now.keys():
        return None
    return cond.rhs.eval(now) - affine[1].eval(now) - (cond.op == "<")
