"""Einsums as MatMuls, pools over height and width, and what onnx2torch needs."""

import numpy as np
import pytest

from sod2jax.bench.engines.onnx_forms import matmul, to_known_forms, to_torch_forms

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


def test_notes_of_inner_shapes_are_dropped():
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3])
    graph = onnx.helper.make_graph([], "main", [value], [value], value_info=[value])
    to_known_forms(graph)
    assert not graph.value_info


def test_constants_are_folded_and_comparisons_spelled_out_for_torch():
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    helper, f32, flag = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
    weights = {
        name: np.random.default_rng(0).standard_normal(shape).astype(np.float32) for name, shape in (("w", (3, 4)), ("v", 3))
    }
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        helper.make_node("Constant", [], ["c"], value_float=0.5),
        helper.make_node("Clip", ["wt", "", "c"], ["low"]),
        helper.make_node("MatMul", ["x", "low"], ["y"]),
        helper.make_node("Add", ["y", "v"], ["sum"]),
        helper.make_node("GreaterOrEqual", ["sum", "c"], ["more"]),
        helper.make_node("LessOrEqual", ["sum", "sum"], ["no nan"]),
    ]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", f32, ["n", 4])],
        [
            helper.make_tensor_value_info("sum", f32, None),
            *(helper.make_tensor_value_info(n, flag, None) for n in ("more", "no nan")),
        ],
        [onnx.numpy_helper.from_array(x, name) for name, x in weights.items()],
    )
    model = helper.make_model(graph)
    x = np.array([[1, 2, 3, 4], [0, 0, 0, np.nan]], np.float32)
    expected = ReferenceEvaluator(model).run(None, {"x": x})
    to_torch_forms(model)
    assert [n.op_type for n in model.graph.node] == ["MatMul", "Add", "Greater", "Equal", "Or", "Less", "Equal", "Or"]
    assert {t.name for t in model.graph.initializer} == {"low", "v", "c"}
    for a, b in zip(ReferenceEvaluator(model).run(None, {"x": x}), expected, strict=True):
        np.testing.assert_array_equal(a, b)
