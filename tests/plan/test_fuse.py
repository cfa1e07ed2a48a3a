"""Which eqns share a kernel: DNNFusion's cells as they come out, on small functions."""

import jax
import jax.numpy as jnp
import pytest

from sod2jax import rewrite
from sod2jax.ir.box import Box
from sod2jax.plan.fuse import LARGEST, fuse
from sod2jax.plan.graph import Graph


def groups(f, *shapes, parameters=(), disable=frozenset()):
    closed = rewrite.run(jax.make_jaxpr(f)(*(jnp.ones(s) for s in shapes)), Box())
    graph = Graph(closed, Box(), parameters)
    found = fuse(graph, disable)
    return [("pack" if g.packs else " ".join(graph.eqns[i].primitive.name for i in g.members), g.prepare) for g in found]


def test_elementwise_and_moves_are_one_kernel():
    assert len(groups(lambda x, y: jnp.tanh(x.T[:, None] * 2 + y), (3, 4), (4, 1, 3))) == 1


def test_softmax_and_layer_norm_are_one_kernel_each():
    assert len(groups(lambda x: jax.nn.softmax(x), (5, 37))) == 1
    assert len(groups(lambda x: (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6), (5, 37))) == 1


def test_what_a_fold_reads_again_and_again_gets_a_buffer():
    assert len(groups(lambda x: jax.nn.softmax(jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3), (1, 1), "SAME")), (5, 37))) == 2


def test_a_fold_over_leading_axes_gets_a_buffer_before_it_is_broadcast():
    assert len(groups(lambda x: x - x.mean(0, keepdims=True), (5, 37))) == 2


@pytest.mark.parametrize("f", [lambda x: x - x.sum(0), lambda x: jax.nn.softmax(x, 0)])
def test_columns_of_a_square_are_not_taken_for_rows(f):
    assert groups(f, (37, 37)) == groups(f, (5, 37))


def test_epilogues_grow_to_where_paths_meet():
    found = groups(lambda x, w, b, r: jax.nn.gelu(x @ w + b) + r, (9, 20), (20, 33), (33,), (9, 33), parameters={1, 2})
    assert next(f[0] for f in found) == "pack"
    assert len(found) == 2
    assert "tanh" in found[1][0]
    assert found[1][0].startswith("dot_general")


def test_an_epilogue_stops_where_its_value_is_an_output():
    assert len(groups(lambda x, w: (y := x @ w, jnp.tanh(y)), (9, 20), (20, 33))) == 3


def test_two_anchors_do_not_share_a_root():
    found = groups(lambda x, v, w: jax.nn.relu(x @ v + x @ w), (9, 20), (20, 32), (20, 32))
    assert len(found) == 4
    assert sorted(f[0].count("dot_general") for f in found) == [0, 0, 1, 1]


def test_values_of_parameters_are_prepared():
    found = groups(lambda w, x: x * jax.lax.rsqrt(w + 1e-5), (32,), (7, 32), parameters={0})
    assert [prepared for _, prepared in found] == [True, False]


def test_a_costly_value_is_not_recomputed_along_a_broadcast():
    assert len(groups(lambda x, y: jnp.exp(y) * x, (50, 32), (32,))) == 2
    assert len(groups(lambda x, y: jnp.exp(y) * x, (50, 32), (50, 1))) == 1


@pytest.mark.parametrize(
    ("move", "kernels"),
    [
        (lambda x: x.reshape(21, 5), 1),
        (lambda x: x.T, 1),
        (lambda x: x[1:, ::2], 1),
        (lambda x: jnp.pad(x, 1), 1),
        (lambda x: jnp.pad(x.T, 1), 1),
        (lambda x: jnp.pad(x, ((0, 700), (0, 0))), 2),  # computed in vain for most of the result
        (lambda x: x + jnp.zeros((3, 1, 1)), 2),
        (lambda x: x[1:] * x[:-1], 2),
    ],
)
def test_a_costly_value_joins_index_maps_that_read_it_once(move, kernels):
    assert len(groups(lambda x: move(jnp.exp(x) * x), (7, 15))) == kernels


def test_groups_do_not_grow_without_end():
    def long(x):
        for i in range(200):
            x = jnp.tanh(x) + i
        return x

    assert len(groups(long, (9, 20))) >= 400 // LARGEST
    assert len(groups(lambda x, w: long(x @ w), (9, 20), (20, 33))) >= 400 // LARGEST


def test_transposes_after_an_anchor_are_stored_through():
    found = groups(lambda p, v: jnp.einsum("bhqk,bkhd->bqhd", p, v), (2, 3, 9, 9), (2, 9, 3, 16))
    assert len(found) == 2
    assert found[1][0] == "dot_general transpose"


@pytest.mark.parametrize("shapes", [((9, 20), (20, 33))])
def test_disabling_fusion(shapes):
    f = lambda x, w: jnp.tanh(jax.nn.relu(x @ w) * 2)
    assert len(groups(f, *shapes)) == 2
    assert len(groups(f, *shapes, disable=frozenset({"fusion"}))) > 3


def test_a_product_of_weights_is_prepared():
    """Unless it is needed at each call anyway: then whatever reads it runs after it, at each call."""
    found = groups(lambda x, u, v: x @ (u @ v), (9, 20), (20, 33), (33, 16), parameters={1, 2})
    assert found == [("pack", True), ("dot_general", True), ("pack", True), ("dot_general", False)]

    def both(x, u, v):
        w = u @ v
        return w, x * jnp.tanh(w.sum(0))

    assert all(prepared == (name == "pack") for name, prepared in groups(both, (9, 16), (20, 33), (33, 16), parameters={1, 2}))


@pytest.mark.parametrize("n", [3, 16])
def test_what_is_prepared_reads_only_what_was_prepared(agrees, n):
    def chain(x, u, v, w):  # with n = 3 the second product is too narrow for the template
        return x + jnp.sum((u @ v) @ w), u @ v

    agrees(chain, ("a, b", "16, 16", f"16, {n}", f"{n}, {n}"), [{"a": 2, "b": 3}, {"a": 5, "b": 1}])
    agrees(lambda *a: chain(*a)[0], ("a, b", "16, 16", f"16, {n}", f"{n}, {n}"), [{"a": 2, "b": 3}, {"a": 5, "b": 1}])
