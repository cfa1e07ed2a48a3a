"""Reports say what the facts and the Program say."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sod2jax.analyse.explain import explain, shortened
from sod2jax.analyse.rdp import analyse
from sod2jax.ir.expr import const, parse, sym
from sod2jax.ir.loops import Kernel
from sod2jax.ir.program import Branch, Cond, Guard, Host, HostCall, Input, Loop, Program, Slot, Step, SymbolDef
from sod2jax.ir.scope import Scope

F32 = np.dtype(np.float32)
S = sym("s")


@pytest.fixture
def facts():
    scope = Scope()
    s = scope.symbol("s", 1, 512)
    closed = jax.make_jaxpr(lambda x: jnp.exp(x) / jnp.asarray(x.shape[0]))(jax.ShapeDtypeStruct((s,), np.float32))
    return analyse(closed, scope.box)


@pytest.fixture
def program():
    nothing = Kernel("exp_div", (), (), (), "i", S, ())
    return Program(
        "mean<1>",
        symbols=(SymbolDef("s", 0, 0),),
        inputs=(Input("x", F32, (S,)),),
        outputs=(),
        slots=(Slot("input", 0, F32, (S,), 4 * S), Slot("arena", 0, F32, (S,), 4 * S, const(0))),
        steps=(Step(0, (), (), S, S, const(0), source="exp, div"),),
        kernels=(nothing,),
        guards=(Guard(Cond(parse("s % 2"), "==", const(0)), "version", "", "model.py:3"),),
        arena=4 * S,
        bounds={"s": (1, 512)},
    )


def test_a_report_of_facts(facts):
    text = str(explain(facts, name="mean"))
    assert text.startswith("sod2jax: mean\n")
    assert "s in 1..512" in text
    assert "dim_as_value = s" in text
    assert "ISDOS   input shape determined output shape" in text
    assert "Plan" not in text


def test_a_report_of_a_program(facts, program):
    text = str(explain(facts, program, sizes={"s": 300}))
    assert "s in 1..512, from x axis 0" in text
    assert "version: s % 2 == 0   model.py:3" in text
    assert "1 steps per call and 0 when weights change, of 1 kernels" in text
    assert "0  exp, div" in text
    assert "temporary memory (arena): 4*s = 1,200 bytes" in text


def test_nested_steps_are_told_apart(facts, program):
    (step,) = program.steps
    steps = (Loop((step, step), S), Branch(0, ((step,), ())), Loop((HostCall(0, (), ()),), None, pred=0))
    nested = replace(program, steps=steps, hosts=(Host("cholesky", print),))
    (plan,) = (s.lines for s in explain(facts, nested).sections if s.title == "Plan")
    assert [line.strip() for line in plan] == [
        "3 steps per call and 0 when weights change, of 1 kernels",
        "0  loop x s", "1-2    exp, div", "3  branch of 2", "4    exp, div",
        "5  loop while its condition holds", "6    host call cholesky (library)",
    ]  # fmt: skip


def test_the_page_is_offline_and_escaped(facts, program):
    page = explain(facts, program).html()
    assert page.startswith("<!doctype html>")
    assert "mean&lt;1&gt;" in page
    assert "http" not in page


def test_long_lists_are_shortened():
    assert shortened(["a", "b"], 2) == ["a", "b"]
    assert shortened(["a", "b", "c"], 1) == ["a", "and 2 more"]
