"""A call of the sweep as it is, or inside of a transformation: `vmap`, `grad`, a body of `scan`, a branch of `cond`.

Under `vmap` and `scan` every argument has one more leading dim, the symbol `v`. `grad` is of the sum of all floats that come out,
with respect to all floats that go in; what JAX cannot differentiate is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from .calls import Argument, Call

LANES = 3  # `v` at ordinary sizes


@dataclass(frozen=True)
class Stacked:
    """An argument with a leading dim `v`."""

    inner: Argument

    @property
    def spec(self):
        return f"v, {self.inner.spec}".rstrip(", ") if self.inner.spec is not None else "v"

    def at(self, sizes, rng, special):
        each = [self.inner.at(sizes, rng, special) for _ in range(max(sizes["v"], 1))]
        if self.inner.maker == "key":
            return jnp.stack(each)[: sizes["v"]]
        return np.stack(each)[: sizes["v"]]


@dataclass(frozen=True)
class Wrapped:
    call: Call
    under: str
    wrap: Callable
    arguments: tuple
    optional: bool = True  # JAX need not be able to do it

    def __str__(self):
        return f"{self.under} {self.call}"

    @property
    def source(self):
        return self.call.source

    def function(self):
        return self.wrap(self.call.build())

    def values(self, sizes, special):
        return replace(self.call, arguments=self.arguments).values(sizes, special)

    def sizes(self, everything):
        runs = list(self.call.sizes(everything))
        if self.under not in ("vmap", "scan"):
            yield from runs
            return
        for position, (sizes, special) in enumerate(runs):
            lanes = next(iter(sizes.values()), LANES) if 0 < position < 3 else LANES + position % 3
            yield sizes | {"v": lanes}, special


def _as_it_is(call: Call) -> Wrapped:
    return Wrapped(call, "", lambda fun: fun, call.arguments, optional=False)


def _vmap(call: Call) -> Wrapped:
    return Wrapped(call, "vmap", jax.vmap, tuple(map(Stacked, call.arguments)))


def _scan(call: Call) -> Wrapped:
    def wrap(fun):
        return lambda *xs: jax.lax.scan(lambda count, x: (count + 1, fun(*x)), 0, xs)

    return Wrapped(call, "scan", wrap, tuple(map(Stacked, call.arguments)))


def _cond(call: Call) -> Wrapped:
    def wrap(fun):
        def branches(choice, *xs):
            def other(*xs):
                return jax.tree.map(jnp.zeros_like, fun(*xs))

            return jax.lax.cond(choice, fun, other, *xs)

        return branches

    return Wrapped(call, "cond", wrap, (Argument("b", ()), *call.arguments))


def _grad(call: Call) -> Wrapped:
    floats = tuple(
        j for j, a in enumerate(call.arguments) if a.maker in ("f", "h", "bf", "pf", "uf", "srt", "sq", "spd", "probs")
    )

    def wrap(fun):
        def loss(*xs):
            leaves = [x for x in jax.tree.leaves(fun(*xs)) if jnp.issubdtype(x.dtype, jnp.inexact)]
            if not leaves:
                raise TypeError("nothing to differentiate")
            return sum(jnp.sum(jnp.real(x)).astype(jnp.float32) for x in leaves)

        return jax.grad(loss, argnums=floats)

    return Wrapped(call, "grad", wrap, call.arguments)


WRAPPERS: dict[str, Callable[[Call], Wrapped]] = {"": _as_it_is, "vmap": _vmap, "grad": _grad, "scan": _scan, "cond": _cond}
