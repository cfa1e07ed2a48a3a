"""Programs that call Python: what the function sees, what it may return, what happens to what it raises; and Ctrl-C."""

import gc
import signal
import threading
import time
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sod2jax import binding
from sod2jax.ir import program as ir
from sod2jax.ir.expr import const, sym

F32, I64, BOOL = np.dtype("float32"), np.dtype("int64"), np.dtype(bool)
N = sym("n")


def host_program(call, times=None, reads=(0,)) -> ir.Program:
    """y = call(x) for f32[n]; with `times`, a loop of so many calls over a state in the arena."""
    slots = [
        ir.Slot("input", 0, F32, (N,), 4 * N),
        ir.Slot("output", 0, F32, (N,), 4 * N),
        ir.Slot("arena", 0, I64, (), const(8), const(0), 0, 1),
    ]
    step = ir.HostCall(0, tuple(reads), (1,), source="call")
    if times is not None:
        step = ir.Loop((step,), const(times), counter=2)
    return ir.Program(
        "host", (ir.SymbolDef("n", 0, 0),), (ir.Input("x", F32, (N,)),), (ir.Output(F32, (N,), 1),), tuple(slots), (step,), (),
        hosts=(ir.Host("twice", call),), arena=const(64),
    )  # fmt: skip


def load(call, **kwargs):
    return binding.load(host_program(call, **kwargs), [])


X = np.arange(5, dtype=np.float32)


def test_operands_are_views_and_results_are_copied():
    kept = []

    def call(x):
        kept.append((type(x), x.shape, x.dtype, x.flags.writeable, x.flags.c_contiguous))
        y = x * 2
        kept.append(weakref.ref(y))
        return [y]

    program = load(call)
    (y,) = program.run([X])
    assert isinstance(y, jax.Array)
    np.testing.assert_array_equal(y, X * 2)
    assert kept[0] == (np.ndarray, (5,), F32, False, True)
    assert kept[1]() is None
    (y,) = program.run([np.zeros(0, np.float32)])
    assert y.shape == (0,)


@pytest.mark.parametrize("give", [jnp.asarray, lambda x: x[::-1][::-1], lambda x: np.asfortranarray(x)])
def test_results_of_other_kinds(give):
    (y,) = load(lambda x: (give(x + 1),)).run([X])
    np.testing.assert_array_equal(y, X + 1)


def test_operands_of_several_dtypes():
    seen = []
    program = host_program(lambda x, i: (seen.append((i.dtype, i.shape, int(i))) or x,), times=3, reads=(0, 2))
    binding.load(program, []).run([X])
    assert seen == [(I64, (), 0), (I64, (), 1), (I64, (), 2)]


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        ([], ValueError, "host function twice (library) must return 1 arrays, and returned 0"),
        (X, TypeError, "must return a list or a tuple of 1 arrays, not numpy.ndarray"),
        (None, TypeError, "not NoneType"),
        ([X.astype(np.float64)], TypeError, "result 0 is float64 of shape (5,), expected float32 of shape (5,)"),
        ([X[:4]], ValueError, "result 0 is float32 of shape (4,), expected float32 of shape (5,)"),
        ([X[None]], ValueError, "of shape (1, 5)"),
        (["abc"], TypeError, "expected float32"),
    ],
    ids=range(7),
)
def test_wrong_results(result, error, words):
    answers = [result]
    program = load(lambda x: answers[0])
    with pytest.raises(error) as caught:
        program.run([X])
    assert words in str(caught.value)
    answers[0] = [X]
    np.testing.assert_array_equal(program.run([X])[0], X)


@pytest.mark.parametrize("n", [5, 300_000])  # with the GIL held, and released
def test_what_is_raised_reaches_the_caller(n):
    class Mine(Exception):
        pass

    mine, calls = Mine("mine"), []

    def call(x):
        calls.append(None)
        if len(calls) == 3:
            raise mine
        return [x]

    program = load(call, times=5)
    x = np.ones(n, np.float32)
    with pytest.raises(Mine) as caught:
        program.run([x])
    assert caught.value is mine
    assert "call" in [entry.name for entry in caught.traceback]
    calls += [None] * 3
    np.testing.assert_array_equal(program.run([x])[0], x)
    assert len(calls) == 11


def test_a_function_may_call_the_program_that_calls_it():
    def call(x):
        return [x + 1] if len(x) == 0 else [np.concatenate([np.asarray(program.run([x[1:]])[0]), x[:1]])]

    program = load(call)
    np.testing.assert_array_equal(program.run([X])[0], X[::-1])


def test_other_threads_run_while_a_function_waits():
    event = threading.Event()

    def call(x):
        assert event.wait(10)
        return [x]

    waiting = load(call)
    results = []
    thread = threading.Thread(target=lambda: results.append(waiting.run([X])))
    thread.start()
    np.testing.assert_array_equal(load(lambda x: [x + 1]).run([X])[0], X + 1)
    event.set()
    thread.join()
    np.testing.assert_array_equal(results[0][0], X)


def test_denormals_are_themselves_in_python():
    tiny = np.float32(1e-40)
    seen = []
    load(lambda x: (seen.append(x[:1] * np.float32(1)) or x,)).run([np.full(3, tiny)])
    assert seen[0][0] == tiny


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals belong to the main thread")
def test_ctrl_c_ends_a_long_loop():
    y = []
    program = ir.Program(  # a loop of nothing that would take days
        "forever", (ir.SymbolDef("n", 0, 0),), (ir.Input("x", F32, (N,)),), (ir.Output(F32, (N,), 1),),
        host_program(None).slots, (ir.Loop((), N * (1 << 50), counter=2), ir.HostCall(0, (0,), (1,))), (),
        hosts=(ir.Host("copy", lambda x: y.append(1) or [x]),), arena=const(64),
    )  # fmt: skip
    forever = binding.load(program, [])
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    start = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        forever.run([X])
    timer.join()
    assert time.perf_counter() - start < 5
    assert not y
    assert forever.run([X[:0]])[0].shape == (0,)
    assert y


def test_no_cycle_keeps_a_program():
    class Box:
        pass

    box = Box()
    box.program = load(lambda x, box=box: [x])
    gone = weakref.ref(box)
    del box
    gc.collect()
    assert gone() is None


def test_hosts_are_pairs():
    from sod2jax import _runtime, image

    with pytest.raises(TypeError, match="pairs of a name and a function"):
        _runtime.Program(image.encode(host_program(None)), [], [], None, [print])
    with pytest.raises(ValueError, match="wants 1 host functions, given 0"):
        _runtime.Program(image.encode(host_program(None)), [], [])
