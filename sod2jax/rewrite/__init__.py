"""Rewriting: a jaxpr in, a simpler jaxpr with the same values out. `run` is the list of passes.

Every pass is a pure function of a closed jaxpr whose result JAX itself evaluates to the same bits, at any sizes
(`at_sizes(jaxpr, {"s": 37})` puts numbers for symbols). A pass with nothing to do returns the jaxpr that it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from jax.extend.core import ClosedJaxpr

from sod2jax.ir.box import Box
from sod2jax.ops import rewrites
from sod2jax.rewrite.at_sizes import at_sizes
from sod2jax.rewrite.cse import cse
from sod2jax.rewrite.dce import dce
from sod2jax.rewrite.inline import inline
from sod2jax.rewrite.interpreter import rewrite
from sod2jax.rewrite.nested import nested

__all__ = ["at_sizes", "cse", "dce", "inline", "rewrite", "run"]


def run(closed: ClosedJaxpr, box: Box, trace: Callable[[str, ClosedJaxpr], None] | None = None) -> ClosedJaxpr:
    """`closed` inlined, recovered, folded, simplified and canonical, without dead or repeated eqns.

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

    def by_rules(rules):
        return partial(rewrite, rules=rules, box=box)

    return [
        ("inline", inline),  # calls by their bodies
        ("nested", partial(nested, run=partial(run, box=box))),  # the bodies of loops and branches, by this pipeline
        ("dce", dce),
        ("fold", by_rules(rewrites.fold.RULES)),  # constants
        ("recover", by_rules(rewrites.recover.RULES)),  # slices, reversals, counted loops
        ("canonical", by_rules(rewrites.canonical.RULES)),  # one form of convolution
        ("simplify", by_rules(rewrites.simplify.RULES)),  # neutral operands, movement that cancels
        ("cse", cse),
        ("dce again", dce),
    ]


def _print(name: str, closed: ClosedJaxpr) -> None:
    print(f"--- {name} ({len(closed.jaxpr.eqns)} eqns)\n{closed}")
