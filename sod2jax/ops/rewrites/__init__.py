"""Rewrite rules that must name primitives, one table per pass: primitive -> rules tried in order.

A rule is `rule(cx, eqn) -> atom | [atoms] | None`; `cx` is the jaxpr being written (`rewrite.interpreter.Context`). Every rule
keeps values to the bit under JAX's own evaluation; what would not (reassociation, say) has no place here. One exception: XLA sums
a padded convolution in another order than the same convolution of a padded array.
"""

from sod2jax.ops.rewrites import canonical, control, fold, recover, simplify, sizes

__all__ = ["canonical", "control", "fold", "recover", "simplify", "sizes"]
