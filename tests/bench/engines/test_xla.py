"""Plain JAX as engines: exact sizes, and padded to powers of two."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from sod2jax.bench.engines import load
from sod2jax.bench.engines.xla import round_up
from sod2jax.specs import Contract


@pytest.mark.parametrize(("name", "compilations"), [("jax", 3), ("jax-pad", 2)])
def test_a_model_with_a_mask_gives_the_same(tiny, name, compilations):
    params = tiny.make_params()
    engine = load(name)(tiny, params, 1)
    sizes = [{"b": 2, "s": 9}, {"b": 2, "s": 12}, {"b": 2, "s": 33}]
    for size in sizes:
        inputs = tiny.make_inputs(size)
        got, expected = engine.call(engine.take(inputs, size), size), jax.jit(tiny.fun)(params, *inputs)
        assert jax.tree.structure(got) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, expected)
        assert engine.temp_bytes(inputs, size) >= 0
    assert engine.compilations() == compilations
    assert engine.kept_bytes() == 0
    assert engine.facts()["jax"] == jax.__version__


def test_what_padding_does_to_a_model_without_a_mask_shows(tiny):
    tiny = replace(tiny, fun=lambda params, x, mask: (x.sum(1), x.mean(1)))
    engine, size = load("jax-pad")(tiny, tiny.make_params(), 1), {"b": 1, "s": 9}
    inputs = tiny.make_inputs(size)
    total, mean = engine.call(engine.take(inputs, size), size)
    np.testing.assert_allclose(total, inputs[0].sum(1), rtol=1e-5)
    np.testing.assert_allclose(mean * 18, total, rtol=1e-5)  # 16 is no multiple of 3, 18 is
    assert engine.padding(size) == 0.5
    assert engine.padding({"b": 3, "s": 48}) == 0.25


@pytest.mark.parametrize(
    ("size", "constraints", "rounded"),
    [
        ({"s": 0}, (), {"s": 0}),
        ({"s": 1}, (), {"s": 1}),
        ({"s": 33}, (), {"s": 64}),
        ({"s": 64}, ("s <= 64",), {"s": 64}),
        ({"s": 33}, ("s <= 50",), {"s": 50}),
        ({"s": 33}, ("s < 50",), {"s": 49}),
        ({"s": 40}, ("s % 20 == 0",), {"s": 80}),
        ({"s": 40}, ("s % 20 == 0", "s <= 70"), {"s": 60}),
        ({"s": 480_001}, ("s <= 500_000",), {"s": 500_000}),
        ({"s": 5, "t": 9}, ("s <= t",), {"s": 8, "t": 16}),
        ({"s": 9, "t": 9}, ("s <= t",), {"s": 16, "t": 16}),
        ({"s": 5, "t": 10}, ("t == 2*s",), {"s": 5, "t": 10}),  # tied to each other: neither can move alone
    ],
)
def test_round_up(size, constraints, rounded):
    assert round_up(size, Contract((", ".join(size),), constraints)) == rounded
