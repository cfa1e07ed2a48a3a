"""Einsums as MatMuls."""

import numpy as np
import pytest

from sod2jax.bench.engines.onnx_einsum import matmul, to_matmuls

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
def test_models(equation):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(n, f32, None) for n in "xyz"]
    node = helper.make_node("Einsum", ["x", "y"], ["z"], equation=equation)
    model = helper.make_model(helper.make_graph([node], "main", values[:2], values[2:]))
    x, y = operands(equation)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x, "y": y})
    to_matmuls(model)
    assert any(n.op_type == "Einsum" for n in model.graph.node) == (matmul(equation) is None)
    (got,) = ReferenceEvaluator(model).run(None, {"x": x, "y": y})
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
