"""IREE as an engine, where it is installed."""

import pytest

from sod2jax.bench.engines.iree import _diagnostic


def test_every_size(agrees_at_every_size):
    for package in ("jax2onnx", "iree.compiler", "iree.runtime"):
        pytest.importorskip(package)
    engine = agrees_at_every_size("iree")
    assert engine.compilations() == 1
    assert engine.facts()["imported by"] in ("StableHLO", "ONNX")


def test_the_first_error_is_the_reason():
    text = "Error invoking IREE compiler tool\nDiagnostics:\nx.py:4:33: error: failed to legalize operation 'a.b'\n   y = x\n"
    assert _diagnostic(text) == "failed to legalize operation 'a.b'"
    assert _diagnostic("killed") == "killed"
