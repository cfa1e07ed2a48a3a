"""Floats made of sizes: against JAX with Python's floats, at many sizes, and their integers against Python's."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax.ir.expr import sym
from sod2jax.ir.formula import text
from sod2jax.ir.ratio import LARGEST, SizeFloat, SizeFloat64
from sod2jax.ir.scope import Scope

SIZES = (6, 9, 5, 100, 10, 1, 0, 2000)

# One compilation each, values and dtypes as JAX's.
ONCE = {
    "division": lambda x: x * (x.shape[0] / 7),
    "root": lambda x: x / x.shape[0] ** 0.5,
    "inverse": lambda x: x.astype(jnp.bfloat16) * (1 / (x.shape[0] + 1)),
    "inverse root": lambda x: x.astype(jnp.bfloat16) * (x.shape[0] + 1) ** -0.5,
    "numpy's root": lambda x: x.astype(jnp.bfloat16) / np.sqrt(x.shape[0] + 1),
    "numpy's logarithm": lambda x: x * np.log(x.shape[0] + 1) + np.log2(x.shape[0] + 1),
    "an exponent": lambda x: x * 0.9 ** x.shape[0],
    "a base": lambda x: x * 10000 ** (-2 / (x.shape[0] + 1)),
    "two sizes": lambda x: x * (x.shape[0] / (x.shape[0] + 3)),
    "remainder": lambda x: x * ((x.shape[0] / 2) % 1) + x.shape[0] / 3 // 1,
    "arrays": lambda x: jnp.full(x.shape, x.shape[0] / 3) + jnp.asarray(x.shape[0] / 7) + jnp.where(x > 0, x.shape[0] * 0.5, x),
    "gradient": jax.grad(lambda x: (x * x / (x.shape[0] + 1) ** 0.5).sum()),
    "scan": lambda x: jax.lax.scan(lambda c, v: (c + v * x.shape[0] ** 0.5, v), 0.0, x)[0],
    "results": lambda x: (x.shape[0] / 2, np.sqrt(x.shape[0]), x.shape[0] ** 0.5),
    "floor": lambda x: x[: math.floor(x.shape[0] / 2)],
    "ceiling": lambda x: x[: math.ceil(x.shape[0] / 3 + 1)],
    "rounded": lambda x: x[: round(x.shape[0] / 4)],
    "numpy's ceiling": lambda x: x[: np.ceil(x.shape[0] / 2).astype(int)],
    "a tenth": lambda x: x[: math.floor(0.1 * x.shape[0])],
    "the rounding of a size": lambda x: x[: round(x.shape[0]) // 2] * math.floor(x.shape[0]),
}


def run(f, x):
    try:
        return jax.tree.leaves(f(x))
    except ArithmeticError as err:
        return type(err)


def compared(fun, sizes=SIZES):
    f = sod2.jit(fun, shapes=("n",))
    for n in sizes:
        x = np.linspace(0.1, 1, n, dtype=np.float32)
        got, want = run(f, x), run(jax.jit(fun), x)
        if isinstance(want, type):
            assert got is want
            continue
        for a, b in zip(got, want, strict=True):
            assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
            rtol = 0 if a.dtype == jnp.bfloat16 else 4 * np.finfo(a.dtype).eps
            np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=rtol)
    return f.cache_info().compiles


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", ONCE)
def test_one_compilation_serves_all_sizes(name, wide):
    with jax.enable_x64(wide):
        assert compared(ONCE[name], SIZES if not wide else (6, 1, 0)) == 1


# At most one compilation for each answer.
SEVERAL = {
    "comparison": (lambda x: x * 2 if x.shape[0] / 2 > 3.2 else x, 2),
    "comparison of a root": (lambda x: x * 2 if x.shape[0] ** 0.5 > 3.2 else x, 2),
    "equality": (lambda x: x * 2 if x.shape[0] / 2 == x.shape[0] // 2 else x, 2),
    "maximum": (lambda x: x * max(x.shape[0] / 2, 3.3), 2),
    "floor of a root": (lambda x: x[: math.floor(x.shape[0] ** 0.5)], 6),
    "bits": (lambda x: x[: x.shape[0].bit_length() // 2], 6),
    "rounding errors": (lambda x: x[: math.floor(0.29 * x.shape[0])], 4),
    "no size is divided by": (lambda x: x * (1 / x.shape[0]), 1),
    "no size has a root in a divisor": (lambda x: x * x.shape[0] ** -0.5, 1),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_questions_about_floats_are_guards(name):
    fun, most = SEVERAL[name]
    assert compared(fun) <= most


def at(n):
    scope = Scope({"n": (0, None)}, (), {"n": n})
    return scope, scope.dim(sym("n"))




FORMULAS = [
    lambda n: n / 2, lambda n: n / 3 + 1, lambda n: (n + 1) / 4, lambda n: n / 49 * 49, lambda n: n * 0.1, lambda n: 0.7 * n,
    lambda n: 0.29 * n, lambda n: n * 1.5 - 2, lambda n: 3 - n / 2, lambda n: n / 0.1, lambda n: n / 3 / 5, lambda n: n / 6 * 4,
    lambda n: n**0.5, lambda n: n / 2 + n / 3, lambda n: -n / 3, lambda n: 100 / (n + 1), lambda n: n * 0.25 / 3,
    lambda n: n / 10 * 3,
]  # fmt: skip


@pytest.mark.parametrize("formula", range(len(FORMULAS)))
@pytest.mark.parametrize("function", [math.floor, math.ceil, math.trunc, round])
def test_integers_of_floats_are_pythons_at_all_sizes_that_the_guards_allow(formula, function):
    f = FORMULAS[formula]
    for hint in (0, 1, 2, 7, 10, 100, 49, 1000):
        scope, n = at(hint)
        value = function(f(n))
        for size in {*range(130), hint, 1000, 1001, 12345, 10**6, 2**40 + 1}:
            if all(holds(g.cond, size) for g in scope.guards):
                expr = value if isinstance(value, int) else value.expr.eval({"n": size})
                assert expr == function(f(size)), (hint, size, scope.guards)
        assert all(holds(g.cond, hint) for g in scope.guards)


def holds(cond, n):
    a, b = cond.lhs.eval({"n": n}), cond.rhs.eval({"n": n})
    return {"==": a == b, "!=": a != b, "<=": a <= b, "<": a < b}[cond.op]


@pytest.mark.parametrize("other", [2, 2.5, 0.1, 1 / 3, 5.0, float("inf"), -float("inf")])
@pytest.mark.parametrize("formula", [0, 1, 3, 5, 8, 12, 13])
def test_comparisons_are_pythons_at_all_sizes_that_the_guards_allow(formula, other):
    f = FORMULAS[formula]
    for hint in (0, 1, 3, 5, 50):
        scope, n = at(hint)
        for op in ("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__"):
            answer = getattr(f(n), op)(other)
            for size in range(130):
                if all(holds(g.cond, size) for g in scope.guards):
                    assert answer == getattr(float(f(size)), op)(float(other)), (hint, size, op)


def test_without_sizes_at_hand_a_divisor_is_checked_by_what_is_compiled():
    scope = Scope({"n": (0, None)})
    value = 1 / scope.dim(sym("n")) ** 0.5
    assert value.hint is None
    assert [str(g.cond) for g in scope.guards] == ["n != 0"] or scope.box.lower(sym("n")) == 1


def test_kinds_and_texts():
    scope, n = at(5)
    assert type(n / 2) is SizeFloat
    assert type(np.sqrt(n)) is SizeFloat64
    assert type(np.sqrt(n) / 2) is SizeFloat64
    assert text((n / 2 + 1).code) == "((n / 2.0) + 1.0)"
    assert (n / 2).hint == 2.5
    assert LARGEST == 2**48
    assert not scope.guards
    assert f"{n / 2}" == "2.5"  # a text is a question
    assert [str(g.cond) for g in scope.guards] == ["n == 5"]
    with pytest.raises(ZeroDivisionError):
        1 / at(0)[1]
    with pytest.raises(TypeError):
        n / "2"


CONSTANTS = (0.1, 0.2, 0.3, 0.7, 1.1, 0.25, 0.5, 3.0, 10, 2, 7, 1e-3, 0.15, 1 / 3)
DECIDED = ("{} == {c}", "{} < {c}", "{} >= {c}", "int({})", "math.ceil({})", "{}", "{c} in ({}, {c} / 3)", "max({}, {c}) == {c}")


def drawn_float(rng, depth=2) -> str:
    if not depth or rng.random() < 0.35:
        return rng.choice(("n", "n", "n * 3", "(n + 1)"))
    operator = rng.choice(("*", "/", "//", "%", "+", "-"))
    if rng.random() < 0.15:
        return f"({rng.choice(CONSTANTS)} {operator} (n + 1))"
    return f"({drawn_float(rng, depth - 1)} {operator} {rng.choice(CONSTANTS)})"


@pytest.mark.filterwarnings("ignore::sod2jax.errors.StaticSizeWarning")
def test_floats_of_sizes_are_pythons(pytestconfig):
    """Random formulas, used as a value, an integer and in comparisons: `n // .1` and `n * .1 == .3` show what rounds twice."""
    rng = random.Random(pytestconfig.getoption("--seed"))
    known = ["n // .1", "n % .1", "int(n // .2)", "(n / 2) // .1", "n * .1 == .3", "n * .1 in (.3, .7)", "int((n * .3) / .2)"]
    drawn = [rng.choice(DECIDED).format(drawn_float(rng), c=rng.choice(CONSTANTS)) for _ in range(60)]
    for formula in [*known, *drawn]:
        fun = eval(compile(f"lambda n, x: x * 0 + ({formula})", "model.py", "eval"), {"math": math})
        compiled = sod2.jit(lambda x, fun=fun: fun(x.shape[0], x.sum()), shapes=("n",))
        for n in (3, 24, *rng.sample(range(1, 41), 4)):
            found, wanted = compiled(np.zeros(n, np.float32)), fun(n, np.float32(0))
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6, err_msg=f"{formula} at {n}")


@pytest.mark.parametrize(
    "fun",
    [
        lambda n: np.arange(7) < n,
        lambda n: n >= np.arange(7),
        lambda n: np.arange(7) == n,
        lambda n: np.not_equal(np.array([4, 9.5]), n / 2),
        lambda n: np.arange(7.0) < n / 3,
        lambda n: np.float32(5) <= n,
        lambda n: np.int8(4) == n,
        lambda n: np.float64(2.0) > n / 2,
        lambda n: n ** np.arange(3),
        lambda n: np.arange(3) ** n,
    ],
)
def test_numpy_arrays_and_numbers_beside_sizes(fun):
    whole = lambda x: jnp.asarray(fun(x.shape[0])) + jnp.zeros((), bool)
    compiled = sod2.jit(whole, shapes="n")
    for n in (4, 5, 7):
        np.testing.assert_array_equal(compiled(np.ones(n)), jax.jit(whole)(np.ones(n)))
