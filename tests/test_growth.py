"""Memory goes with what uses it: dropped functions leave nothing, and tables of the process have bounds.

`python benchmarks/growth.py` shows resident memory over 20,000 calls and 2,000 functions.
"""

import ctypes
import gc
import sys
import threading
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import mlir

import sod2jax as sod2
from sod2jax.ir import polynomial
from sod2jax.lowering import jit
from sod2jax.rewrite.islands import MOST

opaque = Primitive("opaque_of_growth")
"""x, k -> x scaled by k, a size: for XLA."""
opaque.def_abstract_eval(lambda x, *, k: x)
mlir.register_lowering(opaque, mlir.lower_fun(lambda x, *, k: x * k, multiple_results=False))


def resident() -> float:
    """MB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def live_executables() -> int:
    gc.collect()
    return len(jax.local_devices(backend="cpu")[0].client.live_executables())


def make(number, weights=None):
    """A function of its own, called at two sizes, with its own kernels."""
    weights = np.full((8, 8), 0.5, np.float32) if weights is None else weights

    def fun(x):
        return jnp.tanh(x @ weights) * (number + 0.25), jnp.cumsum(x, 0)

    compiled = sod2.jit(fun, shapes="n, 8")
    for n in (3, 5):
        compiled(np.ones((n, 8), np.float32))
    return compiled


def test_a_dropped_function_leaves_nothing():
    weights = np.ones((8, 8), np.float32)
    compiled = make(1, weights)
    (version,) = compiled.versions
    held = {
        "function": weakref.ref(compiled),
        "version": weakref.ref(version),
        "program": weakref.ref(version.program),
        "weights": weakref.ref(weights),
    }
    del compiled, version, weights
    gc.collect()
    assert not [name for name, ref in held.items() if ref() is not None]


def test_machine_code_goes_with_the_last_function_that_uses_it():
    def texts():
        gc.collect()
        return set(jit._codes)

    before = texts()
    first, second = make(77.5), make(77.5)
    shared = texts() - before
    assert shared
    x = np.ones((4, 8), np.float32)
    expected = np.asarray(first(x)[0])
    del first
    assert shared <= texts()
    np.testing.assert_array_equal(second(x)[0], expected)
    del second
    assert not shared & texts()
    np.testing.assert_array_equal(make(77.5)(x)[0], expected)


def test_clearing_a_function_frees_its_code():
    before = set(jit._codes)
    compiled = make(78.5)
    assert set(jit._codes) - before
    compiled.clear_cache()
    gc.collect()
    assert not set(jit._codes) - before


def test_a_function_that_refers_to_itself_is_collected():
    def circular():
        compiled = sod2.jit(lambda x: x + compiled.cache_info().compiles)
        compiled(np.ones(3))
        return weakref.ref(compiled)

    ref = circular()
    gc.collect()
    assert ref() is None


def test_expressions_are_freed():
    def table():
        polynomial._latest.clear()
        polynomial._divide.cache_clear()
        gc.collect()
        return len(polynomial._exprs), len(polynomial._atoms)

    make(2)
    before = table()
    e = polynomial.sym("growth")
    for i in range(200):
        e = polynomial.minimum(e * 3 + i, polynomial.floordiv(e + i, 7))
    assert len(polynomial._exprs) > before[0] + 200
    del e
    after = table()
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1] + 1


def test_equal_expressions_are_one_while_they_live():
    polynomial._latest.clear()
    e = polynomial.floordiv(polynomial.sym("a") + 1, 3)
    assert e is polynomial.floordiv(polynomial.sym("a") + 1, 3)
    assert e.atoms[0].expr is e
    atom = e.atoms[0]
    polynomial._divide.cache_clear()
    polynomial._latest.clear()
    del e
    assert polynomial.floordiv(polynomial.sym("a") + 1, 3).atoms[0] is atom


def test_threads_intern_one_expression():
    polynomial._latest.clear()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    wrong, stop = [], threading.Event()

    def intern():
        while not stop.is_set():
            a, b = polynomial.sym("t1") * 3 + 1, polynomial.sym("t1") * 3 + 1
            if a is not b or a.atoms[0] is not b.atoms[0]:
                wrong.append((a, b))
            del a, b
            polynomial._latest.clear()

    threads = [threading.Thread(target=intern) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        stop.wait(1.0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert not wrong


def test_executables_of_islands_are_the_latest_few():
    before = live_executables()
    compiled = sod2.jit(lambda x: opaque.bind(x, k=x.shape[0]) + opaque.bind(x, k=2), shapes="n")
    for n in range(1, MOST + 12):
        assert np.asarray(compiled(np.ones(n, np.float32)))[0] == n + 2
    assert live_executables() - before <= 2 * MOST + 1
    assert np.asarray(compiled(np.ones(1, np.float32)))[0] == 3  # made anew
    del compiled
    assert live_executables() <= before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_of_calls_and_of_dropped_functions():
    compiled, rng = make(6), np.random.default_rng(0)

    def some_calls(count):
        for n in rng.integers(0, 400, count):
            compiled(np.ones((n, 8), np.float32))

    some_calls(1000)
    start = resident()
    some_calls(3000)
    assert resident() - start < 5
    for i in range(10):
        make(i + 0.125)
    start = resident()
    for i in range(30):
        make(i + 0.375)
    assert resident() - start < 8  # JAX's bounded caches still fill
