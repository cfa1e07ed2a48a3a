"""The executor in Python against the runtime's, on programs of every kind of step."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ir.execute import MemoryFault, execute

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
    program = sod2.jit(lambda x: jnp.sin(x) @ x.T, shapes=("n, 3",)).lower(np.ones((2, 3), np.float32))._executable.program
    x = np.ones((2, 3), np.float32)
    whole = execute(program, [x], _reference)
    broken = execute(replace(program, steps=program.steps[1:]), [x], _reference)
    assert not np.array_equal(whole[0], broken[0])


def _reference(kernel, buffers, sizes, extent):
    from sod2jax.lowering import jit

    compiled = jit.compile([kernel])  # whose code lives as long as it does
    jit.call(kernel, compiled.addresses[0], buffers, sizes, 0, extent)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("n", [4, 1])
def test_shadow_bytes_find_nothing_in_right_programs(name, n):
    compiled = sod2.jit(PROGRAMS[name], shapes=("n, 3",))
    x = np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32)
    expected = jax.tree.leaves(compiled(x))
    for a, b in zip(execute(compiled.lower(x)._executable.program, [x], checked=True), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def temporaries(x):
    def body(i, c):
        s = jnp.sin(c[0]) + c[1]
        w = jnp.cos(s)
        return w + s, w * s

    return lax.fori_loop(0, 5, body, (x, x + 1))


def test_shadow_bytes_name_who_wrote_over_whom():
    x = np.linspace(-1, 1, 8, dtype=np.float32)
    program = sod2.jit(temporaries).lower(x)._executable.program
    execute(program, [x], checked=True)
    temps = [n for n, s in enumerate(program.slots) if s.kind == "arena" and s.shape]
    first, second = temps[:2]
    slots = list(program.slots)
    slots[second] = replace(slots[second], offset=slots[first].offset)
    with pytest.raises(MemoryFault, match=rf"reads slot {first} .*, where slot {second} .* was written since"):
        execute(replace(program, slots=tuple(slots)), [x], checked=True)


def test_shadow_bytes_name_what_was_never_written_and_what_is_dead():
    x = np.ones((2, 3), np.float32)
    program = sod2.jit(lambda x: jnp.cumsum(jnp.cumsum(x, 0)[::-1], 0)[::-1] * 2).lower(x)._executable.program
    with pytest.raises(MemoryFault, match="which nothing wrote"):
        execute(replace(program, steps=(program.steps[-1],)), [x], checked=True)
    short = [replace(s, last=s.first) if s.kind == "arena" else s for s in program.slots]
    with pytest.raises(MemoryFault, match="whose life has ended"):
        execute(replace(program, slots=tuple(short)), [x], checked=True)
