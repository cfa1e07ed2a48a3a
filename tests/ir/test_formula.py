"""Formulas of floats: their values, texts and growth, against Python at many sizes."""

import math

import numpy as np
import pytest

from sod2jax.ir.expr import sym
from sod2jax.ir.formula import FUNCTIONS, at_size, at_sizes, evaluate, growth, last_true, numbered, sizes_of, text

N = ("size", sym("n"))
TWO, HALF = ("number", 2.0), ("number", 0.5)


def test_values_are_pythons_and_numpys():
    code = ("div", ("number", 1.0), ("pow", ("add", N, TWO), HALF))
    assert evaluate(code, {"n": 7}) == 1.0 / (7 + 2.0) ** 0.5
    assert evaluate(at_size(code, 7), {}) == 1.0 / 3.0
    assert evaluate(("log", N), {"n": 0}, wide=True) == -math.inf
    with pytest.raises(ValueError, match="math domain"):
        evaluate(("log", N), {"n": 0})
    with pytest.raises(ValueError, match="complex"):
        evaluate(("pow", ("neg", N), HALF), {"n": 2})


def test_sizes_are_numbered_and_put_back():
    code = ("mul", ("size", sym("b")), ("add", N, ("size", sym("b"))))
    sizes = tuple(dict.fromkeys(sizes_of(code)))
    assert sizes == (sym("b"), sym("n"))
    assert numbered(code, sizes) == ("mul", ("size", 0), ("add", ("size", 1), ("size", 0)))
    assert evaluate(at_sizes(numbered(code, sizes), {"size0": 3, "size1": 4}), {}) == 21


def test_text_is_python():
    code = ("sub", ("sqrt", N), ("mul", TWO, ("size", sym("n") + 1)))
    assert text(code) == "(sqrt(n) - (2.0 * (n + 1)))"


@pytest.mark.parametrize(
    "code",
    [("div", N, TWO), ("div", TWO, ("add", N, HALF)), ("sub", TWO, N), ("pow", N, HALF), ("pow", ("add", N, HALF), ("neg", HALF)),
     ("pow", HALF, N), ("pow", TWO, N), ("log", ("add", N, TWO)), ("neg", ("sqrt", N)), ("mul", N, ("sqrt", N)), ("max", N, TWO),
     ("mul", ("number", -3.0), N), ("floor", ("div", N, TWO)), ("abs", N), ("sub", N, ("sqrt", N)), ("sin", N),
     ("mul", N, ("neg", N))],
)  # fmt: skip
def test_growth(code):
    values = np.array([evaluate(code, {"n": n}) for n in range(40)])
    match growth(code):
        case 1:
            assert (np.diff(values) >= 0).all()
        case -1:
            assert (np.diff(values) <= 0).all()
        case _:
            assert code[0] in ("sub", "sin", "mul", "pow")


def test_functions_of_both_libraries_agree():
    for name, function in FUNCTIONS.items():
        args = [2.5, 1.5][: len(function.grows)]
        assert function.python(*args) == pytest.approx(float(function.numpy(*args)), rel=1e-15), name


def test_last_true():
    assert last_true(lambda n: n < 77, 5, 10**9) == 76
    assert last_true(lambda n: n > 2, 5, 0) == 3
    assert last_true(lambda n: True, 5, 10**9) == 10**9
