"""Inputs with the symbolic dims of jax.export."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from sod2jax.bench.engines import EngineError
from sod2jax.bench.engines.symbolic import symbolic_inputs


def test_shapes_and_types(tiny):
    x, mask = symbolic_inputs(tiny)
    assert [str(d) for d in x.shape] == ["b", "3*s", "8"], "the constraints say that s % 3 == 0"
    assert (x.dtype, mask.dtype) == (np.float32, bool)
    assert x.shape[1] is mask.shape[1] or x.shape[1] == mask.shape[1]


def test_constraints_hold(tiny):
    x, _ = symbolic_inputs(tiny)
    b, s, _ = x.shape
    assert s <= 48
    assert b < 9
    assert s % 3 == 0


def test_several_divisors_of_a_dim(tiny):
    sizes = [{"b": 1, "s": 12}]
    constraints = ("0 == s % 6", "s % 4 == 0", "b % 4 != 0", "b % 2 == 1")
    x, _ = symbolic_inputs(replace(tiny, constraints=constraints, steady=sizes, trace=sizes))
    assert [str(d) for d in x.shape] == ["b", "12*s", "8"]


def test_halves_of_multiples_are_equal(tiny):
    """As where a feature map is scaled down twice, then up again."""
    x, _ = symbolic_inputs(tiny)
    s = x.shape[1]
    assert s // 3 * 3 == s
    assert -(-s // 3) * 3 == s


def test_trees_sums_and_static_dims(tiny):
    inputs = lambda rng, s: ({"x": np.zeros((2, 2 * s + 1), np.int32)}, np.zeros(5, np.float16))
    shapes, sizes = ({"x": "_, 2*s+1"}, None), [{"s": 3}]
    w = replace(tiny, inputs=inputs, shapes=shapes, constraints="s // 2 < 9", steady=sizes, trace=sizes)
    structs, other = symbolic_inputs(w)
    assert str(structs["x"].shape[1]) == "2*s + 1"
    assert structs["x"].shape[0] == 2
    assert other == jax.ShapeDtypeStruct((5,), np.float16)


def test_what_jax_cannot_say_is_told(tiny):
    sizes = [{"b": 1, "s": 9}]
    with pytest.raises(EngineError, match=r"jax.export cannot say these sizes: Invalid equality constraint"):
        symbolic_inputs(replace(tiny, constraints="b + s == 10", steady=sizes, trace=sizes))
    x, _ = symbolic_inputs(replace(tiny, constraints="1 == b", steady=sizes, trace=sizes))
    assert x.shape[0] == 1
