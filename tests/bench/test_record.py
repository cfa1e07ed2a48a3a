"""Recording sizes: what is called is written, in the form that traces are read in."""

import jax
import jax.numpy as jnp
import pytest

import sod2jax as sod2
from sod2jax.bench import read_trace, record
from sod2jax.errors import ShapeError, SpecError


def test_a_function_is_recorded(tmp_path):
    file = tmp_path / "sizes.jsonl"
    f = record(lambda w, x: w @ x, file, shapes=(None, "k, s"))
    for s in (3, 5, 3):
        assert f(jnp.ones((2, 4)), jnp.ones((4, s))).shape == (2, s)
    assert read_trace(file) == tuple({"k": 4, "s": s} for s in (3, 5, 3))


def test_a_compiled_function_brings_its_shapes(tmp_path):
    file = tmp_path / "sizes.jsonl"

    @sod2.jit(shapes=("b, s",))
    def total(x):
        return x.sum()

    f = sod2.bench.record(total, file)
    assert f(jnp.ones((2, 3))) == 6
    assert f.__name__ == "total"
    assert jax.jit(f)(jnp.ones((2, 3))) == 6, "under a transformation there is no size to record"
    assert read_trace(file) == ({"b": 2, "s": 3},)


def test_mistakes(tmp_path):
    with pytest.raises(SpecError, match="needs shapes="):
        record(lambda x: x, tmp_path / "a")
    with pytest.raises(ShapeError, match="has rank 1"):
        record(lambda x: x, tmp_path / "a", shapes=("b, s",))(jnp.ones(3))
