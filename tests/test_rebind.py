"""`int`, `float` and `math` of sizes in users' code: sizes and floats of sizes, only while it is traced."""

import functools
import math
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax.errors import StaticSizeWarning
from sod2jax.ir.dims import Dim
from sod2jax.ir.expr import sym
from sod2jax.ir.ratio import SizeFloat
from sod2jax.ir.scope import Scope
from sod2jax.rebind import functions_of, redirected


def n():
    return Scope({"n": (0, None)}, (), {"n": 7}).dim(sym("n"))


def called_by_name(size):
    return int(size / 2)


def everything(size):
    nested = lambda m: int(m / 4)
    kept = isinstance(3, int), int("5"), float("2.5"), math.pi, math.floor(2.5), [int(k) for k in (1.5, 2)], int, math.sqrt(4)
    return (called_by_name(size), nested(size), int(size), float(size), math.sqrt(size), math.log(size), math.isqrt(size)), kept


def test_calls_give_sizes_while_redirected_and_numbers_afterwards():
    code = everything.__code__
    with redirected(functions_of(everything)):
        results, kept = everything(n())
        assert everything(7) == everything(7)
    assert [type(x) for x in results] == [Dim, Dim, Dim, SizeFloat, SizeFloat, SizeFloat, int]
    assert everything.__code__ is code
    assert everything(7) == ((3, 1, 7, 7.0, math.sqrt(7), math.log(7), 2), kept)
    assert kept == (True, 5, 2.5, math.pi, 2, [1, 2], int, 2.0)


def test_a_name_of_ones_own_is_left_alone():
    space = {"int": lambda x: "mine"}
    exec("def f(x): return int(x)", space)
    with redirected(functions_of(space["f"])):
        assert space["f"](n()) == "mine"


def test_two_blocks_at_once():
    code, inside, leave = called_by_name.__code__, threading.Event(), threading.Event()

    def other():
        with redirected(functions_of(called_by_name)):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    with redirected(functions_of(called_by_name)):
        assert type(called_by_name(n())) is Dim
    assert type(called_by_name(n())) is Dim  # the other block lasts
    leave.set()
    thread.join()
    assert called_by_name.__code__ is code


class Model:
    def __call__(self, x):
        return x[: called_by_name(x.shape[0])]


def scaled(x, by):
    return x[: int(x.shape[0] * by)] / math.sqrt(x.shape[0])


PROGRAMS = {
    "int of a half": lambda x: x / x.shape[0] ** 0.5 + int(x.shape[0] / 2),
    "int of numpy's ceiling": lambda x: x[: int(np.ceil(x.shape[0] / 2))],
    "float": lambda x: x * float(x.shape[0]) ** -0.5,
    "a partial": functools.partial(scaled, by=0.5),
    "an object": Model(),
    "a gradient": jax.grad(lambda x: scaled(x, 0.25).sum()),
    "jit": jax.jit(lambda x: scaled(x, 0.75)),
    "a logarithm": lambda x: x * math.log(x.shape[0]),
    "a round number": lambda x: x[: int(x.shape[0] / 4 + 0.5)],
    "positions": lambda x: jnp.exp(jnp.arange(0, x.shape[0], 2) * -(math.log(10000.0) / x.shape[0])),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_compile_once(name):
    fun = PROGRAMS[name]
    f = sod2.jit(fun, shapes=("n",))
    for size in (6, 9, 5, 1, 100):
        x = np.linspace(0.1, 1, size, dtype=np.float32)
        np.testing.assert_allclose(f(x), jax.jit(fun)(x), rtol=1e-6)
    assert f.cache_info().compiles == 1


def test_what_is_not_found_becomes_a_number_and_is_said():
    table = {"halve": eval("lambda size: int(size / 2)", {})}
    f = sod2.jit(lambda x: x[: table["halve"](x.shape[0])], shapes=("n",))
    with pytest.warns(StaticSizeWarning, match="needs a Python int"):
        assert f(np.ones(6, np.float32)).shape == (3,)
