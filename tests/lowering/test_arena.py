"""Lives of slots around loops and branches, and who lies over whom."""

import jax.numpy as jnp
import numpy as np
from jax import lax

import sod2jax as sod2
from sod2jax.ir.program import Loop, walk


def program(f, *shapes, **more):
    return sod2.jit(f, **more).lower(*(np.ones(s, np.float32) for s in shapes))._executable.program


def test_what_a_loop_reads_lives_until_it_ends():
    def f(x, w):
        y = jnp.sin(x)[:, ::-1] * 2
        return lax.fori_loop(0, 5, lambda i, c: jnp.tanh(c @ w) + y * i, x)

    p = program(f, (100, 100), (100, 100))
    order = list(walk(p.steps))
    (at,) = (i for i, s in enumerate(order) if isinstance(s, Loop))
    end = at + sum(1 for _ in walk((order[at],))) - 1
    outside = [s for s in p.slots if s.kind == "arena" and s.first < at <= s.last]
    assert outside
    assert all(s.last >= end for s in outside)


def test_branches_share_memory():
    big = 1 << 14

    def f(x):
        def branch(g):
            return lambda x: (lambda y: jnp.cumsum(y)[::-1] + jnp.cumsum(y * y))(g(x))

        return lax.switch(x[0].astype(int), [branch(g) for g in (jnp.sin, jnp.cos, jnp.tanh, jnp.exp)], x)

    p = program(f, (big,))
    sizes = [s.nbytes.value for s in p.slots if s.kind == "arena"]
    assert p.arena.value < sum(sizes) / 2


def test_without_the_memory_plan_each_slot_has_its_own_place():
    f = lambda x: jnp.cumsum(jnp.cumsum(jnp.cumsum(x)))
    plain = program(f, (1000,), compiler_options={"disable": ["memory"]})
    assert plain.arena.value >= sum(s.nbytes.value for s in plain.slots if s.kind == "arena")
    assert program(f, (1000,)).arena.value <= plain.arena.value
