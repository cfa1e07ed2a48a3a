"""The Program checker passes a right program and names what is wrong with each wrong one."""

from dataclasses import replace

import numpy as np
import pytest

from sod2jax.ir.check import ProgramError, check, sample
from sod2jax.ir.expr import ceildiv, const, parse, sym
from sod2jax.ir.loops import Buffer, For, Init, Kernel, Load, Local, Op, Ref, Store, Update
from sod2jax.ir.program import Cond, Guard, Input, Output, Program, Slot, Step, SymbolDef

F32, I64 = np.dtype(np.float32), np.dtype(np.int64)
B, S = sym("b"), sym("s")
ROWS, COLUMNS, I, J = sym("rows"), sym("columns"), sym("i"), sym("j")
N = B * S


def elementwise(name, inplace=False):
    """out[i, j] = exp(x[i, j])"""
    at = I * COLUMNS + J
    store = Store("out", at, Op("exp", (Load("x", at, F32),), F32))
    buffers = (Buffer("x", F32, "r"), Buffer("out", F32, "w", inplace=("x",) if inplace else ()))
    return Kernel(name, buffers, ("rows", "columns"), (), "i", ROWS, (For("j", COLUMNS, (store,), "vector"),))


def row_sum():
    body = (
        Init("total", "add", F32),
        For("j", COLUMNS, (Update("total", Load("x", I * COLUMNS + J, F32)),), "vector"),
        Store("out", I, Ref("total", F32)),
    )
    return Kernel("row_sum", (Buffer("x", F32, "r"), Buffer("out", F32, "w")), ("rows", "columns"), (), "i", ROWS, body)


def aligned(nbytes):
    return ceildiv(nbytes, 64) * 64


def step(kernel, *slots, prepare=()):
    return Step(kernel, slots, (B, S), B, N, const(0), prepare)


@pytest.fixture
def program():
    """exp, exp, then a sum per row: x -> t -> u -> out."""
    size = aligned(4 * N)
    return Program(
        "chain",
        symbols=(SymbolDef("b", 0, 0), SymbolDef("s", 0, 1, scale=2, offset=1)),
        inputs=(Input("x", F32, (B, 2 * S + 1)), Input("y", F32, (B, S))),
        outputs=(Output(F32, (B,), 3), Output(F32, (B, S), None, forward=1)),
        slots=(
            Slot("input", 1, F32, (B, S), 4 * N, name="y"),
            Slot("arena", 0, F32, (B, S), 4 * N, const(0), 0, 1, "t"),
            Slot("arena", 1, F32, (B, S), 4 * N, size, 1, 2, "u"),
            Slot("output", 0, F32, (B,), 4 * B, name="out"),
        ),
        steps=(step(0, 0, 1), step(0, 1, 2), step(1, 2, 3)),
        kernels=(elementwise("exp"), row_sum()),
        guards=(Guard(Cond(parse("s % 4"), "==", const(0)), "version", "s is {lhs}"),),
        arena=2 * size,
        bounds={"b": (0, None), "s": (0, 512)},
    )


def wrong(program, *words):
    with pytest.raises(ProgramError) as caught:
        check(program, samples=200)
    for word in words:
        assert word in str(caught.value)


def edit_slot(program, n, **changes):
    slots = list(program.slots)
    slots[n] = replace(slots[n], **changes)
    return replace(program, slots=tuple(slots))


def edit_step(program, n, **changes):
    steps = list(program.steps)
    steps[n] = replace(steps[n], **changes)
    return replace(program, steps=tuple(steps))


def test_a_right_program_passes_at_every_sample(program):
    assert check(program) == 1000


def test_samples_satisfy_bounds_and_guards(program):
    equal = Guard(Cond(B, "==", 2 * S + 1), "contract", "")
    sizes, count = sample(replace(program, guards=(*program.guards, equal)), 100, np.random.default_rng(0))
    assert count == 100
    assert (sizes["s"] % 4 == 0).all()
    assert (sizes["s"] <= 512).all()
    assert (sizes["b"] == 2 * sizes["s"] + 1).all()
    assert 0 in sizes["s"]


def test_samples_of_steep_formulas_stay_within_int64(program):
    steep = B * B * S * S * (1 << 20)
    assert check(edit_step(program, 0, work=steep)) == 1000


def test_guards_that_nothing_satisfies_leave_no_sample(program):
    never = Guard(Cond(S, "<", const(0)), "version", "")
    assert check(replace(program, guards=(never,))) == 0


def test_overlap(program):
    wrong(edit_slot(program, 2, offset=const(64)), "overlap", "[0, +4*b*s)", "[64, +4*b*s)")
    # Lives that do not meet may share memory.
    assert check(edit_slot(edit_slot(program, 1, last=1), 2, first=1)) == 1000


def test_slots_that_never_live_together_may_overlap(program):
    third = Slot("arena", 2, F32, (B, S), 4 * N, const(0), 2, 3, "v")
    longer = replace(program, slots=(*program.slots, third), steps=(step(0, 0, 1), step(0, 1, 2), step(0, 2, 4), step(1, 4, 3)))
    assert check(edit_slot(longer, 4, first=2)) == 1000
    wrong(edit_slot(longer, 1, last=2), "overlap")


def test_in_place_needs_the_kernels_word_and_the_same_offset(program):
    shared = edit_slot(program, 2, offset=const(0))
    wrong(shared, "overlap")
    in_place = replace(shared, kernels=(*program.kernels, elementwise("exp_in_place", inplace=True)))
    in_place = edit_step(in_place, 1, kernel=2)
    assert check(in_place) == 1000
    wrong(edit_slot(in_place, 2, offset=const(64)), "overlap")


def test_the_arena_holds_its_slots(program):
    wrong(replace(program, arena=aligned(4 * N)), "ends outside of the arena")
    wrong(edit_slot(program, 2, offset=4 * N), "boundary")
    wrong(replace(program, arena=None), "does not have")


def test_order(program):
    wrong(replace(program, steps=program.steps[1:]), "before anything wrote it")
    wrong(replace(program, steps=program.steps[:2]), "output 0 lies in slot 3, which nothing writes")
    wrong(edit_step(program, 2, slots=(2, 0)), "which is input")
    wrong(edit_slot(program, 1, last=0), "step 1 uses slot 1 t, which lives from step 0 to 0")
    wrong(edit_step(program, 1, slots=(1, 1)), "gives slot 1 twice")


def test_prepared_slots_depend_on_the_inputs_that_they_name(program):
    cached = replace(program, slots=(*program.slots, Slot("cached", 0, F32, (B, S), 4 * N, name="packed")))
    good = replace(cached, steps=(step(0, 0, 4, prepare=(1,)), step(0, 4, 1), *program.steps[1:]))
    good = edit_slot(edit_slot(good, 1, first=1, last=2), 2, first=2, last=3)
    assert check(good) == 1000
    wrong(edit_step(good, 0, prepare=(0,)), "depends on inputs [1], but prepares only for [0]")
    wrong(edit_step(good, 1, prepare=(1,)), "prepares, but writes no cached slot")


def test_arity_and_dtypes(program):
    wrong(edit_step(program, 0, slots=(0,)), "gives 1 slots to exp, which takes 2 buffers")
    wrong(edit_step(program, 0, sizes=(B,)), "gives 1 sizes")
    wrong(edit_slot(program, 1, dtype=I64), "holds int64, but exp takes")
    wrong(edit_step(program, 0, kernel=7), "kernel 7 does not exist")


def test_sizes(program):
    wrong(edit_slot(program, 1, nbytes=4 * N - 4), "is negative")
    wrong(edit_slot(program, 1, nbytes=2 * N), "and needs 4*b*s")
    wrong(edit_step(program, 0, extent=B + 1), "has extent b + 1")
    wrong(edit_step(program, 0, work=S - 1), "work of step 0 is negative")
    wrong(edit_step(program, 0, extent=sym("q")), "uses q")


def test_symbols(program):
    wrong(replace(program, symbols=(SymbolDef("b", 0, 0), SymbolDef("s", 0, 1))), "symbol s is solved from x axis 1")
    wrong(replace(program, symbols=(*program.symbols, SymbolDef("b", 1, 0))), "two symbols are named b")
    wrong(replace(program, bounds={"z": (0, 1)}), "bounds of z")


def test_accesses_outside_of_a_buffer_are_found(program):
    swapped = edit_step(program, 2, sizes=(B, S + 1))
    wrong(swapped, "row_sum accesses x[columns*i + j] outside of its buffer")


def test_scratch(program):
    local = replace(program.kernels[0], locals=(Local("tmp", F32, COLUMNS),))
    wrong(replace(program, kernels=(local, program.kernels[1])), "scratch")
    enough = replace(program, kernels=(local, program.kernels[1]))
    for n in (0, 1):
        enough = edit_step(enough, n, scratch=aligned(4 * S))
    assert check(enough) == 1000


def test_everything_wrong_is_said_at_once(program):
    both = edit_slot(replace(program, arena=aligned(4 * N)), 2, offset=const(64))
    wrong(both, "overlap", "ends outside of the arena", "invariants")


def test_a_buffer_that_is_written_before_it_is_read_may_be_fresh(program):
    at = I * COLUMNS + J
    twice = (Store("out", at, Load("x", at, F32)), Store("out", at, Op("exp", (Load("out", at, F32),), F32)))
    accumulates = (Store("out", at, Op("add", (Load("out", at, F32), Load("x", at, F32)), F32)),)
    for body, right in ((twice, True), (accumulates, False)):
        kernel = replace(program.kernels[0], buffers=(Buffer("x", F32, "r"), Buffer("out", F32, "rw")))
        kernel = replace(kernel, body=(For("j", COLUMNS, body),))
        changed = replace(program, kernels=(kernel, program.kernels[1]))
        if right:
            assert check(changed) == 1000
        else:
            wrong(changed, "before anything wrote it")
