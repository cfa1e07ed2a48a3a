"""Sizes that became numbers: the record, and the user's expression at an instruction."""

import sys

from sod2jax.ir.expr import sym
from sod2jax.ir.fixed import NOWHERE, Fixed, Place, needs, place, remedy


def test_a_place_knows_the_expression_that_is_evaluated_there():
    class Asks:
        def __len__(self):
            frame = sys._getframe(1)
            found.append(place(frame.f_code, frame.f_lasti, frame.f_lineno))
            return 3

    found = []
    assert 1 + len(Asks()) + 2 == 6
    (at,) = found
    assert at.expression == "len(Asks())"
    assert at.called == "len"
    assert str(at).startswith(__file__ + ":")
    assert at.function.startswith("test_a_place")


def test_a_place_without_source_has_no_expression():
    found = []
    code = compile("f(sys._getframe(0))", "no such file", "eval")
    eval(code, {"f": lambda frame: found.append(place(frame.f_code, frame.f_lasti, frame.f_lineno)), "sys": sys})
    assert found[0].expression == ""
    assert found[0].called == ""


def test_what_is_said_of_a_fixed_size():
    at = Place("a.py", 7, "f", "len(rows)")
    fixed = Fixed(sym("n"), 5, "`len(rows)`", at, needs("len()"), remedy(at, "len()"))
    assert str(fixed) == (
        "n was fixed to 5 because `len(rows)` at a.py:7 (f) needs a Python int; use rows.shape[0], which stays symbolic"
    )
    assert fixed.broken_by({"n": 6})
    assert not fixed.broken_by({"n": 5})
    assert not fixed.broken_by({"m": 6})


def test_remedies():
    assert "fori_loop" in remedy(Place("a.py", 1, "f", "range(n)"), "an index")
    assert "jax.numpy" in remedy(Place("a.py", 1, "f", "math.sqrt(n)"), "float()")
    assert "x.shape[0]" in remedy(NOWHERE, "len()")
    assert remedy(Place("a.py", 1, "f", "table[n]"), "an index") == ""
