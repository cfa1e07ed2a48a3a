"""Rewriting: `run(closed_jaxpr, box)` gives a simpler jaxpr with the same values, `at_sizes` one that JAX can evaluate."""

from sod2jax.rewrite.at_sizes import at_sizes
from sod2jax.rewrite.passes import run

__all__ = ["at_sizes", "run"]
