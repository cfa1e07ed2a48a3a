"""Kernels of groups without anchors: their shape, and their meaning in the interpreter, which is independent of machine code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sod2jax import rewrite
from sod2jax.ir import interp
from sod2jax.ir.box import Box
from sod2jax.ir.loops import For, Store
from sod2jax.lowering.loopnest import lower_loops
from sod2jax.plan.fuse import fuse
from sod2jax.plan.graph import Graph


def lowered(f, *args):
    """The only kernel of `f`."""
    graph = Graph(rewrite.run(jax.make_jaxpr(f)(*args), Box()), Box())
    (group,) = fuse(graph)
    return graph, lower_loops(graph, group, {*graph.jaxpr.invars, group.root})


def interpret(f, *args):
    graph, low = lowered(f, *args)
    kernel, out = low.bound.kernel, jax.eval_shape(f, *args)
    buffers = {
        name.name: np.asarray(args[graph.jaxpr.invars.index(v)]).reshape(-1).copy()
        for name, v in zip(kernel.buffers, low.reads, strict=False)
    }
    buffers["out"] = np.zeros(out.size, out.dtype)
    sizes = {name: e.value for name, e in zip(kernel.sizes, low.bound.sizes, strict=True)}
    interp.run(kernel, buffers, sizes, 0, low.extent.value)
    return buffers["out"].reshape(out.shape)


X = np.random.default_rng(0).standard_normal((5, 37)).astype(np.float32)
IMAGE = np.random.default_rng(1).standard_normal((1, 6, 7, 20)).astype(np.float32)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: x * 2 + 1, X),
        (lambda x: x.T + 1, X),
        (lambda x: jax.nn.softmax(x), X),
        (lambda x: (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6), X),
        (lambda x: x.sum(-1), X),
        (lambda x: x.sum(0), X),
        (lambda x: x.sum(), X),
        (lambda x: jnp.pad(x, ((1, 2), (0, 1))), X),
        (lambda x: jnp.concatenate([x, x], 1), X),
        (lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"), IMAGE),
        (lambda x: x.mean((1, 2)), IMAGE),
        (lambda x: jnp.exp(x), np.float32(0.5)),
        (lambda x: jnp.einsum("mk,kn->mn", x, x.T[:, :3]), X),
        (lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3), (1, 1), "VALID"), X),
    ],
)
def test_meaning(f, x):
    np.testing.assert_allclose(interpret(f, x), f(x), rtol=1e-5, atol=1e-6)


def loops(stmts, depth=0):
    for s in stmts:
        if isinstance(s, For):
            yield depth, s
            yield from loops(s.body, depth + 1)


def shape_of(f, x):
    _, low = lowered(f, x)
    return [(depth, loop.kind) for depth, loop in loops(low.bound.kernel.body)]


def test_a_line_of_elements_is_one_vector_loop():
    assert shape_of(lambda x: jnp.tanh(x) * 2, X) == [(0, "vector")]


def test_softmax_reads_each_row_three_times_and_computes_exp_once():
    assert shape_of(jax.nn.softmax, X) == [(0, "vector")] * 3
    _, low = lowered(jax.nn.softmax, X)
    stores = [s for _, loop in loops(low.bound.kernel.body) for s in loop.body if isinstance(s, Store)]
    assert len(stores) == 2  # exp is kept in the output, then scaled


def test_one_row_whose_elements_fold_and_are_folded(agrees):
    """The folds of the only row stand outside of all tasks then, and may write to the output: the row stays in one task."""

    def line(x):
        return jax.nn.softmax(x) * jax.lax.reduce_window(x, 0.0, jax.lax.add, (3,), (1,), "SAME")

    def column(x, y):
        return jnp.minimum(jax.nn.softmax(x), y)

    agrees(line, ["n"], [{"n": n} for n in (1, 129, 1000)])
    agrees(column, ["n, 1", "n, 1"], [{"n": n} for n in (1, 129, 1000)])


def test_folds_over_other_folds_in_one_kernel(agrees):
    def centre(x):
        return (x - x.sum(1, keepdims=True)) * jax.lax.rsqrt(jnp.square(x).sum(1, keepdims=True) + 1)

    agrees(lambda x: jnp.maximum(x.sum(1, keepdims=True), centre(x).sum(1, keepdims=True)), ["a, 4, 4"], [{"a": 5}])
    agrees(lambda x, y: jax.nn.softmax((x - y) * jnp.square(x).sum(1, keepdims=True), 0), ["b, b", "b, 1"], [{"b": 13}])


def test_mean_and_variance_are_one_pass():
    def norm(x):
        mean = x.mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) - mean * mean + 1e-6)

    assert shape_of(norm, X) == [(0, "vector")] * 2


def test_sums_of_rows_and_of_columns_both_run_in_vectors():
    assert shape_of(lambda x: x.sum(-1), X) == [(0, "vector")]
    assert next(kind for _, kind in shape_of(lambda x: x.sum(0), X)) == "vector"


def test_a_sum_of_everything_runs_in_vectors():
    """One accumulator for a million elements would be slow, and wrong in the fourth digit."""
    assert shape_of(lambda x: jnp.square(x).sum(), X[0]) == [(0, "vector")]
    assert shape_of(lambda x: jnp.square(x).sum(), X) == [(0, "serial"), (1, "vector")]


def test_what_may_be_overwritten():
    def inplace(f, *args):
        _, low = lowered(f, *args)
        *reads, out = low.bound.kernel.buffers
        return [b.name in out.inplace for b in reads]

    assert inplace(lambda x, y: x + y, X, X) == [True, True]
    assert inplace(jax.nn.softmax, X) == [True]
    assert inplace(lambda x: x[::-1] * 2, X) == [False]
    assert inplace(lambda x: x + x[::-1], X) == [False]
    assert inplace(lambda x, y: x + y, X, X[0]) == [True, False]
    assert inplace(lambda x: x.astype(np.int32), X) == [False]
    assert inplace(lambda x: jax.nn.softmax(x) * x, X) == [False]  # x is read after its exp was kept in the output


def test_shapes_with_several_zeros(agrees):
    agrees(lambda x: jax.nn.softmax(x, -1), ["0, 0, 3"], [{}])
    agrees(lambda x: jax.nn.softmax(x, 0), ["n, 0, 0"], [{"n": 3}, {"n": 0}])
