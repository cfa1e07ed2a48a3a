"""The lattice, and how facts read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sod2jax.analyse.rdp import analyse
from sod2jax.ir.box import Box
from sod2jax.ir.expr import const, parse, sym
from sod2jax.ir.facts import NAC, UNDEF, Known, facts_text, meet, meet_shapes, of_constant
from sod2jax.ir.program import Cond
from sod2jax.ir.scope import Scope

S, T = sym("s"), sym("t")
BOX = Box({"s": (0, None), "t": (0, None)})
LEVELS = st.sampled_from([UNDEF, NAC, S, T, S + T, const(3)])


@given(LEVELS, LEVELS, LEVELS)
def test_meet_is_a_lattices(a, b, c):
    assert meet(a, a, BOX) is a
    assert meet(a, b, BOX) is meet(b, a, BOX)
    assert meet(meet(a, b, BOX), c, BOX) is meet(a, meet(b, c, BOX), BOX)
    assert meet(a, UNDEF, BOX) is a
    assert meet(a, NAC, BOX) is NAC


def test_meet_knows_what_the_box_knows():
    box = Box({"s": (0, None), "t": (0, None)}, ["t == s + 1"])
    assert meet(T, S + 1, box) is T
    assert meet(T, S + 1, BOX) is NAC


def test_shapes_meet_by_dimension():
    assert meet_shapes((S, T), (S, S), BOX) == (S, NAC)
    assert meet_shapes((S,), (S, T), BOX) is NAC
    assert meet_shapes(UNDEF, (S,), BOX) == (S,)
    assert meet_shapes((S,), NAC, BOX) is NAC


def known(*elements, needs=()):
    array = np.empty(len(elements), object)
    array[:] = elements
    return Known(array, frozenset(needs))


def test_values_meet_by_element_and_keep_all_needs():
    a, b = Cond(S, "<=", const(9)), Cond(T, "<=", const(9))
    both = known(S, T, None, needs=[a]).meet(known(S, S, S, needs=[b]), BOX)
    assert str(both) == "[s, nac, nac]"
    assert both.needs == {a, b}
    assert known(S).meet(known(T), BOX) is None
    assert known(S).meet(None, BOX) is None


def test_constants():
    assert str(of_constant(np.array([[1, -2]]))) == "[[1, -2]]"
    assert str(of_constant(np.bool_(True))) == "1"
    assert of_constant(1.5) is None


@pytest.fixture
def traced():
    scope = Scope()
    b, s = scope.symbol("b"), scope.symbol("s", 1, 512)
    scale = jnp.arange(3)

    def fun(x):
        n = jnp.asarray(x.shape[1])
        return jnp.concatenate([scale, n[None], (n // 2)[None]]), x * 2, jnp.arange(x.shape[1])

    closed = jax.make_jaxpr(fun)(jax.ShapeDtypeStruct((b, s), np.float32))
    return closed, analyse(closed, scope.box)


def test_questions(traced):
    closed, facts = traced
    sizes, doubled, positions = closed.jaxpr.outvars
    assert [str(e) for e in facts.value(sizes)] == ["0", "1", "2", "s", "s // 2"]
    assert facts.known(sizes)
    assert facts.integer(sizes) is None
    assert facts.value(doubled) is None
    assert not facts.known(doubled)
    assert facts.shape(doubled) == (sym("b"), sym("s"))
    assert positions in facts.determined
    assert facts.needs(sizes) == frozenset()
    (size,) = (v for eqn in closed.jaxpr.eqns for v in eqn.outvars if facts.integer(v) is sym("s") and not v.aval.shape)
    assert facts.known(size)


def test_literals_are_understood(traced):
    closed, facts = traced
    literal = next(v for eqn in closed.jaxpr.eqns for v in eqn.invars if hasattr(v, "val") and v.aval.dtype == np.int32)
    assert facts.integer(literal) is const(int(literal.val))
    assert facts.shape(literal) == ()


def test_text_has_a_line_per_eqn(traced):
    closed, facts = traced
    text = facts_text(facts)
    lines = text.splitlines()
    numbered = [line for line in lines if line[0].isdigit()]
    assert len(numbered) == len(closed.jaxpr.eqns)
    assert all(eqn.primitive.name in line for eqn, line in zip(closed.jaxpr.eqns, numbered, strict=True))
    assert "size s in 1..512" in lines
    assert "= [0, 1, 2, s, s // 2]" in text
    assert "shape-determined" in text
    assert "test_facts.py" in text
    assert "f32[b, s]" in text
    assert str(facts) == text


def test_expressions_of_a_fact_can_be_read_back(traced):
    closed, facts = traced
    for e in facts.value(closed.jaxpr.outvars[0]):
        assert parse(str(e)) is e
