"""Donated arguments that are outputs of earlier calls: results lie over them where they may, and are right in any case."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2

SHAPE = (257, 311)  # large enough for memory to be taken over
FUNCTIONS = {
    "elementwise": lambda a, b: a + b,
    "two": lambda a, b: (a + 1, b * 2),
    "both": lambda a, b: (a, b[::-1]),
    "exchanged": lambda a, b: (b, a),
    "reversed": lambda a, b: a[::-1] + b,
    "transposed": lambda a, b: a.T.reshape(a.shape) + b,
    "read later": lambda a, b: (b + a, jnp.cumsum(a, 0)),
    "slice": lambda a, b: lax.dynamic_update_slice(a, b[:3, :3], (2, 2)),
    "slice and sum": lambda a, b: (lax.dynamic_update_slice(a, b[:3, :3], (2, 2)), a.sum()),
    "updated twice": lambda a, b: (a.at[0].set(0.0), a.at[1].set(1.0), b),
    "scatter": lambda a, b: a.at[jnp.arange(5) * 3, 1].add(b[0, :5]),
    "loop": lambda a, b: lax.fori_loop(0, 3, lambda i, c: c * 0.5 + b, a),
    "loop over a constant": lambda a, b: lax.fori_loop(0, 3, lambda i, c: c * 0.5 + a, b),
    "loop that reverses": lambda a, b: lax.fori_loop(0, 5, lambda i, c: c[::-1] * 0.5 + a[0], b),
    "states change places": lambda a, b: lax.fori_loop(0, 5, lambda i, c: (c[1], c[0] + 1), (a, b)),
    "branches": lambda a, b: lax.cond(a[0, 0] > b[0, 0], lambda a, b: (a + 1, b), lambda a, b: (a * b, a), a, b),
    "scan": lambda a, b: lax.scan(lambda c, row: (c + row, c * 2), b[0], a),
    "while": lambda a, b: lax.while_loop(lambda c: c[1] < 4, lambda c: (c[0].at[c[1]].set(b[0]), c[1] + 1), (a, 0)),
    "product": lambda a, b: (a @ b.T) @ a / 1000,
    "softmax": lambda a, b: jax.nn.softmax(a, -1) * b,
    "concatenate": lambda a, b: jnp.concatenate([a[5:], b[:5]]),
}


@pytest.fixture(scope="module")
def own():
    """`own(x)`: an array that the runtime made, equal to `x`."""
    return sod2.jit(lambda x: x + 0.0, shapes="n, m")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_right(name, own):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(SHAPE).astype(np.float32) for _ in "ab")
    wanted = FUNCTIONS[name](jnp.asarray(a), jnp.asarray(b))
    for donated in ((0,), (1,), (0, 1)):
        f = sod2.jit(FUNCTIONS[name], shapes=("n, m", "n, m"), donate_argnums=donated)
        for make in (own, jnp.asarray):
            x, y = make(a), make(b)
            got = f(x, y)
            assert (x.is_deleted(), y.is_deleted()) == (0 in donated, 1 in donated)
            jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=2e-4, atol=2e-4), got, wanted)


@pytest.mark.parametrize("name", ["elementwise", "slice", "scatter", "loop", "softmax", "while"])
def test_results_lie_over_what_was_donated(name, own):
    f = sod2.jit(FUNCTIONS[name], shapes=("n, m", "n, m"), donate_argnums=0)
    x = own(np.ones(SHAPE, np.float32))
    kept = x.unsafe_buffer_pointer()
    assert jax.tree.leaves(f(x, jnp.ones(SHAPE)))[0].unsafe_buffer_pointer() == kept
