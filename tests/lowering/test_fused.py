"""Small loops in one kernel: what goes in, what stays out, and what lives in registers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ir.loops import Init, While
from sod2jax.ir.program import Branch, Loop, Step, walk


def loop_of(f, *arguments):
    p = sod2.jit(f).lower(*arguments)._executable.program
    (loop,) = (s for s in walk(p.steps) if isinstance(s, Loop))
    return p, loop


def statements(kernel):
    todo = list(kernel.body)
    while todo:
        s = todo.pop()
        yield s
        todo += getattr(s, "body", ())


def test_scalars_live_in_registers():
    f = lambda n, x: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * 0.5 + 1), (0, x))
    p, loop = loop_of(f, np.int32(3), np.float32(1))
    (step,) = loop.cond
    kinds = [type(s) for s in statements(p.kernels[step.kernel])]
    assert kinds.count(While) == 1
    assert kinds.count(Init) >= 2


def test_a_large_body_stays_a_list_of_steps():
    x = np.ones(100_000, np.float32)
    _, loop = loop_of(lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.sin(c) + i, x), x)
    assert loop.swaps or loop.body
    assert "while" not in str(loop.body[0].source)


def _two(a, b):
    s = jnp.sin(a) + b
    w = jnp.cos(s)
    return w + s, w * s


FUNCTIONS = {
    "counter": lambda x: lax.fori_loop(0, 100, lambda i, c: c + i * x, x),
    "branch": lambda x: lax.fori_loop(0, 9, lambda i, c: lax.cond(i % 2 == 0, lambda c: c + x, lambda c: c * 0.5, c), x),
    "switch": lambda x: lax.fori_loop(
        0, 9, lambda i, c: lax.switch(i % 4, [jnp.sin, lambda c: c, lambda c: c + i, jnp.abs], c), x
    ),
    "swap": lambda x: lax.fori_loop(0, 7, lambda i, c: (c[1], c[0] + i), (x, x * 2)),
    "nested": lambda x: lax.fori_loop(0, 5, lambda i, c: lax.fori_loop(0, i, lambda j, d: d * 0.5 + j, c) + x, x),
    "gather": lambda x: lax.fori_loop(0, 5, lambda i, c: c.at[i % c.size].add(c.ravel()[-1]) if c.ndim == 1 else c + i, x),
    "while": lambda x: lax.while_loop(lambda c: jnp.max(jnp.abs(c)) < 50, lambda c: c * 1.5 + 0.1, x),
    "maybe": lambda x: lax.fori_loop(0, 3, lambda i, c: lax.cond(i > 5, lambda c: jnp.full_like(c, 7), lambda c: c, c), x * 2),
    "never": lambda x: lax.while_loop(lambda c: c[0] < 0, lambda c: (c[0] + 1, jnp.ones_like(x)), (jnp.int32(1), x * 2))[1],
    "temporaries": lambda x: lax.fori_loop(0, 3, lambda i, c: _two(*c), (x, x + 1)),
    "sums": lambda x: lax.fori_loop(0, 5, lambda i, c: c / (1 + jnp.sum(c * c)), x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4)])
def test_agrees_with_jax(name, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    f = FUNCTIONS[name]
    for a, b in zip(jax.tree.leaves(sod2.jit(f)(x)), jax.tree.leaves(jax.jit(f)(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_scalar_that_a_branch_may_leave_alone_is_loaded():
    f = lambda x: lax.fori_loop(0, 3, lambda i, c: lax.cond(i > 5, lambda c: jnp.float32(7), lambda c: c, c), x[0]) + x
    x = np.ones(4, np.float32)
    np.testing.assert_array_equal(sod2.jit(f, shapes=("n",))(x), x + x)


def test_branches_become_conditions():
    p, loop = loop_of(FUNCTIONS["branch"], np.float32(1))
    assert not any(isinstance(s, Branch) for s in walk(p.steps))
    assert len(loop.body) == 1


def test_sizes_choose_between_one_kernel_and_steps():
    f = sod2.jit(lambda x: lax.fori_loop(0, 50, lambda i, c: jnp.sin(c) + i, x), shapes=("n",))
    for n in (0, 1, 7, 100, 5000):
        x = np.linspace(-1, 1, n, dtype=np.float32)
        np.testing.assert_allclose(
            f(x), jax.jit(lambda x: lax.fori_loop(0, 50, lambda i, c: jnp.sin(c) + i, x))(x), rtol=1e-4, atol=1e-4
        )
    program = f.lower(x)._executable.program
    (branch,) = (s for s in program.steps if isinstance(s, Branch))
    assert [len(list(walk(b))) for b in branch.branches][1] <= 2


def test_without_variants_the_loop_of_steps_serves_every_size():
    loop = lambda x: lax.fori_loop(0, 50, lambda i, c: jnp.sin(c) + i, x)
    f = sod2.jit(loop, shapes=("n",), compiler_options={"disable": ["variants"]})
    for n in (0, 1, 7, 5000):
        x = np.linspace(-1, 1, n, dtype=np.float32)
        np.testing.assert_allclose(f(x), jax.jit(loop)(x), rtol=1e-4, atol=1e-4)
    steps = f.lower(x)._executable.program.steps
    assert [type(s) for s in steps if not isinstance(s, Step)] == [Loop]


@pytest.mark.parametrize("n", [0, 1, 65_535, 65_536, 65_537, 150_000])
def test_chunks(n):
    f = sod2.jit(lambda x: lax.scan(lambda c, a: (c + a, c), 0, x), shapes=("n",))
    total, sums = f(np.ones(n, np.int32))
    assert total == n
    np.testing.assert_array_equal(sums, np.arange(n))
