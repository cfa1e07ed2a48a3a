"""Rewrite rules that must name primitives, one table per pass: primitive -> rules tried in order.

A rule is `rule(cx, eqn) -> atom | [atoms] | None`; `cx` is the jaxpr being written (`rewrite.interpreter.Context`). Every rule keeps
values to the bit under JAX's own evaluation; what would not (reassociation, fused divisions) has no place here.
"""

from sod2jax.ops.rewrites import canonical, fold, recover, simplify

__all__ = ["canonical", "fold", "recover", "simplify"]
