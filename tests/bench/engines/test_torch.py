"""PyTorch by onnx2torch as an engine, where it is installed."""

import pytest


def test_every_size(agrees_at_every_size):
    for package in ("jax2onnx", "onnx2torch"):
        pytest.importorskip(package)
    engine = agrees_at_every_size("torch")
    assert engine.compilations() in (1, None)
    assert engine.facts()["torch"]
