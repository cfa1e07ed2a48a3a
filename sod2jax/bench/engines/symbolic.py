"""A workload's inputs with the symbolic dims of `jax.export`, for the converters that trace a function once for all sizes."""

from __future__ import annotations

import ast

import jax
import numpy as np
from jax import export

from sod2jax.bench.engines.engine import EngineError
from sod2jax.bench.workload import Workload
from sod2jax.ir.expr import Expr


def symbolic_inputs(workload: Workload) -> tuple:
    """The inputs as ShapeDtypeStructs; EngineError, in JAX's words, if it cannot say the shapes or the constraints."""
    inputs = workload.make_inputs(workload.steady[0])
    leaves, tree = jax.tree.flatten(inputs)
    try:
        scope = export.SymbolicScope(_constraints(workload))
        structs = []
        for x, spec in zip(leaves, workload.contract.leaf_specs(inputs, {}), strict=True):
            dims = spec.over(np.ndim(x)) if spec is not None else (None,) * np.ndim(x)
            text = ", ".join(_jax_text(n if dim is None else dim) for dim, n in zip(dims, np.shape(x), strict=True))
            structs.append(jax.ShapeDtypeStruct(export.symbolic_shape(text, scope=scope), x.dtype))
    except ValueError as err:
        raise EngineError(f"jax.export cannot say these sizes: {err}") from None
    return tree.unflatten(structs)


def _constraints(workload: Workload) -> list[str]:
    """In JAX's words, which have no "<" and no "!=", and in "==" no number on the left."""
    found = []
    for _, cond in workload.contract.constraints:
        lhs, rhs = _jax_text(cond.lhs), _jax_text(cond.rhs)
        if cond.op == "<":
            found.append(f"{lhs} + 1 <= {rhs}")
        elif cond.op == "==" and cond.lhs.value is not None:
            found.append(f"{rhs} == {lhs}")
        elif cond.op != "!=":
            found.append(f"{lhs} {cond.op} {rhs}")
    return found


class _Calls(ast.NodeTransformer):
    """`a % b` and `a // b` as calls of JAX's functions for them."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        node = self.generic_visit(node)
        name = {ast.Mod: "mod", ast.FloorDiv: "floordiv"}.get(type(node.op))
        return node if name is None else ast.Call(ast.Name(name), [node.left, node.right], [])


def _jax_text(dim: Expr | int) -> str:
    return ast.unparse(_Calls().visit(ast.parse(str(dim), mode="eval"))).replace("**", "^")
