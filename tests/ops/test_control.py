"""Control flow against JAX: loops, scans and branches, at several sizes, nested, with states that meet each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ir.program import Branch, Loop, Step, walk

SIZES = [{"n": n} for n in (5, 1, 0, 8)]


def integer(low, high):
    return lambda rng, shape: rng.integers(low, high, shape).astype(np.int32)


def steps(compiled, *arguments):
    return list(walk(compiled.lower(*arguments)._executable.program.steps))


def test_scan_with_rows_in_and_out(agrees):
    def f(x, w):
        return lax.scan(lambda c, a: (jnp.tanh(c @ w + a), (c * a, a.sum())), jnp.ones(3), x)

    agrees(f, ("n, 3", "3, 3"), SIZES)


@pytest.mark.parametrize("reverse", [False, True])
def test_states_that_change_places(agrees, reverse):
    def f(x):
        return lax.scan(lambda c, a: ((c[1], c[0] + a), c[0] * a), (jnp.zeros(3), jnp.ones(3)), x, reverse=reverse)

    agrees(f, ("n, 3",), SIZES)


def test_one_result_for_two_states(agrees):
    def f(x):
        return lax.scan(lambda c, a: ((c[0] + a, c[0] + a, c[1]), c[2]), (jnp.zeros(2), jnp.ones(2), jnp.ones(2)), x)

    agrees(f, ("n, 2",), SIZES)


def test_a_scan_without_rows(agrees):
    agrees(lambda x: lax.scan(lambda c, _: (c * 0.5 + x, None), x, None, length=7), ("n, 3",), SIZES)


def test_a_counted_loop_to_a_size(agrees):
    agrees(lambda x: lax.fori_loop(0, x.shape[0], lambda i, c: c * 0.5 + i, x), ("n, 3",), SIZES)


@pytest.mark.parametrize("rows", [3, 5000])
def test_while(agrees, rows):
    """Few elements run in one kernel, many in steps of the runtime."""

    def f(limit, x):
        return lax.while_loop(lambda c: c[0] < limit, lambda c: (c[0] + 1, jnp.sin(c[1]) + c[0]), (0, x))

    agrees(f, ("", f"{rows}"), [{}, {}], make=[integer(0, 20), lambda rng, shape: rng.standard_normal(shape).astype(np.float32)])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_condition_per_row(agrees, axis):
    def one(x, limits):
        return lax.while_loop(lambda c: c[0] < limits[0], lambda c: (c[0] + 1, c[1] * 2 + limits), (0, x))

    def f(x, limits):
        return jax.vmap(one, (axis, 0))(x, limits)

    agrees(f, ("n, 3" if axis == 0 else "3, n", "n, 3"), SIZES, make=integer(0, 6))


def test_a_condition_on_contents(agrees):
    agrees(lambda x: lax.while_loop(lambda y: jnp.sum(jnp.abs(y)) > 1.0, lambda y: y * 0.5, x), ("n, 3",), SIZES)


def test_many_iterations_in_one_kernel():
    f = sod2.jit(lambda n: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + (c[0] & 3)), (0, 0)))
    for n in (0, 1, 65_535, 65_536, 65_537, 200_000):
        i, total = f(np.int32(n))
        assert (int(i), int(total)) == (n, int(np.sum(np.arange(n) & 3)))
    assert sum(isinstance(s, Step) for s in steps(f, np.int32(3))) <= 3


def test_updates_in_place():
    def f(x):
        a = jnp.zeros(30).at[0].set(x).at[1].set(1.0)
        return lax.fori_loop(2, 30, lambda i, a: a.at[i].set(a[i - 1] + a[i - 2]), a)

    np.testing.assert_allclose(sod2.jit(f)(np.float32(0.5)), jax.jit(f)(np.float32(0.5)))


@pytest.mark.parametrize("index", [-3, 0, 1, 2, 7])
def test_switch_clamps(index):
    f = lambda i, x: lax.switch(i, [jnp.sin, lambda x: x * 2, lambda x: x - 1], x)
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    np.testing.assert_allclose(sod2.jit(f)(np.int32(index), x), jax.jit(f)(np.int32(index), x), rtol=1e-6)


def test_branches_on_contents(agrees):
    def f(x, w):
        return lax.cond(x.sum() > 0, lambda a, b: (a @ b, a), lambda a, b: (jnp.tanh(a), a * 2), x, w)

    agrees(f, ("n, 3", "3, 3"), [{"n": n} for n in (5, 1, 0, 8, 6, 7, 9)])


def test_a_closed_gate_costs_no_step():
    """What a branch hands through stays where it is."""

    def f(x, gates):
        y = jnp.sin(x)
        for i in range(4):
            y = lax.cond(gates[i] > 0, lambda y: jnp.tanh(y) + y, lambda y: y, y)
        return y

    compiled = sod2.jit(f, shapes=("n, m", None))
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    for gates in ((0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1)):
        g = np.asarray(gates, np.float32)
        np.testing.assert_allclose(compiled(x, g), jax.jit(f)(x, g), rtol=1e-6, atol=1e-6)
    branches = [s for s in steps(compiled, x, g) if isinstance(s, Branch)]
    assert len(branches) == 4
    assert all(min(map(len, b.branches)) == 0 and max(map(len, b.branches)) == 1 for b in branches)


def test_a_gate_whose_operand_is_needed_later(agrees):
    def f(x):
        y = jnp.sin(x)
        z = lax.cond(y.sum() > 0, lambda y: y * 3, lambda y: y, y)
        return y + z, y

    agrees(f, ("n",), SIZES)


def test_nested_in_every_way(agrees):
    def inner(c, a):
        return lax.cond(a.sum() > 0, lambda c: lax.fori_loop(0, 3, lambda i, c: c + a * i, c), lambda c: c, c)

    def f(x):
        def row(c, a):
            c = lax.while_loop(lambda c: jnp.abs(c).sum() > 4, lambda c: c * 0.5, inner(c, a))
            return c, lax.scan(lambda s, v: (s + v, s * v), 0.0, c)[1]

        return lax.scan(row, jnp.ones(3), x)

    agrees(f, ("n, 3",), SIZES)


def test_what_a_loop_computes_from_constants_comes_before_it():
    def f(x, w):
        return lax.scan(lambda c, a: (jnp.tanh(c @ jnp.exp(w)) + a, None), jnp.ones((2, 64)), x)

    x, w = np.ones((5, 2, 64), np.float32), np.ones((64, 64), np.float32) * 0.01
    compiled = sod2.jit(f, shapes=("n, 2, 64", "64, 64"))
    np.testing.assert_allclose(compiled(x, w)[0], jax.jit(f)(x, w)[0], rtol=1e-5)
    program = compiled.lower(x, w)._executable.program
    (loop,) = (s for s in program.steps if isinstance(s, Loop))
    assert not any("exp" in s.source or "pack" in s.source for s in loop.body)
    assert any("pack" in s.source for s in program.steps)


def test_a_state_of_an_outer_loop_is_no_constant_of_the_inner_loop(agrees):
    """What the inner loop computes from it belongs into the outer body."""

    def f(x):
        def outer(w, a):
            h = lax.fori_loop(0, 3, lambda i, h: jnp.tanh(h @ jnp.exp(w)), a)
            return w + 0.1 * h, h

        return lax.scan(outer, jnp.zeros((16, 16)), x)

    agrees(f, ("n, 16, 16",), SIZES, rtol=1e-4, atol=1e-4)


def test_derivatives(agrees):
    def loss(w, x):
        ys = lax.scan(lambda c, a: (jnp.tanh(c @ w + a), c), jnp.ones(4), x)[1]
        return jnp.sum(lax.cond(w[0, 0] > 0, jnp.square, jnp.abs, ys))

    agrees(jax.value_and_grad(loss), ("4, 4", "n, 4"), SIZES, rtol=1e-4, atol=1e-4)
    agrees(jax.vmap(jax.grad(loss), in_axes=(None, 0)), ("4, 4", "b, n, 4"), [{"b": 3, "n": 4}, {"b": 1, "n": 2}], rtol=1e-4)


def test_ctrl_c_interrupts_an_endless_loop():
    import _thread
    import threading

    f = sod2.jit(lambda x: lax.while_loop(lambda c: c > -1, lambda c: c * 0 + 1, x))
    f.lower(np.int32(3)).compile()
    timer = threading.Timer(0.5, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        jax.block_until_ready(f(np.int32(3)))
    timer.join()


def test_numbers_among_the_operands_of_a_branch():
    f = lambda x, i: lax.cond(i > 0, lambda v, y: (v, jnp.sort(y)), lambda v, y: (v + 1, y), 1.0, x)
    g = sod2.jit(f, shapes=("n", None))
    for i in (1, 0):
        for mine, theirs in zip(g(jnp.arange(3.0)[::-1], i), f(jnp.arange(3.0)[::-1], i), strict=True):
            np.testing.assert_array_equal(mine, theirs)
