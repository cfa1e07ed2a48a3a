"""Callbacks against JAX: what they are given, in which order, what is checked, what is raised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback

import sod2jax as sod2


def like(x):
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def sine(x):
    return jax.pure_callback(np.sin, like(x), x, vmap_method="sequential")


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: sine(x) + 1,
        lambda x: sine(x * 2),
        lambda x: sine(sine(x)).sum(),
        lambda x: lax.map(sine, x),
        jax.vmap(sine),
        lambda x: lax.cond(x.sum() > 0, sine, lambda x: x, x),
        lambda x: jax.pure_callback(lambda x: (x.sum(), x[:1]), (like(x[0, 0]), like(x[:1])), x)[1] + x,
        lambda x: jax.pure_callback(lambda x, y: x * y["k"], like(x), x, {"k": np.float32(2)}),
    ],
)
def test_pure_callbacks(agrees, fun):
    agrees(fun, ("n, 3",), [{"n": 4}, {"n": 1}, {"n": 5}])


def test_functions_get_arrays_that_they_may_keep():
    kept = []
    f = sod2.jit(lambda x: io_callback(lambda y: kept.append(y), None, x * 2), shapes=("n",))
    for n in (2, 3, 2):
        f(np.full(n, float(n), np.float32))
    assert all(isinstance(x, jax.Array) for x in kept)
    assert [x.tolist() for x in kept] == [[4, 4], [6, 6, 6], [4, 4]]


def test_order_is_that_of_the_program():
    def program(log):
        def note(name):
            return lambda *values: log.append((name, *(np.asarray(v).tolist() for v in values)))

        def fun(x):
            io_callback(note("first"), None, x.sum(), ordered=True)
            y = io_callback(lambda x: (note("second")(x), np.float32(len(log)))[1], jax.ShapeDtypeStruct((), np.float32), x[0])

            def step(i, total):
                io_callback(note("step"), None, i, ordered=True)
                lax.cond(i % 2 == 0, lambda i: io_callback(note("even"), None, i, ordered=True), lambda i: None, i)
                return total + y

            total = lax.fori_loop(0, 3, step, jnp.float32(0))
            jax.debug.callback(note("last"), total, ordered=True)
            return total

        return fun

    ours, theirs = [], []
    f, g = sod2.jit(program(ours), shapes=("n",)), jax.jit(program(theirs))
    for n in (2, 3):
        x = np.arange(1, 1 + n, dtype=np.float32)
        found, expected = f(x), g(x)
        jax.effects_barrier()
        ordered = [[entry for entry in log if entry[0] not in ("second", "last")] for log in (ours, theirs)]
        assert ordered[0] == ordered[1]
        assert [name for name, *_ in ours][:2] == ["first", "second"]
        assert ours[-1][0] == "last"
        assert found.shape == expected.shape


def test_printing(capfd):
    def fun(x):
        jax.debug.print("x is {x}", x=x, ordered=True)
        jax.debug.print("sum {}", x.sum(), ordered=True)
        return x + 1

    sod2.jit(fun, shapes=("n",))(np.ones(2, np.float32))
    found = capfd.readouterr().out
    jax.jit(fun)(np.ones(2, np.float32))
    jax.effects_barrier()
    assert found == capfd.readouterr().out == "x is [1. 1.]\nsum 2.0\n"


def test_what_nobody_reads_still_happens():
    """In the program's order. `jax.jit` too drops what stands in a `jax.checkpoint` whose results nobody reads."""
    calls = []

    def note(*values):
        io_callback(lambda *values: calls.append([float(v) for v in values]), None, *values)

    def fun(x):
        note()
        lax.fori_loop(0, 2, lambda i, x: (note(i), x)[1], x)
        lax.scan(lambda c, row: (c, note(row)), 0, x)
        lax.cond(True, lambda: note(3), lambda: note(4))
        lax.fori_loop(0, 0, lambda i, x: (note(i), x)[1], x)
        jax.vmap(note)(x)
        jax.checkpoint(lambda x: (note(5), x)[1])(x)
        return x

    sod2.jit(fun)(np.array([6, 7], np.float32))
    assert calls == [[], [0], [1], [6], [7], [3], [6], [7]]
    ours = sorted(calls)
    calls.clear()
    jax.jit(fun)(np.array([6, 7], np.float32))
    jax.effects_barrier()
    assert sorted(calls) == ours  # XLA runs them in any order


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda x: np.ones(7, np.float32), r"Incorrect output shape for return value #0: Expected: \(3,\), Actual: \(7,\)"),
        (lambda x: np.ones(3, np.int32), "Incorrect output dtype for return value #0: Expected: float32, Actual: int32"),
        (lambda x: (x, x), "Mismatched number of outputs from callback. Expected: 1, Actual: 2"),
    ],
)
def test_errors_are_jaxs(function, words):
    for compiled in (jax.jit, sod2.jit):
        with pytest.raises(jax.errors.JaxRuntimeError, match=words):
            jax.block_until_ready(compiled(lambda x: jax.pure_callback(function, like(x), x))(np.ones(3, np.float32)))


def test_a_call_after_an_error_works():
    broken = [True]
    f = sod2.jit(lambda x: jax.pure_callback(lambda x: 1 / 0 if broken[0] else x, like(x), x * 2))
    x = np.ones(3, np.float32)
    with pytest.raises(jax.errors.JaxRuntimeError):
        f(x)
    broken[0] = False
    assert f(x).tolist() == [2, 2, 2]


def test_callbacks_call_compiled_functions():
    @sod2.jit
    def inner(x):
        return x * 2

    @sod2.jit
    def outer(x, depth=None):
        return jax.pure_callback(lambda x: inner(x + 1), like(x), x) + x

    assert outer(np.ones(3, np.float32)).tolist() == [5, 5, 5]
