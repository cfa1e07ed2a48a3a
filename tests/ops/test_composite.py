"""A function of scalars, written in JAX, as a loop rule."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive

import sod2jax as sod2
from sod2jax.ir.box import Box
from sod2jax.lowering.body import Builder
from sod2jax.ops import Out, _base
from sod2jax.ops.composite import composite
from sod2jax.ops.elementwise import elementwise
from sod2jax.ops.scalar import Scalar


def softened(x, y, *, slope):
    return jnp.where(x > y, jnp.logaddexp(x, slope), jax.nn.silu(x * 2)), x - y


def test_a_function_of_scalars_becomes_one_eqn_of_a_kernel(monkeypatch):
    monkeypatch.setattr(_base, "OPS", dict(_base.OPS))
    prim = Primitive("softened")
    prim.multiple_results = True
    prim.def_abstract_eval(lambda x, y, **_: (x, x))
    elementwise(prim, composite(softened))
    x, y = np.random.default_rng(0).standard_normal((2, 5, 7)).astype(np.float32)
    bound = sod2.jit(lambda x, y: [z + 1 for z in prim.bind(jnp.exp(x), y[0, 0], slope=0.5)])
    for found, expected in zip(bound(x, y), softened(np.exp(x), y[0, 0], slope=0.5), strict=True):
        np.testing.assert_allclose(found, expected + 1, rtol=2e-6)


def test_it_is_traced_once_per_dtype():
    traces = []

    def doubled(x):
        traces.append(x.dtype)
        return x * 2

    pull, b = composite(doubled), Builder(Box({}))
    for dtype in (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float32)):
        three = Scalar(b.const(3, dtype))
        assert pull(b, Out((), dtype), (), three) == b.op("mul", three[()], b.const(2.0, dtype))
    assert traces == [np.float32, np.float64]
