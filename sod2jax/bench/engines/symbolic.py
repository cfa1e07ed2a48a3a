"""A workload's inputs with the symbolic dims of `jax.export`, for the converters that trace a function once for all sizes.

A dim of which the constraints say "h % 32 == 0" is written 32*h: JAX does not use a constraint with `mod` to prove that the sizes
of two feature maps are equal, but it does divide 32*h.
"""

from __future__ import annotations

import ast
import math

import jax
import numpy as np
from jax import export

from sod2jax.bench.engines.engine import EngineError
from sod2jax.bench.workload import Workload
from sod2jax.ir.expr import Atom, Expr, sym


def symbolic_inputs(workload: Workload) -> tuple:
    """The inputs as ShapeDtypeStructs; EngineError, in JAX's words, if it cannot say the shapes or the constraints."""
    inputs = workload.make_inputs(workload.steady[0])
    leaves, tree = jax.tree.flatten(inputs)
    multiples = _multiples(workload)
    try:
        scope = export.SymbolicScope(_constraints(workload, multiples))
        structs = []
        for x, spec in zip(leaves, workload.contract.leaf_specs(inputs, {}), strict=True):
            dims = spec.over(np.ndim(x)) if spec is not None else (None,) * np.ndim(x)
            text = ", ".join(
                _jax_text(n if dim is None else dim.subs(multiples)) for dim, n in zip(dims, np.shape(x), strict=True)
            )
            structs.append(jax.ShapeDtypeStruct(export.symbolic_shape(text, scope=scope), x.dtype))
    except ValueError as err:
        raise EngineError(f"jax.export cannot say these sizes: {err}") from None
    return tree.unflatten(structs)


def _multiples(workload: Workload) -> dict[str, Expr]:
    """{"h": 32*h} where a constraint says "h % 32 == 0"; the least common multiple where several do."""
    steps: dict[str, int] = {}
    for _, cond in workload.contract.constraints:
        for side, other in ((cond.lhs, cond.rhs), (cond.rhs, cond.lhs)):
            match side.terms:
                case (((Atom(kind="%", args=(of, step)),), _),) if cond.op == "==" and other == 0 and step.value:
                    steps |= {name: math.lcm(steps.get(name, 1), step.value) for name in of.free if of == sym(name)}
    return {name: step * sym(name) for name, step in steps.items()}


def _constraints(workload: Workload, multiples: dict[str, Expr]) -> list[str]:
    """In JAX's words, which have no "<" and no "!=", and in "==" no number on the left."""
    found = []
    for _, cond in workload.contract.constraints:
        lhs, rhs = cond.lhs.subs(multiples), cond.rhs.subs(multiples)
        if lhs.value is not None and cond.op == "==":
            lhs, rhs = rhs, lhs
        if lhs.value is not None and rhs.value is not None:
            continue  # 32*h % 32 == 0
        if cond.op == "<":
            found.append(f"{_jax_text(lhs)} + 1 <= {_jax_text(rhs)}")
        elif cond.op != "!=":
            found.append(f"{_jax_text(lhs)} {cond.op} {_jax_text(rhs)}")
    return found


class _Calls(ast.NodeTransformer):
    """`a % b` and `a // b` as calls of JAX's functions for them."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        node = self.generic_visit(node)
        name = {ast.Mod: "mod", ast.FloorDiv: "floordiv"}.get(type(node.op))
        return node if name is None else ast.Call(ast.Name(name), [node.left, node.right], [])


def _jax_text(dim: Expr | int) -> str:
    return ast.unparse(_Calls().visit(ast.parse(str(dim), mode="eval"))).replace("**", "^")
