"""Negation, common factors, and numbers that no size can be."""

import pytest

from sod2jax.ir.box import parse_conds
from sod2jax.ir.comparison import by_integer, is_remainder, negation, reduced
from sod2jax.ir.expr import parse


def test_negation_and_reduction():
    (cond,) = parse_conds("a < b")
    assert str(negation(cond)) == "b <= a"
    assert negation(negation(cond)) == cond
    (cond,) = parse_conds("-2*(n % 2) == 0")
    assert str(reduced(cond)) == "n % 2 == 0"
    (cond,) = parse_conds("4*s <= 6*t")
    assert str(reduced(cond)) == "2*s <= 3*t"


@pytest.mark.parametrize("op", ["==", "<", "<=", ">", ">="])
@pytest.mark.parametrize("number", [4.0, 4.5, -0.5, float("inf"), -float("inf"), float("nan")])
def test_a_float_compares_like_some_integer(op, number):
    compare = lambda n, x: {"==": n == x, "<": n < x, "<=": n <= x, ">": n > x, ">=": n >= x}
    found = by_integer(op, number)
    for n in range(8):
        assert (found if isinstance(found, bool) else compare(n, found[1])[found[0]]) == compare(n, number)[op]


def test_remainders():
    assert is_remainder(parse("n % 2"))
    assert not is_remainder(parse("n // 2 + 1"))
