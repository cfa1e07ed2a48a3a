"""Reads of eqns, and the places that they lead to."""

import jax.numpy as jnp
from jax import lax

import sod2jax as sod2
from sod2jax import rewrite
from sod2jax.plan import places
from sod2jax.plan.graph import Graph


def graph_of(fun, *shapes):
    traced = sod2.jit(fun, shapes=shapes).trace(*(jnp.ones((5,) * len(s.split(","))) for s in shapes))._trace
    return Graph(rewrite.run(traced.closed_jaxpr, traced.scope.box), traced.scope.box)


def reads_of(fun, *shapes):
    """The reads of the last eqn."""
    graph = graph_of(fun, *shapes)
    return graph.reads(len(graph.eqns) - 1)


def found(graph, v):
    """The places at which the graph's output asks for `v`."""
    at = {graph.outputs[0]: {places.start(graph.shape(graph.outputs[0]))}}
    for i in reversed(range(len(graph.eqns))):
        for out in graph.eqns[i].outvars:
            for read in graph.reads(i, graph.eqns[i].outvars.index(out)) if out in at else ():
                at.setdefault(graph.eqns[i].invars[read.operand], set()).update(p.then(read) for p in at[out])
    return at[v]


def test_elementwise_reads_where_it_writes():
    (x, y) = reads_of(lambda x, y: x * y, "a, b", "a, b")
    assert [axis.same for axis in x.axes] == [True, True]
    assert x.cond is None
    assert not x.divides
    assert x.axes == y.axes


def test_a_concatenation_reads_each_operand_under_a_condition_of_its_own():
    reads = reads_of(lambda x, y: jnp.concatenate([x, y, x]), "a", "b")
    assert [r.operand for r in reads] == [2, 1, 0]
    assert len({r.cond for r in reads}) == 3


def test_a_fold_reads_along_its_loop():
    (read,) = reads_of(lambda x: x.sum(1), "a, b")
    assert read.axes[0].same
    assert read.axes[1].sources == (places.LOOP,)
    place = places.Place((0,)).then(read)
    assert place.looped == {1}


def test_a_reshape_that_merges_divides():
    (read,) = reads_of(lambda x: x.reshape(-1), "a, b")
    assert read.divides
    (read,) = reads_of(lambda x: x.reshape(x.shape[0], 1, x.shape[1]), "a, b")
    assert not read.divides


def test_equal_slices_are_one_place():
    def fun(x):
        return x[1:] * 2 + x[1:] * 3

    graph = graph_of(fun, "a + 1")
    (x,) = graph.jaxpr.invars
    assert len(found(graph, x)) == 1


def test_places_multiply():
    def step(x):
        return lax.slice(x, (1,), (5,)) + lax.slice(x, (0,), (4,))

    graph = graph_of(lambda x: jnp.pad(step(jnp.pad(step(x), (1, 0))), (1, 0)), "5")
    assert len(found(graph, graph.jaxpr.invars[0])) == 4


def test_the_mean_of_a_row_is_asked_for_at_one_place():
    graph = graph_of(lambda x: x - jnp.broadcast_to(x.mean(1, keepdims=True), x.shape), "a, b")
    mean = next(e.outvars[0] for e, r in zip(graph.eqns, graph.records, strict=True) if r.folds)
    assert len(found(graph, mean)) == 1
    assert not next(iter(found(graph, mean))).looped


def test_nothing_is_read_where_there_is_nothing():
    assert reads_of(lambda x: lax.full((0,), 1.0) * x[:0], "a") == ()


def test_an_index_from_data_is_a_place_of_its_own():
    reads = reads_of(lambda x, y: x.at[(y * 2).astype(jnp.int32)].get(mode="clip"), "a", "b")
    assert len({r.operand for r in reads}) == 2
