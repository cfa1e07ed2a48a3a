"""Pulling single elements through eqns: every rule against the element that JAX computes at that place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax import rewrite
from sod2jax.ir.box import Box
from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Let, Load
from sod2jax.lowering.body import Builder
from sod2jax.lowering.pull import Puller, offset
from sod2jax.plan.graph import Graph


def pulled(f, *args):
    """The single load that an element of `f`'s result comes from, for index maps."""
    graph = Graph(rewrite.run(jax.make_jaxpr(f)(*args), Box()), Box())
    builder = Builder(Box())
    (root,) = graph.outputs
    index = [builder.open(size) for size in graph.shape(root)]
    puller = Puller(graph, builder, set(graph.jaxpr.invars))
    puller.value(root, tuple(index))
    loads = [s.value for scope in builder.scopes for s in scope.statements() if isinstance(s, Let) and isinstance(s.value, Load)]
    return index, loads


@pytest.mark.parametrize(
    ("f", "shape"),
    [
        (lambda x: x.T, (3, 5)),
        (lambda x: x[1:, ::2], (4, 7)),
        (lambda x: x[::-1], (4, 7)),
        (lambda x: x.reshape(2, 6, 4), (12, 4)),
        (lambda x: jnp.broadcast_to(x[:, None], (4, 3, 7)), (4, 7)),
        (lambda x: x.reshape(2, 3, 4).transpose(1, 0, 2).reshape(3, 8), (2, 12)),
    ],
)
def test_moves_become_one_load(f, shape):
    x = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    index, loads = pulled(f, x)
    assert len(loads) == 1
    expected = np.asarray(f(x))
    for place in np.ndindex(expected.shape):
        env = {str(i): p for i, p in zip(index, place, strict=True)}
        assert loads[0].offset.eval(env) == expected[place]


def test_heads_need_no_quotient():
    _, (load,) = pulled(lambda x: x.reshape(1, 7, 4, 8).transpose(0, 2, 1, 3), np.zeros((1, 7, 32)))
    assert not any(a.args for a in load.offset.atoms)


def test_forward_follows_what_pull_goes_back():
    graph = Graph(jax.make_jaxpr(lambda x: (x * 2).reshape(3, 2, 4).transpose(1, 0, 2))(jnp.ones((3, 8))), Box())
    builder = Builder(Box())
    i, j = builder.open(const(3)), builder.open(const(8))
    path = [k for k, e in enumerate(graph.eqns) if e.primitive.name != "mul"]
    forward = graph.forward(builder, path, (i, j))
    for a, b in np.ndindex(3, 8):
        place = tuple(e.eval({str(i): a, str(j): b}) for e in forward)
        assert place == (b // 4, a, b % 4)


def test_offset_is_row_major():
    assert offset((sym("i"), sym("j")), (const(3), sym("n"))) == sym("i") * sym("n") + sym("j")


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jnp.tile(x, 3),
        lambda x: jnp.reshape(x, (0, 7)) + 1,
        lambda x: jnp.concatenate([x, x[:, :0]], 1)[::-1],
        lambda x: jnp.take(jnp.tile(x, 3), jnp.zeros((0, 2), int), axis=1, mode="clip"),
        lambda x: x @ jnp.ones((0, 9)) + x.sum(),
        lambda x: x.T @ jnp.tanh(x),
    ],
)
def test_there_is_nothing_to_read_in_an_empty_array(f):
    x = np.ones((16, 0), np.float32)
    np.testing.assert_array_equal(sod2.jit(f)(x), f(x))
