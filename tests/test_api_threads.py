"""Calls, compilations and clear_cache() at the same time: right values and no error; and calls that end in the middle.

`pytest tests/test_api_threads.py --calls 10000` is the long run of the stress test.
"""

import functools
import gc
import os
import random
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax.errors import CompileLimitError


def at_once(*works):
    """Runs all functions at the same time, each in its thread; the errors that they raised."""
    errors, start = [], threading.Barrier(len(works))

    def run(work):
        start.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def resident():
    """Bytes of memory that the process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("shapes", ["n", None], ids=["declared", "automatic"])
def test_clear_cache_while_others_compile(shapes):
    f, stop = sod2.jit(lambda x: x * 2, shapes=shapes), time.time() + 1.5

    def call(seed):
        rng = random.Random(seed)
        while time.time() < stop:
            n = rng.randrange(1, 9)
            np.testing.assert_array_equal(f(np.full(n, seed, np.float32)), np.full(n, 2 * seed))

    def clear():
        while time.time() < stop:
            f.clear_cache()
            str(f.cache_info())
            time.sleep(0.002)

    assert at_once(*(functools.partial(call, seed) for seed in range(3)), clear) == []


def test_stress(request):
    """Eight threads call five functions at random sizes and dtypes, while caches are cleared."""
    calls = request.config.getoption("--calls")
    w = jnp.asarray(np.arange(64, dtype=np.float32).reshape(8, 8) / 64)
    product = lambda w, x: jnp.tanh(x @ w).sum(0)
    tree = lambda x: {"a": (x + x,), "n": x.shape[0] * 3}
    functions = [
        (sod2.jit(lambda x: x * 2 + 1, shapes="n"), lambda x: x * 2 + 1, 1),
        (sod2.jit(lambda x: x[::-1].cumsum()), lambda x: x[::-1].cumsum(dtype=x.dtype), 1),
        (sod2.jit(functools.partial(product, w), shapes="n, 8"), lambda x: np.tanh(x @ np.asarray(w)).sum(0), 2),
        (sod2.jit(tree, shapes="n, 8"), tree, 2),
        (sod2.jit(lambda x: x - 3, shapes="n", donate_argnums=0), lambda x: x - 3, 1),
    ]

    def call(seed):
        rng = random.Random(seed)
        for i in range(calls):
            f, wanted, rank = rng.choice(functions)
            n = rng.choice([0, 1, 2, 3, 7, 50, rng.randrange(2000)])
            dtype = np.float32 if rank == 2 else rng.choice([np.float32, np.int32])
            x = np.random.default_rng(seed * 1000 + i).integers(-4, 5, (n, 8)[:rank]).astype(dtype)
            given = jnp.asarray(x) if rng.random() < 0.5 else x
            jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-3), f(given), wanted(x))
            if rng.random() < 0.004:
                f.clear_cache()
            if rng.random() < 0.01:
                f.cache_info()

    assert at_once(*(functools.partial(call, seed) for seed in range(8))) == []


def test_memory_stays_flat_over_calls_at_random_sizes(request):
    calls = max(request.config.getoption("--calls") * 20, 2400)
    f = sod2.jit(lambda w, x: {"y": jnp.tanh(x @ w), "n": x.sum()}, shapes=(None, "n, 16"))
    w, rng = jnp.ones((16, 16)), np.random.default_rng(0)
    room = np.ones((3000, 16), np.float32)

    def some(count):
        for n in rng.integers(0, 3000, count):
            assert f(w, room[:n])["y"].shape == (n, 16)

    some(calls // 2)  # as many sizes as there are, and what the pool of outputs keeps
    gc.collect()
    before = resident()
    some(calls // 2)
    gc.collect()
    assert resident() - before < 16 << 20
    assert f.cache_info().compiles == 1


def test_threads_that_miss_at_once_count_as_one():
    for shapes in ("n", None):
        f = sod2.jit(lambda x: x + 1, shapes=shapes, max_compiles=2)
        sizes = [1, 1, 2, 3, 4, 5]
        assert at_once(*(lambda f=f, n=n: np.testing.assert_array_equal(f(np.ones(n, np.float32)), 2) for n in sizes)) == []
        assert f.cache_info().compiles <= 2
    g = sod2.jit(lambda x: x + 1, max_compiles=1)
    dtypes = [np.float32, np.int32, np.float16]
    errors = at_once(*(lambda d=d: g(np.ones(3, d)) for d in dtypes))
    assert [type(e) for e in errors] == [CompileLimitError] * 2
    assert g.cache_info().compiles == 1


def test_an_exception_in_a_compilation_leaves_nothing_behind():
    broken = True

    def fun(x):
        if broken:
            raise ValueError("mine")
        return x + 1

    f = sod2.jit(fun, shapes="n", max_compiles=1)
    errors = at_once(*(lambda: f(np.ones(3, np.float32)) for _ in range(4)))
    assert [str(e) for e in errors] == ["mine"] * 4
    assert f.cache_info().compiles == 0
    broken = False
    np.testing.assert_array_equal(f(np.ones(3, np.float32)), 2)
    assert f.cache_info().compiles == 1


def test_a_function_is_dropped_while_it_runs():
    holder = {}

    def drop(value):
        holder.clear()
        gc.collect()
        return value

    def fun(x):
        return x + jax.pure_callback(drop, jax.ShapeDtypeStruct((), np.float32), x[0]) * 2

    for _ in range(3):
        holder["f"] = sod2.jit(fun, shapes="n")
        np.testing.assert_array_equal(holder["f"](jnp.ones(5)), 3)


def test_a_function_clears_its_cache_while_it_runs():
    def clear(value):
        f.clear_cache()
        return value

    f = sod2.jit(lambda x: x + jax.pure_callback(clear, jax.ShapeDtypeStruct((), np.float32), x[0]), shapes="n")
    for n in (1, 3, 3):
        np.testing.assert_array_equal(f(jnp.ones(n)), 2)


def test_a_function_calls_itself_through_a_callback():
    def smaller(x):
        return np.asarray(f(np.asarray(x)[1:])) if len(x) > 1 else np.asarray(x).sum()

    def fun(x):
        return x.sum() + jax.pure_callback(smaller, jax.ShapeDtypeStruct((), np.float32), x)

    f = sod2.jit(fun, shapes="n")
    assert float(f(jnp.ones(5))) == 5 + 4 + 3 + 2 + 1 + 1
    assert f.cache_info().compiles == 2  # JAX calls its callbacks with another default device


def test_an_interrupt_ends_a_run_and_nothing_else():
    f = sod2.jit(lambda x, n: jax.lax.while_loop(lambda c: c.sum() < n, lambda c: c * 1.0, x), shapes=("k", ""))
    np.testing.assert_array_equal(f(np.ones(3, np.float32), 0.0), 1)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(2):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                f(np.ones(3, np.float32), 100.0)
    finally:
        signal.signal(signal.SIGALRM, before)
    np.testing.assert_array_equal(f(np.ones(4, np.float32), 0.0), 1)
    assert f.cache_info().compiles == 1


@pytest.mark.filterwarnings("ignore:os.fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_calls_what_its_parent_compiled():
    f = sod2.jit(lambda w, x: jnp.tanh(x @ w).sum(), shapes=(None, "n, 300"))
    w, x = np.ones((300, 300), np.float32), np.ones((500, 300), np.float32)
    wanted = float(f(w, x))
    child = os.fork()
    if not child:
        signal.alarm(20)  # it must not wait for threads that only its parent has
        os._exit(0 if float(f(w, x)) == wanted else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert float(f(w, x)) == wanted
