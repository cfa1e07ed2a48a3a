"""Rewriting: `run(closed_jaxpr, box)` gives a simpler jaxpr with the same values, `islands` one that can
be planned, `at_sizes` one that JAX can evaluate.
"""

from sod2jax.rewrite.at_sizes import at_sizes
from sod2jax.rewrite.islands import islands
from sod2jax.rewrite.passes import run

__all__ = ["at_sizes", "islands", "run"]
