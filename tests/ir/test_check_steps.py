"""The step checker passes right loops, branches and host calls, and names what is wrong with each wrong one."""

from dataclasses import replace

import numpy as np
import pytest

from sod2jax.ir.check import ProgramError, check
from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer, Kernel, Load, Op, Store
from sod2jax.ir.program import Branch, Extern, Host, HostCall, Input, Loop, Output, Program, Slot, Step, SymbolDef

F32, I32, I64, BOOL = map(np.dtype, (np.float32, np.int32, np.int64, bool))
B, N, I = sym("b"), sym("n"), sym("i")
X, STATE, NEXT, TEMP, COUNTER, PRED, INDEX, OUT = range(8)


def kernel(name="exp", inplace=(), access="w"):
    """out[i] = exp(x[i])"""
    body = (Store("out", I, Op("exp", (Load("x", I, F32),), F32)),)
    return Kernel(name, (Buffer("x", F32, "r"), Buffer("out", F32, access, inplace)), ("n",), (), "i", N, body)


def scalar(name, source, dtype, value):
    """out[0] = value(x[0])"""
    store = Store("out", const(0), value(Load("x", const(0), source)))
    return Kernel(name, (Buffer("x", source, "r"), Buffer("out", dtype, "w")), (), (), "i", const(1), (store,))


KERNELS = (
    kernel(),
    scalar("below", F32, BOOL, lambda x: Op("lt", (x, x), BOOL)),
    scalar("which", F32, I32, lambda x: Op("convert", (x,), I32)),
    kernel("exp_over", inplace=("x",)),
    Extern("copy", (Buffer("x", F32, "r"), Buffer("y", F32, "w")), ()),
)


def exp(*slots, number=0):
    return Step(number, slots, (B,), B, B, const(0))


def below(source=STATE):
    return Step(1, (source, PRED), (), const(1), const(1), const(0))


def program(*steps, lives=None):
    """Steps over f32[b] buffers: x, state, next, temp and out, with a counter, a condition and an index. All live for ever."""
    end = 99
    arena = lambda k, dtype, shape, nbytes, at, name: Slot(
        "arena", k, dtype, shape, nbytes, at, *(lives or {}).get(name, (0, end)), name
    )
    room = B * 64
    slots = (
        Slot("input", 0, F32, (B,), 4 * B, name="x"),
        *(arena(k, F32, (B,), 4 * B, k * room, name) for k, name in enumerate(("state", "next", "temp"))),
        arena(3, I64, (), const(8), 3 * room, "counter"),
        arena(4, BOOL, (), const(1), 3 * room + 64, "pred"),
        arena(5, I32, (), const(4), 3 * room + 128, "index"),
        Slot("output", 0, F32, (B,), 4 * B, name="out"),
    )
    return Program(
        "nested", (SymbolDef("b", 0, 0),), (Input("x", F32, (B,)),), (Output(F32, (B,), OUT),), slots, steps, KERNELS,
        hosts=(Host("solve", print),), arena=3 * room + 192, bounds={"b": (1, None)},
    )  # fmt: skip


FIRST, LAST = exp(X, STATE), exp(STATE, OUT)


def wrong(given, *words):
    with pytest.raises(ProgramError) as caught:
        check(given, samples=50)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "steps",
    [
        (Loop((exp(STATE, NEXT),), B, COUNTER, swaps=((STATE, NEXT),)),),
        (Loop((exp(STATE, TEMP), exp(TEMP, STATE)), None, None, (below(),), PRED),),
        (Loop((exp(STATE, TEMP), Loop((exp(TEMP, NEXT),), B), exp(TEMP, STATE)), B),),
        (below(), Branch(PRED, ((exp(X, TEMP),), (exp(STATE, TEMP),))), exp(TEMP, STATE)),
        (HostCall(0, (X, STATE), (TEMP,)), exp(TEMP, STATE)),
        (Step(4, (X, TEMP), (), B, B, const(0)), exp(TEMP, STATE)),
        (Loop((exp(X, TEMP),), B), exp(TEMP, STATE)),
    ],
    ids=["swaps", "while", "nested", "branch", "host", "extern", "stacked"],
)
def test_right_programs_pass(steps):
    assert check(program(FIRST, *steps, LAST), samples=50) == 50


def test_names_and_numbers():
    wrong(program(FIRST, HostCall(3, (X,), (TEMP,)), LAST), "host function 3 does not exist")
    wrong(program(FIRST, HostCall(0, (77,), (TEMP,)), LAST), "slot 77 does not exist")
    wrong(program(FIRST, HostCall(0, (STATE,), (X,)), LAST), "by a host call, and it is input")
    wrong(program(FIRST, Branch(STATE, ((), ())), LAST), "has its index in slot 1 state, float32 of rank 1")
    wrong(program(FIRST, Branch(INDEX, ()), LAST), "has no branches")
    wrong(program(FIRST, Loop((), None), LAST), "without an end")
    wrong(program(FIRST, Loop((), B, counter=INDEX), LAST), "has its counter in slot 6 index, int32")
    wrong(program(FIRST, Loop((), None, pred=INDEX), LAST), "must be a scalar of bool")
    wrong(program(FIRST, Loop((exp(STATE, TEMP),), B, swaps=((X, TEMP),)), LAST), "by a change of places, and it is input")
    wrong(program(FIRST, Loop((exp(STATE, NEXT),), B, swaps=((STATE, NEXT), (NEXT, TEMP))), LAST), "change places twice")
    wrong(program(FIRST, Loop((), sym("q")), LAST), "uses q")


def test_pairs_have_equal_bytes():
    given = program(FIRST, Loop((HostCall(0, (), (COUNTER,)),), B, swaps=((STATE, COUNTER),)), LAST)
    wrong(given, "lets slots 1 and 4 change places, of 4*b and 8 bytes")


def test_what_may_not_have_run_wrote_nothing():
    once = Loop((exp(X, TEMP),), None, None, (below(),), PRED)
    wrong(program(FIRST, once, exp(TEMP, OUT)), "step 4 reads slot 3 temp as x of exp before")
    wrong(program(FIRST, below(), Branch(PRED, ((exp(X, TEMP),), ())), exp(TEMP, OUT)), "step 4 reads slot 3 temp")
    wrong(program(FIRST, Loop((exp(TEMP, NEXT), exp(X, TEMP)), B), LAST), "step 2 reads slot 3 temp")
    wrong(program(FIRST, Branch(INDEX, ((), ())), LAST), "reads slot 6 index as the index of a branch before")
    wrong(program(FIRST, Loop((), None, pred=PRED), LAST), "as the condition of a loop before")
    wrong(program(Loop((exp(X, NEXT),), B, swaps=((STATE, NEXT),)), LAST), "as the state of a loop before")
    wrong(program(FIRST, Loop((below(), Branch(PRED, ((), (exp(X, NEXT),)))), B, swaps=((STATE, NEXT),)), LAST),
          "makes slot 2 next the state of a loop, and not every iteration writes it")  # fmt: skip


def test_lives_in_loops():
    body = (exp(STATE, TEMP), exp(TEMP, NEXT))
    loop = Loop(body, B, COUNTER, swaps=((STATE, NEXT),))  # positions 1 to 3
    good = {"state": (0, 4), "next": (1, 3), "temp": (2, 3), "counter": (1, 3)}
    assert check(program(FIRST, loop, LAST, lives=good), samples=50) == 50
    for name, life, words in (
        ("temp", (2, 2), "step 3 uses slot 3 temp, which lives from step 2 to 2"),
        ("next", (2, 3), "lets slot 2 next change places until step 3, and it lives from step 2 to 3"),
        ("next", (1, 2), "lets slot 2 next"),
        ("counter", (2, 3), "step 1 uses slot 4 counter"),
    ):
        wrong(program(FIRST, loop, LAST, lives={**good, name: life}), words)
    outside = Loop((exp(TEMP, NEXT), exp(NEXT, STATE)), B)  # temp is read in position 3, again in the next iteration
    steps = (FIRST, exp(X, TEMP), outside, LAST)
    assert check(program(*steps, lives={"temp": (1, 4)}), samples=50) == 50
    wrong(program(*steps, lives={"temp": (1, 3)}), "step 3 reads slot 3 temp", "lives from step 1 to 3, but the loop from 2 to 4")


def test_the_condition_lives_until_it_is_asked():
    loop = Loop((exp(STATE, NEXT), exp(NEXT, STATE)), None, None, (below(), exp(STATE, TEMP)), PRED)
    assert check(program(FIRST, loop, LAST, lives={"pred": (2, 3)}), samples=50) == 50
    wrong(program(FIRST, loop, LAST, lives={"pred": (2, 2)}), "step 3 uses slot 5 pred")


def test_nothing_from_outside_ends_in_a_loop():
    def over(inner, lives):
        given = program(FIRST, *inner, LAST, lives=lives)
        slots = [replace(s, offset=given.slots[TEMP].offset) if s.name == "next" else s for s in given.slots]
        return replace(given, slots=tuple(slots))

    body = (exp(STATE, TEMP), exp(TEMP, NEXT, number=3), exp(NEXT, STATE))
    assert check(over((Loop(body, B),), {"temp": (2, 3), "next": (3, 4)}), samples=50) == 50
    last = (exp(TEMP, STATE), exp(TEMP, NEXT, number=3))
    steps = (exp(X, TEMP), Loop(last, B))
    wrong(over(steps, {"temp": (1, 4), "next": (4, 4)}), "overlap")


def test_what_prepares_stands_alone():
    given = program(FIRST, Loop((replace(exp(X, TEMP), prepare=(0,)),), B), LAST)
    wrong(given, "step 2 prepares, and stands within another")


def test_outputs_over_donated_inputs():
    def given(*steps, **changes):
        made = program(*steps)
        return replace(made, outputs=(replace(made.outputs[0], **{"donor": 0, **changes}),))

    assert check(given(FIRST, LAST), samples=50) == 50
    assert check(given(exp(X, OUT, number=3)), samples=50) == 50
    wrong(given(exp(X, OUT)), "output 0 may lie over input 0, which is read until step 0; the output is written from step 0 on")
    wrong(given(FIRST, LAST, exp(X, TEMP)), "which is read until step 2; the output is written from step 1 on")
    again = Loop((exp(X, OUT, number=3),), B)
    wrong(given(FIRST, again), "which is read until step 2; the output is written from step 2 on")
    wrong(given(FIRST, LAST, donor=3), "which does not exist")
    both = given(FIRST, LAST)
    wrong(replace(both, outputs=both.outputs * 2), "as another output does")
    wrong(replace(both, outputs=(*both.outputs, Output(F32, (B,), None, forward=0))), "which another output hands back")
    forwarded = replace(both, outputs=(Output(F32, (B,), None, forward=0, donor=0),))
    assert check(forwarded, samples=50) == 50
