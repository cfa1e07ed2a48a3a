"""Every workload of examples/zoo, small: equal to plain JAX at three sizes and more, with one compilation over them all."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax.bench import workload

ZOO = Path(__file__).parents[2] / "examples" / "zoo"
FILES = sorted(path.stem for path in ZOO.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", FILES)
def test_small(name):
    for w in workload.load(ZOO / f"{name}.py", small=True):
        check(w)


def check(w: workload.Workload):
    assert w.name
    sizes = [dict(t) for t in dict.fromkeys(tuple(size.items()) for size in (*w.steady, *w.trace))]
    assert len(sizes) >= 3, "three sizes at least"
    params = w.make_params()
    ours, exact = sod2.jit(w.fun, shapes=(None, *w.shapes), constraints=w.constraints), jax.jit(w.fun)
    for size in sizes[:4]:
        inputs = w.make_inputs(size)
        got, expected = ours(params, *inputs), exact(params, *inputs)
        assert jax.tree.structure(got) == jax.tree.structure(expected)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            a, b = np.asarray(a), np.asarray(b)
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            assert np.isfinite(b).all(), "weights of a network that means something"
            scale = np.abs(b).max(initial=0) or 1
            np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=w.tolerance, err_msg=f"{w.name} at {size}")
    info = ours.cache_info()
    assert info.compiles == 1, info
    assert not any(v.islands for v in info.versions), info
