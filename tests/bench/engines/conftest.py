"""The tiny workload of the engines' tests, and what every engine must do with it."""

from pathlib import Path

import jax
import numpy as np
import pytest

from sod2jax.bench import workload
from sod2jax.bench.engines import load


@pytest.fixture
def tiny():
    return workload.load(Path(__file__).parents[1] / "tiny_workload.py")[0]


@pytest.fixture
def agrees_at_every_size(tiny):
    """Makes the engine of a name, calls it at the sizes of the trace, and compares it with plain JAX; returns it."""

    def compare(name, workload=tiny):
        params = workload.make_params()
        engine = load(name)(workload, params, 1)
        for size in workload.trace:
            inputs = workload.make_inputs(size)
            got, expected = engine.call(engine.take(inputs, size), size), jax.jit(workload.fun)(params, *inputs)
            assert jax.tree.structure(got) == jax.tree.structure(expected)
            for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
                assert np.asarray(a).dtype == b.dtype
                np.testing.assert_allclose(np.asarray(a), b, atol=1e-5)
        return engine

    return compare
