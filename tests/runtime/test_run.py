"""A run keeps what it reads: arrays that are deleted, donated or dropped meanwhile, by its own callbacks and by other threads."""

import signal
import sys
import threading
import time

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax import binding, compat

DTYPES = sorted((d.name for d in binding._CODES), key=str)
N = 700


@pytest.fixture
def weights():
    """Fresh copies of one matrix, made by XLA, whose memory goes back to the system when it is deleted."""
    values = np.random.default_rng(0).standard_normal((N, N), dtype=np.float32)
    copy = jax.jit(lambda w: w + 0)
    return lambda: copy(values).block_until_ready()


def slow(w, x):
    for _ in range(6):
        x = jnp.tanh(x @ w * 0.01)
    return x @ w + w[: x.shape[0]]


def overwritten():
    """Takes memory that was just freed, and writes to it."""
    return [np.full((N, N), 1e3, np.float32) for _ in range(4)]


@pytest.mark.parametrize("way", ["delete", "donate", "drop"])
def test_another_thread_takes_an_argument_away(weights, way):
    f, x = sod2.jit(slow, shapes=("k, k", "n, k")), jnp.ones((400, N))
    take = {"delete": lambda w: w.delete(), "donate": jax.jit(lambda w: w * 0 + 1e3, donate_argnums=0), "drop": lambda w: None}
    donated = weights()
    take[way](donated)
    wanted = np.asarray(f(weights(), x))
    for round_ in range(6):
        box, out = [weights()], []

        def call(box=box, out=out):
            try:
                out.append(f(box[0], x))
            except RuntimeError as error:  # it came too late: as under jax.jit
                out.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        time.sleep(0.004 * round_)
        result = take[way](box.pop()) if way != "drop" else box.clear()
        junk = overwritten()
        thread.join()
        del junk, result
        if isinstance(out[0], RuntimeError):
            assert "deleted" in str(out[0])
        else:
            np.testing.assert_allclose(out[0], wanted, rtol=1e-3, atol=1e-3)


def test_a_callback_deletes_an_argument(weights):
    def drop(value):
        w.delete()
        junk.extend(overwritten())
        return value

    def fun(w, x):
        return x @ w + jax.pure_callback(drop, jax.ShapeDtypeStruct((), np.float32), w[0, 0]) + w[:3]

    f, x, junk = sod2.jit(fun, shapes=("k, k", "n, k")), jnp.ones((3, N)), []
    values = np.asarray(weights())
    for _ in range(3):
        w = weights()
        np.testing.assert_allclose(f(w, x), np.ones((3, N)) @ values + values[0, 0] + values[:3], rtol=1e-3, atol=1e-3)
        assert w.is_deleted()


def test_a_callback_donates_an_argument_of_its_caller(weights):
    eat = sod2.jit(lambda w: w * 0 + 1e3, shapes="k, k", donate_argnums=0)

    def drop(value):
        eaten.append(eat(w))
        return value

    def fun(w):
        return jax.pure_callback(drop, jax.ShapeDtypeStruct((), np.float32), w[0, 0]) + w

    own, eaten = sod2.jit(lambda w: w + 0.0, shapes="k, k"), []
    f, values = sod2.jit(fun, shapes="k, k"), np.asarray(weights())
    for _ in range(3):
        w = own(weights())
        np.testing.assert_allclose(f(w), values[0, 0] + values, rtol=1e-6)
        assert w.is_deleted()
        assert float(eaten[-1][0, 0]) == 1e3


def test_a_donated_argument_is_gone_when_its_callback_runs():
    def look(value):
        seen.append(x.is_deleted())
        return value

    def fun(x):
        return x + jax.pure_callback(look, jax.ShapeDtypeStruct((), np.float32), x[0])

    seen, f = [], sod2.jit(fun, shapes="n", donate_argnums=0)
    for n in (3, 5):
        x = jnp.ones(n)
        np.testing.assert_array_equal(f(x), 2)
    assert seen == [True, True]


@pytest.mark.parametrize("own", [False, True])
def test_one_array_is_donated_to_two_calls_at_once(weights, own):
    f = sod2.jit(lambda w: jnp.tanh(w @ w * 0.01) @ w, shapes="k, k", donate_argnums=0)
    mine = sod2.jit(lambda w: w + 0.0, shapes="k, k") if own else lambda w: w
    wanted = np.asarray(f(weights()))
    for _ in range(5):
        w, results, errors = mine(weights()), [], []

        def call(w=w, results=results, errors=errors):
            try:
                results.append(f(w))
            except RuntimeError as late:
                errors.append(str(late))

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 1, errors
        assert all("deleted" in error for error in errors)
        np.testing.assert_allclose(results[0], wanted, rtol=1e-3, atol=1e-3)


def test_a_signals_handler_deletes_an_argument(weights):
    def handler(*_):
        fired.append(True)
        w.delete()
        overwritten()

    def fun(w):
        return jax.lax.fori_loop(0, 100_000, lambda i, c: c * 0.5 + w[0, 0], w[:40, :40])

    f, fired = sod2.jit(fun, shapes="k, k"), []
    w = weights()
    wanted = np.asarray(f(w))
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        got = f(w)
        deadline = time.time() + 5
        while not fired and time.time() < deadline:
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert fired
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("name", ["float32", "bool", "bfloat16", "float8_e5m2", "complex128"])
def test_arrays_of_many_dtypes_are_held(name):
    def look(value):
        x.delete()
        return np.int32(value)

    with jax.enable_x64(True):
        f = sod2.jit(lambda x: (jax.pure_callback(look, jax.ShapeDtypeStruct((), np.int32), 1), x[::-1]), shapes="n")
        for n in (0, 1, 5):
            values = np.arange(n).astype(getattr(ml_dtypes, name, name))
            x = jax.device_put(values)
            np.testing.assert_array_equal(np.asarray(f(x)[1]).astype(np.complex128), values[::-1].astype(np.complex128))


@pytest.mark.parametrize("name", DTYPES)
def test_a_view_holds_without_a_copy(name):
    """`numpy_view` is the reference where the buffer protocol has no word for a dtype."""
    view = compat.runtime_names()["numpy_view"]
    with jax.enable_x64(True):
        for shape in ((), (0, 3), (4, 5)):
            x = jax.device_put(np.ones(shape, getattr(ml_dtypes, name, name))).block_until_ready()
            array, copied = view(x)
            assert not copied
            assert array.size == 0 or array.ctypes.data == x.unsafe_buffer_pointer()


def test_long_runs_let_other_threads_in(weights):
    f, x = sod2.jit(slow, shapes=("k, k", "n, k")), jnp.ones((600, N))
    w = weights()
    f(w, x)
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.001):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    for _ in range(8):
        f(w, x)
    end = time.perf_counter()
    stop.set()
    thread.join()
    assert sum(start < t < end for t in ticks) > 2


def test_a_long_loop_lets_threads_in_that_its_callback_started():
    ticks, threads = [], []

    def begin(value):
        thread = threading.Thread(target=lambda: [ticks.append(time.sleep(0.001)) for _ in range(20)])
        thread.start()
        threads.append(thread)
        return value

    def fun(x):
        x = x + jax.pure_callback(begin, jax.ShapeDtypeStruct((), np.float32), x[0, 0])
        return jax.lax.fori_loop(0, 20_000, lambda i, c: c * 0.5 + x, x), jax.pure_callback(
            lambda _: np.int32(len(ticks)), jax.ShapeDtypeStruct((), np.int32), x[0, 0]
        )

    jax.block_until_ready(sod2.jit(fun, shapes="n, m")(jnp.ones((40, 40))))
    for thread in threads:
        thread.join()
    assert len(ticks) == 20


def test_a_run_gives_no_result_if_xla_took_its_argument():
    """Short runs keep the GIL; what XLA donates meanwhile, in another thread, is seen afterwards."""
    f, eat = sod2.jit(lambda x: x * 2 + 1, shapes="n"), jax.jit(lambda x: x * 0 - 7, donate_argnums=0)
    eat(jnp.ones(512))
    make = jax.jit(lambda: jnp.ones(512))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(100):
            x, wrong = make(), []

            def read(x=x, wrong=wrong):
                try:
                    for _ in range(20):
                        wrong += [v for v in np.asarray(f(x)) if v != 3]
                except RuntimeError as late:
                    wrong += [str(late)] * ("deleted" not in str(late))

            thread = threading.Thread(target=read)
            thread.start()
            eat(x)
            thread.join()
            assert wrong == []
    finally:
        sys.setswitchinterval(before)
