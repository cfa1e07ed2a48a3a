"""What jax2onnx says in forms that engines run slowly or not at all, said in those they know best.

* An Einsum of two operands and one summed letter, with at most one free letter per operand where there are batch letters, is a
  MatMul between Transposes: weights get packed, and dynamic batches are understood.
* A MaxPool of JAX's reduce_window counts batch and channels among four spatial dims of a single picture; engines pool over up to
  three. It is one over height and width between Transposes.
* What it notes of the shapes of inner values is dropped: some of it is wrong, and engines infer them by themselves.
* For onnx2torch, which wants initializers where a convolution has its weights: constants are folded, and comparisons are spelled
  out that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sod2jax.bench.engines.engine import installed


def to_known_forms(graph) -> None:
    """Rewrites an `onnx.GraphProto`, branches and bodies included."""
    for body in _bodies(graph):
        del body.value_info[:]
    _rewrite(graph, {"Einsum": _einsum, "MaxPool": _max_pool})


def to_torch_forms(model) -> None:
    """What onnx2torch needs besides, in an `onnx.ModelProto`."""
    _rewrite(model.graph, {"GreaterOrEqual": _or_equal, "LessOrEqual": _or_equal})
    _fold_constants(model)


def _rewrite(graph, forms: dict[str, Callable]) -> None:
    for body in _bodies(graph):
        nodes = [new for node in body.node for new in (forms[node.op_type](node) if node.op_type in forms else [node])]
        del body.node[:]
        body.node.extend(nodes)


def _bodies(graph) -> Iterator:
    """The graph after those in its nodes."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _bodies(attribute.g)
    yield graph


def _fold_constants(model) -> None:
    """Computes the nodes of the main graph into which nothing but initializers goes."""
    onnx, evaluate = installed("onnx"), installed("onnx.reference").ReferenceEvaluator
    graph, constant, other = model.graph, [], []
    known = {"", *(x.name for x in graph.initializer)}  # "": an optional input that is not given
    for node in graph.node:
        fixed = known.issuperset(node.input) and not any(a.HasField("g") for a in node.attribute)
        (constant if fixed else other).append(node)
        known.update(node.output if fixed else ())
    weights = list(graph.initializer)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(other)
    read = {name for body in _bodies(graph) for node in body.node for name in node.input} | {x.name for x in graph.output}
    wanted = [name for node in constant for name in node.output if name in read]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in wanted]
    part = onnx.helper.make_model(
        onnx.helper.make_graph(constant, "constants", [], outputs, weights), opset_imports=model.opset_import
    )
    values = zip(wanted, evaluate(part).run(None, {}), strict=True)
    graph.initializer.extend([x for x in weights if x.name in read])
    graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(x), name) for name, x in values)


def _or_equal(node) -> Iterator:
    make, (name,) = installed("onnx").helper.make_node, node.output
    yield make(node.op_type.removesuffix("OrEqual"), node.input, [f"{name}/strict"])
    yield make("Equal", node.input, [f"{name}/equal"])
    yield make("Or", [f"{name}/strict", f"{name}/equal"], [name])


def _einsum(node) -> Iterator:
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


def _max_pool(node) -> Iterator:
    onnx = installed("onnx")
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    kernel, pads = given["kernel_shape"], given.get("pads") or [0] * 2 * len(given["kernel_shape"])
    strides, rank = given.get("strides") or [1] * len(kernel), len(kernel)
    plain = all(kernel[i] == strides[i] == 1 and pads[:rank][i] == pads[rank:][i] == 0 for i in (0, -1))
    if rank < 4 or not plain or not given.keys() <= {"kernel_shape", "pads", "strides"} or len(node.output) > 1:
        yield node
        return
    make, name = onnx.helper.make_node, node.output[0]
    last = [0, rank - 1, *range(1, rank - 1)]  # channels before the spatial dims
    yield make("Constant", [], [f"{name}/axes"], value=onnx.numpy_helper.from_array(np.array([0, 1], np.int64)))
    yield make("Squeeze", [node.input[0], f"{name}/axes"], [f"{name}/whole"])
    yield make("Transpose", [f"{name}/whole"], [f"{name}/channels"], perm=last)
    inner = {"kernel_shape": kernel[1:-1], "strides": strides[1:-1], "pads": [*pads[1 : rank - 1], *pads[rank + 1 : -1]]}
    yield make("MaxPool", [f"{name}/channels"], [f"{name}/pooled"], **inner)
    yield make("Transpose", [f"{name}/pooled"], [f"{name}/back"], perm=[last.index(i) for i in range(rank)])
    yield make("Unsqueeze", [f"{name}/back", f"{name}/axes"], [name])


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
