"""OpenVINO as an engine, where it is installed."""

import pytest


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # JAX does not like that OpenVINO forks
def test_every_size(agrees_at_every_size):
    for package in ("jax2onnx", "openvino"):
        pytest.importorskip(package)
    engine = agrees_at_every_size("openvino")
    assert engine.compilations() in (1, None)
    assert engine.facts()["openvino"]
