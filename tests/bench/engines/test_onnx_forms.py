"""Einsums as MatMuls, and pools over height and width."""

import numpy as np
import pytest

from sod2jax.bench.engines.onnx_forms import matmul, to_known_forms

SIZES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 6}
MATMULS = ["abc,cd->abd", "ab,bc->ac", "ab,cb->ca", "acbd,aebd->abce", "abce,aebd->acbd", "abc,acd->abd", "ca,cb->ab"]


def transposed_product(equation, x, y):
    first, second, last = matmul(equation)
    return np.transpose(np.transpose(x, first) @ np.transpose(y, second), last)


def operands(equation):
    rng = np.random.default_rng(0)
    return [rng.standard_normal([SIZES[n] for n in term]).astype(np.float32) for term in equation.partition("->")[0].split(",")]


@pytest.mark.parametrize("equation", MATMULS)
def test_permutations(equation):
    x, y = operands(equation)
    np.testing.assert_allclose(transposed_product(equation, x, y), np.einsum(equation, x, y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("equation", ["abcd,cde->abe", "ab,cd->abcd", "aab,bc->ac", "...a,ab->...b", "ab,b->a", "ab,bc"])
def test_what_stays(equation):
    assert matmul(equation) is None


@pytest.mark.parametrize("equation", [*MATMULS, "abcd,cde->abe"])
def test_einsums_of_a_model(equation):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(n, f32, None) for n in "xyz"]
    node = helper.make_node("Einsum", ["x", "y"], ["z"], equation=equation)
    model = helper.make_model(helper.make_graph([node], "main", values[:2], values[2:]))
    x, y = operands(equation)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x, "y": y})
    to_known_forms(model.graph)
    assert any(n.op_type == "Einsum" for n in model.graph.node) == (matmul(equation) is None)
    (got,) = ReferenceEvaluator(model).run(None, {"x": x, "y": y})
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_pools_of_a_model():
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
    given, result = helper.make_tensor_value_info("x", f32, [1, 1, 2, 7, 9, 3]), helper.make_tensor_value_info("y", f32, None)
    shape = {"kernel_shape": [1, 3, 2, 1], "strides": [1, 2, 1, 1], "pads": [0, 1, 0, 0, 0, 1, 1, 0]}
    model = helper.make_model(helper.make_graph([helper.make_node("MaxPool", ["x"], ["y"], **shape)], "main", [given], [result]))
    to_known_forms(model.graph)
    (pool,) = (n for n in model.graph.node if n.op_type == "MaxPool")
    assert {a.name: list(a.ints) for a in pool.attribute} == {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    x = np.random.default_rng(0).standard_normal((1, 1, 2, 7, 9, 3)).astype(np.float32)
    (got,) = ReferenceEvaluator(model).run(None, {"x": x})
    padded = np.pad(x, [(0, 0)] * 3 + [(1, 1), (0, 1), (0, 0)], constant_values=-np.inf)
    expected = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), (3, 4)).max((-1, -2))[:, :, :, ::2]
    np.testing.assert_array_equal(got, expected)


def test_branches_are_rewritten():
    onnx = pytest.importorskip("onnx")
    helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
    value = lambda name: helper.make_tensor_value_info(name, f32, None)
    einsum = helper.make_node("Einsum", ["x", "x"], ["y"], equation="ab,bc->ac")
    branch = lambda: helper.make_graph([einsum], "branch", [], [value("y")])
    node = helper.make_node("If", ["p"], ["z"], then_branch=branch(), else_branch=branch())
    graph = helper.make_graph([node], "main", [value("x")], [value("z")])
    to_known_forms(graph)
    assert [n.op_type for a in graph.node[0].attribute for n in a.g.node] == ["MatMul", "MatMul"]
