"""JAX's configuration as sod2jax reads and sets it, and JAX's caches, which keep nothing of symbolic traces."""

import gc
import operator
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax import state_compat


def make(number):
    """A function that was compiled for symbolic sizes."""
    compiled = sod2.jit(lambda x: (jnp.tanh(x) * number, jnp.cumsum(x, 0), jnp.where(x > 0, x, number)), shapes="n, 8")
    compiled(np.ones((3, 8), np.float32))
    return compiled


def test_the_compiler_is_held_to_nothing():
    with jax.numpy_dtype_promotion("strict"), jax.debug_nans(True), jax.enable_x64(False), jax.numpy_rank_promotion("raise"):
        with state_compat.compiling(x64=True):
            x = jnp.arange(3) + jnp.ones((2, 3))
            assert jnp.log(-x).dtype == np.float64
        with pytest.raises(FloatingPointError):
            jnp.log(-1.0)
        assert jnp.zeros(3).dtype == np.float32


def test_an_eqn_brings_its_context():
    with jax.threefry_partitionable(False):
        (eqn,) = jax.make_jaxpr(jnp.negative)(1.0).eqns
    with state_compat.context_of(eqn):
        assert not jax.config.jax_threefry_partitionable
        assert not jax.config.jax_enable_x64
    assert jax.config.jax_threefry_partitionable
    with jax.enable_x64(True):
        (eqn,) = jax.make_jaxpr(jnp.negative)(1.0).eqns
    with state_compat.context_of(eqn):
        assert jax.config.jax_enable_x64


def test_meshes_are_those_around():
    assert not state_compat.meshes()
    with jax.set_mesh(jax.make_mesh((1,), ("d",))):
        assert state_compat.meshes()


def test_jax_remembers_nothing_of_symbolic_traces():
    caches = state_compat.symbolic_traces.current()
    make(3)

    def sizes():
        gc.collect()
        return [cache.cache_info().currsize for cache in caches if hasattr(cache, "cache_info")]

    before = sizes()
    kept = [make(4), make(5)]
    assert sizes() == before
    assert all(map(operator.is_, state_compat.symbolic_traces.current(), caches))
    del kept


def test_threads_that_trace_at_once_leave_jax_as_it_was():
    caches, errors = state_compat.symbolic_traces.current(), []

    def work(seed):
        try:
            for i in range(3):
                make(seed * 10 + i)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(map(operator.is_, state_compat.symbolic_traces.current(), caches))


def test_a_trace_that_fails_leaves_jax_as_it_was():
    caches = state_compat.symbolic_traces.current()

    def wrong(x):
        raise KeyError("mine")

    with pytest.raises(KeyError):
        sod2.jit(wrong)(np.ones(3))
    assert all(map(operator.is_, state_compat.symbolic_traces.current(), caches))


@pytest.mark.parametrize(
    ("fun", "kept"),
    [
        (lambda x: (x, jax.random.uniform(jax.random.key(0), (3, 7))), True),
        (lambda x: (x, jnp.ones((7, 3)).sum(0)), True),
        (lambda x: (x, jnp.sum(jnp.ones(7), where=np.arange(7) < x.shape[0])), True),
        (lambda x: jax.random.bits(jax.random.key(0), x.shape), False),  # a size among static arguments
        (lambda x: jnp.cumsum(x, 0), False),
        (lambda x: (x, jax.jit(lambda y: lax.sin(y))(jnp.ones(7))), False),  # which could close over a size
    ],
)
def test_jax_keeps_its_own_traces_without_sizes(fun, kept):
    caches = [cache for cache in state_compat.symbolic_traces.current() if hasattr(cache, "cache_info")]
    jax.clear_caches()
    sod2.jit(fun, shapes="n").trace(np.ones(4, np.float32))
    assert any(cache.cache_info().currsize for cache in caches) == kept
