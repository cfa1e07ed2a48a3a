"""sod2.jit as an engine: one compilation, memory by formula, and ablations."""

from dataclasses import replace

import jax
import pytest

from sod2jax.bench.engines import load


@pytest.mark.parametrize("name", ["sod2", "sod2-fusion-order-memory"])
def test_every_size_by_one_compilation(tiny, name, agrees_at_every_size):
    assert load(name)(tiny, tiny.make_params(), 1).facts() == {}, "nothing is known before the first call"
    engine = agrees_at_every_size(name)
    size = tiny.trace[-1]
    few, many = (engine.temp_bytes(tiny.make_inputs(s), s) for s in (tiny.trace[0], size))
    assert 0 <= few <= many
    assert engine.compilations() == 1
    assert engine.kept_bytes() >= 0
    assert engine.padding(size) == 0
    facts = engine.facts()
    assert facts["eqns"] >= facts["kernels"] > 0
    assert "computed by XLA" not in facts


def test_fewer_kernels_with_fusion(agrees_at_every_size):
    assert agrees_at_every_size("sod2").facts()["kernels"] < agrees_at_every_size("sod2-fusion").facts()["kernels"]


def test_eqns_of_bodies_count(tiny, agrees_at_every_size):
    count = lambda fun: agrees_at_every_size("sod2", replace(tiny, fun=fun)).facts()["eqns"]
    assert count(lambda params, x, mask: x + 1) == 1
    assert count(lambda params, x, mask: jax.lax.fori_loop(0, 5, lambda i, y: jax.numpy.sin(y) * 2 + 1, x)) >= 4
