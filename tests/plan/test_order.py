"""Orders that need less memory, and those that must not change."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import sod2jax as sod2
from sod2jax.plan.order import Node, ordered


def test_what_frees_comes_before_what_takes():
    # Two chains from inputs, each with a large middle: one after the other needs half of both at once.
    nodes = [Node(("x",), ("a",)), Node(("x",), ("b",)), Node(("a",), ("c",)), Node(("b",), ("d",)), Node(("c", "d"), ("e",))]
    order = ordered(nodes, {"a": 100, "b": 100, "c": 1, "d": 1, "e": 1})
    assert order.index(2) < order.index(1) or order.index(3) < order.index(0)
    assert sorted(order) == list(range(5))


def test_what_reads_inputs_alone_waits():
    nodes = [Node(("w1",), ("p1",)), Node(("w2",), ("p2",)), Node(("x", "p1"), ("a",)), Node(("a", "p2"), ("b",))]
    order = ordered(nodes, {"p1": 10, "p2": 10, "a": 10, "b": 1})
    assert order == [0, 2, 1, 3]


def test_the_given_order_stays_where_nothing_is_won():
    nodes = [Node(("x",), ("a",)), Node(("a",), ("b",)), Node(("b",), ("c",))]
    assert ordered(nodes, dict.fromkeys("abc", 8)) == [0, 1, 2]
    assert ordered([], {}) == []


def test_constraints_hold():
    nodes = [Node(("x",), ("a",)), Node(("a",), ("big",)), Node(("a", "big"), ("y",)), Node(("a",), ("z",), after=(2,))]
    order = ordered(nodes, {"a": 1, "big": 100, "y": 1, "z": 1})
    assert order.index(3) > order.index(2)


def test_gradients_of_weights_come_when_they_free_something():
    """Updates of parameters stand last in the jaxpr; computed there, they would keep every activation."""

    def step(ws, x):
        def loss(ws):
            h = x
            for w in ws:
                h = jnp.tanh(h @ w)
            return jnp.sum(h * h)

        return [w - 0.1 * g for w, g in zip(ws, jax.grad(loss)(ws))]

    ws = [np.full((16, 16), 0.1, np.float32) for _ in range(8)]
    x = np.ones((512, 16), np.float32)
    arena = {}
    for disable in ([], ["order"]):
        f = sod2.jit(step, shapes=(None, "n, 16"), compiler_options={"disable": disable})
        arena[bool(disable)] = f.lower(ws, x).compile().memory_analysis(n=512).temp_size_in_bytes
        for a, b in zip(f(ws, x), jax.jit(step)(ws, x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert arena[False] < arena[True]


def test_effects_keep_their_order():
    seen = []

    def f(x):
        big = jnp.outer(x, x)
        jax.debug.callback(lambda v: seen.append(("first", float(v))), x[0], ordered=True)
        jax.debug.callback(lambda v: seen.append(("second", float(v))), big.sum(), ordered=True)
        return lax.fori_loop(0, 2, lambda i, c: c + i, x)

    jax.block_until_ready(sod2.jit(f)(np.ones(64, np.float32)))
    jax.effects_barrier()
    assert [name for name, _ in seen] == ["first", "second"]
