"""The nouns of a Program print as people write them."""

from sod2jax.ir.expr import const, sym
from sod2jax.ir.program import Cond, Guard, Program, Slot


def test_conditions_print():
    assert str(Cond(sym("s") * 2, "<=", const(512))) == "2*s <= 512"
    assert Guard(Cond(sym("a"), "==", sym("b")), "version", "").where == ""


def test_defaults():
    p = Program("f", (), (), (), (), (), ())
    assert (p.guards, p.constants, p.arena, p.bounds) == ((), (), None, {})
    assert Slot("arena", 0, "f4", (), const(4)).offset is None
