"""Anchors as the GEMM template gets them: addresses, refusals, epilogues."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sod2jax import rewrite
from sod2jax.ir.box import Box
from sod2jax.ir.loops import Store
from sod2jax.lowering import anchors, targets
from sod2jax.lowering.pieces import Lowerer
from sod2jax.plan.fuse import fuse
from sod2jax.plan.graph import Graph


def graph_of(f, *shapes):
    return Graph(rewrite.run(jax.make_jaxpr(f)(*(jnp.ones(s) for s in shapes)), Box()), Box())


def pieces(graph):
    return Lowerer(Box(), targets.host()).lower(graph.closed_jaxpr).pieces


def anchored(graph):
    return next(g for g in fuse(graph) if g.anchor)


def test_operands_are_read_through_index_maps():
    graph = graph_of(lambda q, k: jnp.einsum("bqhd,bkhd->bhqk", q, k), (2, 9, 3, 16), (2, 7, 3, 16))
    d = anchors.describe(graph, anchored(graph).anchor, set(graph.jaxpr.invars))
    assert d.a in graph.jaxpr.invars
    assert [len(names) for names in d.indices] == [2, 1, 1, 1]


def test_axes_of_size_one_are_no_axes():
    graph = graph_of(lambda x, w: x @ w, (1, 9, 16), (16, 32))
    d = anchors.describe(graph, anchored(graph).anchor, set(graph.jaxpr.invars))
    assert len(d.contraction.m) == 1


def test_a_computed_operand_needs_a_buffer():
    graph = graph_of(lambda x, w: jnp.exp(x) @ w, (9, 16), (16, 32))
    group = anchored(graph)
    with pytest.raises(anchors.NeedsBuffer, match="computed"):
        anchors.describe(graph, group.anchor, set(graph.jaxpr.invars))
    assert len(pieces(graph)) == 3  # planning gives it one


def test_an_operand_that_is_no_affine_map_gets_a_buffer():
    graph = graph_of(lambda x, w: x.reshape(8, 9).T.reshape(12, 6) @ w, (9, 8), (6, 32))
    found = pieces(graph)
    assert [p.group.anchor is not None for p in found].count(True) == 1
    assert any(p.group.anchor is None and p.group.packs is None for p in found)


def test_the_epilogue_stores_the_root():
    graph = graph_of(lambda x, w, b: jnp.tanh(x @ w + b), (9, 16), (16, 32), (32,))
    group = anchored(graph)
    low = anchors.lower_anchor(graph, group, {*graph.jaxpr.invars, group.root}, targets.host())

    def stores(stmts):
        for s in stmts:
            if isinstance(s, Store):
                yield s
            yield from stores(getattr(s, "body", ()))

    assert {s.buffer for s in stores(low.bound.kernel.body)} >= {"out"}
    assert np.float32 == low.bound.kernel.buffers[-1].dtype


@pytest.mark.parametrize(("move", "shared"), [(lambda z: z, True), (jnp.transpose, False)])
def test_the_result_may_lie_only_where_it_is_read_in_step(agrees, move, shared):
    """Both operands of the addition die with it; a transposed one is read elsewhere than the tile is written."""
    f = lambda x, y, z: jnp.sort(jnp.sin((x @ y) + move(jnp.cumsum(z, axis=0))))
    shapes = ("a, b", "b, c", "a, c" if shared else "c, a")
    compiled = agrees(f, shapes, [{"a": 40, "b": 3, "c": 40}, {"a": 7, "b": 5, "c": 33}, {"a": 0, "b": 1, "c": 2}])
    arguments = [np.ones((5, 5), np.float32)] * 3
    assert ("in place of" in compiled.lower(*arguments).as_text("loops")) == shared
