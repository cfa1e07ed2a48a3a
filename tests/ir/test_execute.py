"""The executor in Python against the runtime's, on programs of every kind of step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ir.execute import execute

PROGRAMS = {
    "kernels": lambda x: jnp.tanh(x).sum(0) + x,
    "scan": lambda x: lax.scan(lambda c, a: ((c[1], c[0] + a), c[0] * a), (jnp.zeros(3), jnp.ones(3)), x),
    "while": lambda x: lax.while_loop(lambda y: jnp.sum(jnp.abs(y)) > 1.0, lambda y: y * 0.5, x),
    "branch": lambda x: lax.cond(x.sum() > 0, lambda y: y + 1, lambda y: y, jnp.sin(x)),
    "library": lambda x: jnp.fft.rfft(x).real,
    "update": lambda x: jnp.sin(x).at[:, 0].add(2.0),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("n", [4, 1])
def test_agrees_with_the_runtime(name, n):
    compiled = sod2.jit(PROGRAMS[name], shapes=("n, 3",))
    x = np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32)
    expected = jax.tree.leaves(compiled(x))
    for a, b in zip(execute(compiled.lower(x)._executable.program, [x]), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_unwritten_memory_shows():
    """A program whose step is left out gives something else."""
    from dataclasses import replace

    program = sod2.jit(lambda x: jnp.sin(x) @ x.T, shapes=("n, 3",)).lower(np.ones((2, 3), np.float32))._executable.program
    x = np.ones((2, 3), np.float32)
    whole = execute(program, [x], _reference)
    broken = execute(replace(program, steps=program.steps[1:]), [x], _reference)
    assert not np.array_equal(whole[0], broken[0])


def _reference(kernel, buffers, sizes, extent):
    from sod2jax.lowering import jit

    jit.call(kernel, jit.compile([kernel]).addresses[0], buffers, sizes, 0, extent)
