"""The list of passes: a jaxpr in, a simpler jaxpr with the same values out.

Every pass is a pure function of a closed jaxpr whose result JAX itself evaluates to the same bits, at any sizes
(`at_sizes(jaxpr, {"s": 37})` puts numbers for symbols). A pass with nothing to do returns the jaxpr that it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial

from jax.extend.core import ClosedJaxpr

from sod2jax import compat
from sod2jax.ir.box import Box
from sod2jax.ops import rewrites
from sod2jax.rewrite.cse import cse
from sod2jax.rewrite.dce import dce
from sod2jax.rewrite.inline import inline
from sod2jax.rewrite.interpreter import Rules, rewrite
from sod2jax.rewrite.nested import everywhere, nested
from sod2jax.rewrite.physical import physical


def run(closed: ClosedJaxpr, box: Box, trace: Callable[[str, ClosedJaxpr], None] | None = None) -> ClosedJaxpr:
    """`closed` without calls, disguised slices, constants to compute, and idle, dead or repeated eqns; convolutions in one form.

    `trace(name, jaxpr)` is called after each pass that changed something; SOD2_DEBUG=rewrite prints.
    """
    trace = trace or (_print if "rewrite" in os.environ.get("SOD2_DEBUG", "").split(",") else None)
    for name, step in passes(box):
        before, closed = closed, step(closed)
        if trace is not None and closed is not before:
            trace(name, closed)
    return closed


def passes(box: Box) -> list[tuple[str, Callable[[ClosedJaxpr], ClosedJaxpr]]]:
    """The pipeline."""

    def by_rules(*tables):
        return partial(rewrite, rules=merged(*tables), box=box)

    return [
        ("sizes", partial(everywhere, run=by_rules(rewrites.sizes))),  # as values of other dtypes: exactly
        ("references", compat.without_references),  # mutable arrays as values
        ("inline", inline),  # calls by their bodies
        ("physical", physical),  # typed keys by their words
        ("nested", partial(nested, run=partial(run, box=box))),  # the bodies of loops and branches, by this pipeline
        ("dce", dce),
        ("recover", by_rules(rewrites.fold, rewrites.recover, rewrites.control)),  # constants; slices, loops, branches
        ("canonical", by_rules(rewrites.canonical)),  # one form of convolution
        ("simplify", by_rules(rewrites.fold, rewrites.simplify)),  # neutral operands, movement that cancels
        ("cse", cse),
        ("dce again", dce),
    ]


@cache
def merged(*tables) -> Rules:
    """The rules of several tables; for one primitive, those of the first table come first."""
    rules: dict = {}
    for table in tables:
        for prim, more in table.RULES.items():
            rules[prim] = (*rules.get(prim, ()), *more)
    return rules


def _print(name: str, closed: ClosedJaxpr) -> None:
    print(f"--- {name} ({len(closed.jaxpr.eqns)} eqns)\n{closed}")
