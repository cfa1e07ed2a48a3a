"""JAX to ONNX with dynamic dims."""

from dataclasses import replace

import jax
import pytest

from sod2jax.bench.engines import EngineError, Shared
from sod2jax.bench.engines.onnx_model import OPSET, onnx_models, reason, started


def test_a_model_with_dynamic_dims(tiny):
    pytest.importorskip("jax2onnx")
    onnx = pytest.importorskip("onnx")
    for make in onnx_models(tiny, tiny.make_params(), OPSET).values():
        check(onnx.load_model_from_string(make()))


def check(model):
    found = {x.name: [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in model.graph.input}
    assert found == {"input0": ["b", "3*s", 8], "input1": ["b", "3*s", 1]}
    assert model.graph.initializer, "the weights are in it"


def test_what_cannot_be_converted_is_told(tiny):
    pytest.importorskip("jax2onnx")
    w = replace(tiny, fun=lambda params, x, mask: x.reshape(-1, 5))
    with pytest.raises(EngineError, match="JAX cannot trace it with symbolic dims: "):
        started(lambda model: model, w, w.make_params(), OPSET, Shared())
    w = replace(tiny, fun=lambda params, x, mask: jax.pure_callback(lambda a: a, x, x))
    with pytest.raises(EngineError, match=r"jax2onnx cannot convert it: .*pure_callback"):
        started(lambda model: model, w, w.make_params(), OPSET, Shared())


def test_a_model_that_an_engine_refuses_is_made_in_another_way(tiny):
    pytest.importorskip("jax2onnx")
    seen = []

    def start(model):
        seen.append(model)
        if len(seen) < 2:
            raise RuntimeError("bad types")
        return "runs"

    assert started(start, tiny, tiny.make_params(), OPSET, Shared()) == "runs"
    with pytest.raises(EngineError, match=r"^ZeroDivisionError: "):
        started(lambda model: 1 / 0, tiny, tiny.make_params(), OPSET, Shared())


def test_a_model_is_converted_once_for_all_engines(tiny, tmp_path, monkeypatch):
    pytest.importorskip("jax2onnx")
    first, second = Shared(tmp_path), Shared(tmp_path)
    model = started(lambda model: model, tiny, tiny.make_params(), OPSET, first)
    assert first.seconds == 0
    monkeypatch.setattr("jax2onnx.to_onnx", None)
    assert started(lambda model: model, tiny, tiny.make_params(), OPSET, second) == model
    assert second.seconds > 0


def test_the_innermost_error_tells():
    error = ValueError("failed\nat length")
    assert reason(error) == "ValueError: failed"
    error.__cause__ = KeyError("no rule for x")
    assert reason(error) == "KeyError: 'no rule for x'"
    assert reason(ValueError("\nfailed")) == "ValueError: failed"
