"""Integer arrays as expressions of a position, against the arrays that JAX computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

from sod2jax.ir.scope import Scope
from sod2jax.rewrite.at_sizes import at_sizes
from sod2jax.rewrite.inline import inline
from sod2jax.rewrite.interpreter import Context

TABLE = np.array([[1, 4, 7], [3, 6, 9]], np.int32)
CROOKED = np.array([1, 2, 4], np.int32)

# function of an array f32[s, 3]: what it computes at position (_at0, ...)
READABLE = [
    (lambda x: jnp.arange(x.shape[0]), "_at0"),
    (lambda x: jnp.arange(x.shape[0])[::-1] * 2 + 1, "-2*_at0 + 2*s - 1"),
    (lambda x: jnp.where(jnp.arange(x.shape[0]) < 0, 7, jnp.arange(x.shape[0])), "_at0"),
    (lambda x: jnp.arange(-1, x.shape[0] - 1) % 2, None),  # may be negative, where lax and expressions divide differently
    (lambda x: lax.div(jnp.arange(x.shape[0]), 2), "_at0 // 2"),
    (lambda x: jnp.clip(jnp.arange(x.shape[0]), 0, x.shape[0] - 1), "_at0"),
    (lambda x: jnp.minimum(jnp.arange(x.shape[0]), 0), "0"),
    (lambda x: jnp.arange(x.shape[0])[:, None] * x.shape[0] + jnp.arange(3), "_at0*s + _at1"),
    (lambda x: jnp.asarray(TABLE), "2*_at0 + 3*_at1 + 1"),
    (lambda x: jnp.asarray(TABLE).T, "3*_at0 + 2*_at1 + 1"),
    (lambda x: jnp.asarray(CROOKED), None),
    (lambda x: jnp.asarray(CROOKED)[2] + jnp.arange(x.shape[0]), "_at0 + 4"),
    (lambda x: jnp.concatenate([jnp.arange(2), jnp.arange(x.shape[0])]), None),
    (lambda x: jnp.cumsum(jnp.arange(x.shape[0])), None),
    (lambda x: x[:, 0].astype(jnp.int32), None),
    (lambda x: jnp.arange(x.shape[0], dtype=jnp.uint8) - 1, None),  # wraps
    (lambda x: jnp.arange(x.shape[0], dtype=jnp.int32) & 1, None),
]


@pytest.mark.parametrize(("fun", "text"), READABLE)
def test_reads_what_jax_computes(fun, text):
    scope = Scope()
    s = scope.symbol("s", 4)
    before = jax.make_jaxpr(fun)(jax.ShapeDtypeStruct((s, 3), np.float32))
    cx = Context(inline(before), {}, scope.box)
    (out,) = cx.run().jaxpr.outvars
    reader = cx.reader(out.aval.shape)
    value = reader.read(out, reader.at)
    assert (None if value is None else str(value)) == text
    if value is not None:
        (array,) = jaxpr_as_fun(at_sizes(before, {"s": 5}))(np.zeros((5, 3), np.float32))
        for index in np.ndindex(array.shape):
            position = dict(zip(reader.names, index, strict=True))
            assert value.eval({"s": 5, **position}) == array[index]


def test_scalars_of_sizes():
    scope = Scope()
    s = scope.symbol("s", 4)
    closed = inline(jax.make_jaxpr(lambda x: jnp.where(s > 2, s - 1, 0) + jnp.int32(s))(jax.ShapeDtypeStruct((s,), np.float32)))
    cx = Context(closed, {}, scope.box)
    assert str(cx.integer(cx.run().jaxpr.outvars[0])) == "2*s - 1"
