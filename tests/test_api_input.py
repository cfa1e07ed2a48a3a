"""Input that is odd or too much, end to end: memory layouts, weights that change, threads, forks, and sizes beyond all memory."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax import errors

X = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)


def column_sums(x):
    return x * 2 + x.sum(0)


def layer(w, x):
    return jnp.tanh(x @ w["a"]) @ w["b"] + w["a"].sum()


def weights(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) / 4 for name, shape in {"a": (32, 48), "b": (48, 16)}.items()}


def rows(n):
    return np.random.default_rng(n).standard_normal((n, 32)).astype(np.float32)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "x",
    [
        X.T,
        np.asfortranarray(X),
        X[::-1],
        X[:, ::-1],
        X[::2, 1::3],
        X[1:, 1:],
        np.broadcast_to(X[0], (4, 8)),
        np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(6, 8),  # not aligned
        X.astype(np.float64),
        X[:0],
        X[:, :0],
    ],
)
def test_numpy_arrays_of_every_layout(x):
    want = jax.jit(column_sums)(x)
    got = sod2.jit(column_sums, shapes=("a, b",))(x)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    close(got, want)


def test_arrays_that_jax_refuses():
    f = sod2.jit(column_sums, shapes=("a, b",))
    for x, error in [(X.astype(">f4"), TypeError), (np.ma.array(X), ValueError), (X.astype(object), TypeError)]:
        with pytest.raises(error):
            f(x)
    close(f(X), column_sums(X))


def test_weights_that_alternate():
    f = sod2.jit(layer, shapes=(None, "n, 32"))
    host = [weights(seed) for seed in range(3)]
    device = [jax.tree.map(jnp.array, w) for w in host]
    rng = np.random.default_rng(0)
    for i in range(30):
        k, x = int(rng.integers(3)), rows(int(rng.integers(40)))
        w = {"a": device[k]["a"], "b": device[(k + 1) % 3]["b"]} if i % 7 == 0 else (device if i % 3 else host)[k]
        close(f(w, x), layer(w, x))
    assert f.cache_info().compiles == 1


def test_weights_that_are_written_to():
    f = sod2.jit(layer, shapes=(None, "n, 32"))
    w = weights(0)
    for seed in range(4):
        for name, value in weights(seed).items():
            w[name][:] = value
        close(f(w, rows(7)), layer(w, rows(7)))


def test_threads_with_sizes_and_weights_of_their_own():
    f = sod2.jit(layer, shapes=(None, "n, 32"))
    host = [weights(seed) for seed in range(3)]
    device = [jax.tree.map(jnp.array, w) for w in host]

    def work(thread):
        rng = np.random.default_rng(thread)
        for _ in range(25):
            k, x = int(rng.integers(3)), rows(int(rng.integers(70)))
            close(f(device[k], x), np.tanh(x @ host[k]["a"]) @ host[k]["b"] + host[k]["a"].sum())
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    assert f.cache_info().compiles == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_may_go_on():
    """As a data loader does it. The child has none of the runtime's threads."""
    f = sod2.jit(layer, shapes=(None, "n, 32"))
    w, x = jax.tree.map(jnp.array, weights(0)), rows(300)
    want = np.asarray(f(w, x))
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os._exit(0 if np.allclose(f(w, x), want) and f(w, rows(500)).shape == (500, 16) else 1)
    assert os.waitpid(child, 0)[1] == 0
    close(f(w, x), want)


def test_sizes_beyond_all_memory():
    """The error says how much was wanted, and by which formula; smaller calls go on."""

    def grows(x):
        n = x.shape[0]
        y = jnp.exp(jnp.broadcast_to(x[:, None, None, None], (n, n, n, n)))
        return (y / y.mean(0)).sum()

    f = sod2.jit(grows, shapes=("n",))
    close(f(X[0]), grows(X[0]))
    with pytest.raises(errors.OutOfMemoryError, match=r"4\d{12} bytes for the arena, which is .*n\*\*4") as err:
        f(jnp.ones(1000))
    assert isinstance(err.value, MemoryError)
    with pytest.raises(OverflowError, match="63 bits"):
        f(jnp.ones(100_000))
    close(f(X[0, :5]), grows(X[0, :5]))
    assert f.cache_info().compiles == 1


def test_results_beyond_all_memory():
    f = sod2.jit(lambda x, y: x[:, None] * y, shapes=("m", "n"))
    big = jnp.ones(20_000_000)
    with pytest.raises(errors.OutOfMemoryError, match="1600000000000000 bytes"):
        f(big, big)
    assert f(big[:3], big[:2]).shape == (3, 2)


def test_memory_of_sizes_that_no_machine_has():
    n = 1 << 40
    f = sod2.jit(lambda x: x.reshape(-1) + 1, shapes=("m, n",))
    stats = f.lower(jax.ShapeDtypeStruct((n, n), np.float32)).compile().memory_analysis()
    assert stats.argument_size_in_bytes == stats.output_size_in_bytes == 4 * n * n


def test_a_tracer_of_another_trace():
    leaked = []
    jax.jit(lambda x: leaked.append(x) or x)(jnp.ones(3))
    f = sod2.jit(lambda x: leaked.append(x) or x + 1, shapes=("n",))
    with pytest.raises(jax.errors.UnexpectedTracerError):
        f(leaked[0])
    f(jnp.ones(3))
    with pytest.raises(jax.errors.UnexpectedTracerError):
        leaked[-1] + 1
