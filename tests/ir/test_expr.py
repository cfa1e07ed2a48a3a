"""Expressions as text, as stack code and in sympy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sod2jax.ir import expr
from sod2jax.ir.expr import const, maximum, minimum, parse, postfix, sym

NAMES = "bsmq"
b, s, m, q = map(sym, NAMES)

leaves = st.one_of(st.integers(-9, 9).map(const), st.sampled_from([b, s, m, q]))
nonzero = leaves.filter(lambda e: e.value != 0)
expressions = st.recursive(
    leaves,
    lambda es: st.one_of(
        st.tuples(es, es).map(lambda p: p[0] + p[1]),
        st.tuples(es, es).map(lambda p: p[0] - 7 * p[1]),
        st.tuples(es, es).map(lambda p: p[0] * p[1]),
        st.tuples(es, es).map(lambda p: minimum(*p)),
        st.tuples(es, es).map(lambda p: maximum(*p)),
        st.tuples(es, st.one_of(nonzero, es.filter(lambda e: e.value != 0))).map(lambda p: p[0] // p[1]),
        st.tuples(es, nonzero).map(lambda p: p[0] % p[1]),
    ),
    max_leaves=8,
)
environments = st.fixed_dictionaries({n: st.integers(-40, 40) for n in NAMES})


@settings(max_examples=300, deadline=None)
@given(expressions)
def test_text_round_trip(e):
    assert parse(str(e)) is e


@settings(max_examples=200, deadline=None)
@given(expressions, environments)
def test_text_is_python(e, env):
    try:
        want = e.eval(env)
    except ZeroDivisionError:
        return
    assert eval(str(e), {"min": min, "max": max}, env) == want


def run_postfix(code, env):
    stack = []
    two = {"ADD": lambda a, b: a + b, "SUB": lambda a, b: a - b, "MUL": lambda a, b: a * b, "FLOORDIV": lambda a, b: a // b,
           "MOD": lambda a, b: a % b, "MIN": min, "MAX": max}  # fmt: skip
    for op, operand in code:
        if op == "CONST":
            stack.append(operand)
        elif op == "SYM":
            stack.append(env[operand])
        else:
            y = stack.pop()
            stack.append(two[op](stack.pop(), y))
    (value,) = stack
    return value


@settings(max_examples=300, deadline=None)
@given(expressions, environments)
def test_postfix(e, env):
    try:
        want = e.eval(env)
    except ZeroDivisionError:
        return
    assert run_postfix(postfix(e), env) == want


def test_functions_of_users():
    assert parse("floordiv(s, 2) + mod(s, 2) + ceildiv(b, 3)") is s // 2 + s % 2 + (b + 2) // 3
    assert parse(" -s**2 + +b ") is b - s * s


@pytest.mark.parametrize("text", ["", "s +", "2.5", "s / 2", "f(s)", "s if b else m", "lambda", "s[0]", "s ** -1", "True"])
def test_bad_text(text):
    with pytest.raises(ValueError, match="cannot read"):
        parse(text)


def test_sympy():
    import sympy

    e = b * s + 2 * (s // 2) + minimum(b, s) + s % 3
    x = expr.to_sympy(e)
    assert int(x.subs({sympy.Symbol("b", integer=True): 5, sympy.Symbol("s", integer=True): 7})) == e.eval({"b": 5, "s": 7})
