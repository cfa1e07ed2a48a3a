"""The normal form against Python's integers."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sod2jax.ir.expr import as_expr, ceildiv, const, floordiv, maximum, minimum, mod, parse, sym

NAMES = "bsmq"
b, s, m, q = map(sym, NAMES)


@st.composite
def expressions(draw, depth=4):
    """(Expr, function env -> int) built side by side. Divisors are nonzero at the values drawn in `environments`."""
    kind = draw(
        st.sampled_from(["const", "sym"] if depth == 0 else ["const", "sym", "+", "-", "*", "//", "%", "min", "max", "k"])
    )
    if kind == "const":
        n = draw(st.integers(-9, 9))
        return const(n), lambda env: n
    if kind == "sym":
        name = draw(st.sampled_from(NAMES))
        return sym(name), lambda env: env[name]
    x, fx = draw(expressions(depth=depth - 1))
    if kind == "k":
        n = draw(st.integers(-70, 70))
        return x * n, lambda env: fx(env) * n
    if kind in ("//", "%") and draw(st.booleans()):
        n = draw(st.integers(-12, 12).filter(bool))
        y, fy = const(n), lambda env: n
    else:
        y, fy = draw(expressions(depth=depth - 1))
    match kind:
        case "+":
            return x + y, lambda env: fx(env) + fy(env)
        case "-":
            return x - y, lambda env: fx(env) - fy(env)
        case "*":
            return x * y, lambda env: fx(env) * fy(env)
        case "//" | "%" if y == 0:
            return x, fx
        case "//":
            return x // y, lambda env: fx(env) // fy(env)
        case "%":
            return x % y, lambda env: fx(env) % fy(env)
        case "min":
            return minimum(x, y), lambda env: min(fx(env), fy(env))
    return maximum(x, y), lambda env: max(fx(env), fy(env))


environments = st.fixed_dictionaries({n: st.integers(-40, 40) for n in NAMES})


@settings(max_examples=400, deadline=None)
@given(expressions(), environments)
def test_normal_form_keeps_the_value(pair, env):
    e, f = pair
    try:
        want = f(env)
    except ZeroDivisionError:
        return
    assert e.eval(env) == want
    assert e.subs(env).value == want
    moved = {"b": env["q"] + 1, "m": 3}
    try:
        want = f({**env, **moved})
    except ZeroDivisionError:
        return
    assert e.subs({"b": q + 1, "m": 3}).eval(env) == want


@settings(max_examples=200, deadline=None)
@given(expressions())
def test_copies_are_the_same_object(pair):
    e, _ = pair
    assert copy.deepcopy(e) is e
    assert pickle.loads(pickle.dumps(e)) is e


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (lambda: (b * s + q) // s, "b + q // s"),
        (lambda: (b * s + q) % s, "q % s"),
        (lambda: (64 * b + s) // 64, "b + s // 64"),
        (lambda: (4 * s + 3) // 6, "(2*s + 1) // 3"),
        (lambda: (4 * s + 3) % 6, "2*((2*s + 1) % 3) + 1"),
        (lambda: -((-s) // 2), "(s + 1) // 2"),
        (lambda: ceildiv(s, 64), "(s + 63) // 64"),
        (lambda: (b * (s + 1)) // (s + 1), "b"),
        (lambda: (6 * b * s) // (4 * s), "b + b // 2"),
        (lambda: (b * s * q) % (s * m), "s*((b*q) % m)"),
        (lambda: minimum(s + 1, s, b), "min(b, s)"),
        (lambda: maximum(s, maximum(b, s + 2)), "max(b, s + 2)"),
        (lambda: (s + 1) * (s - 1), "s**2 - 1"),
        (lambda: 2 * (s // 2) + b * s + minimum(b, s), "b*s + 2*(s // 2) + min(b, s)"),
        (lambda: 0 - s // 2 - b, "-b - s // 2"),
        (lambda: ((s + 1) // 2 + 1) // 2, "(s + 3) // 4"),
        (lambda: (m // s) // 4, "m // (4*s)"),
        (lambda: s % -4, "-(-s % 4)"),
    ],
)
def test_normal_forms(got, want):
    assert str(got()) == want or got() is parse(want)


def test_interning_and_comparison():
    assert b + s is s + b
    assert (b + s) - s == b
    assert hash(const(3)) == hash(3)
    assert const(3) == 3
    assert const(3) == np.int64(3)
    assert b != 3
    assert (s - s) == 0
    assert as_expr(np.int32(7)).value == 7
    assert s.value is None
    assert np.int64(2) * s == 2 * s
    assert (np.int64(6) // const(2)) == 3
    with pytest.raises(TypeError):
        bool(s)
    with pytest.raises(TypeError):
        as_expr(1.5)
    with pytest.raises(TypeError):
        s + 1.5


def test_linear():
    i = sym("i")
    coefficients, rest = (i * s * 64 + 2 * i + s // 2 + b).linear({"i"})
    assert coefficients == {"i": 64 * s + 2}
    assert rest == s // 2 + b
    assert (i * i).linear({"i"}) is None
    assert (i // 2).linear({"i"}) is None
    assert (s // 2).linear({"i"}) == ({}, s // 2)


@pytest.mark.parametrize("name", ["min", "x y", "3", "for", ""])
def test_bad_names(name):
    with pytest.raises(ValueError, match="cannot name a size"):
        sym(name)


def test_zero_divisor():
    with pytest.raises(ZeroDivisionError):
        floordiv(s, 0)
    with pytest.raises(ZeroDivisionError):
        mod(s, s - s)


def test_deep_sharing_stays_small():
    e = s
    for i in range(200):
        e = maximum(e + b * i, e * 2)  # as a tree this has 2**200 leaves
    assert len(e.key) < 200
    assert e.eval({"b": 0, "s": 1}) == 2**200
