"""Einsums of an ONNX model said as MatMuls, which engines know best: weights get packed, and dynamic batches are understood.

jax2onnx makes Einsums of JAX's contractions. One of two operands and one summed letter, with at most one free letter per operand
where there are batch letters, is a MatMul between Transposes. Others stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from sod2jax.bench.engines.engine import installed


def to_matmuls(model) -> None:
    """Replaces, in an `onnx.ModelProto`, the Einsums of its main graph."""
    nodes = [new for node in model.graph.node for new in _replaced(node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _replaced(node) -> Iterator:
    plan = None
    if node.op_type == "Einsum" and len(node.input) == 2:
        (equation,) = (a.s.decode() for a in node.attribute if a.name == "equation")
        plan = matmul(equation)
    if plan is None:
        yield node
        return
    make, name = installed("onnx").helper.make_node, node.output[0]
    names = []
    for side, order, value in zip("ab", plan[:2], node.input, strict=True):
        names.append(value)
        if order != sorted(order):
            names[-1] = f"{name}/{side}"
            yield make("Transpose", [value], [names[-1]], perm=order)
    if plan[2] == sorted(plan[2]):
        yield make("MatMul", names, [name])
    else:
        yield make("MatMul", names, [f"{name}/product"])
        yield make("Transpose", [f"{name}/product"], [name], perm=plan[2])


def matmul(equation: str) -> tuple[list[int], list[int], list[int]] | None:
    """The permutations of the operands before a MatMul, and of its result, that give this einsum; None if it is none."""
    operands, _, out = equation.replace(" ", "").partition("->")
    a, _, b = operands.partition(",")
    if not out or "." in equation or any(len(set(letters)) != len(letters) for letters in (a, b, out)):
        return None
    batch = [x for x in out if x in a and x in b]
    left, right = ([x for x in out if x in own and x not in other] for own, other in ((a, b), (b, a)))
    summed = [x for x in a if x in b and x not in out]
    whole = {*batch, *left, *summed} == set(a) and {*batch, *right, *summed} == set(b)
    if not whole or len(summed) != 1 or len(right) != 1 or not left or (batch and len(left) != 1):
        return None
    order = lambda wanted, letters: [letters.index(x) for x in wanted]
    return order(batch + left + summed, a), order(batch + summed + right, b), order(out, batch + left + right)
