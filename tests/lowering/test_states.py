"""Where the next state of a loop lies: merged, or in a slot of its own."""

import numpy as np

from sod2jax.ir.expr import const
from sod2jax.ir.loops import Buffer, Kernel
from sod2jax.ir.program import Branch, Loop, Slot, Step
from sod2jax.lowering.states import compact, copying, merge_states, renamed

F32 = np.dtype(np.float32)
ONE = const(1)
KERNELS = [
    Kernel("unary", (Buffer("x0", F32, "r"), Buffer("out", F32, "w")), (), (), "i", ONE, ()),
    Kernel("binary", (Buffer("x0", F32, "r"), Buffer("x1", F32, "r"), Buffer("out", F32, "w")), (), (), "i", ONE, ()),
    Kernel("over", (Buffer("x0", F32, "r"), Buffer("out", F32, "w", ("x0",))), (), (), "i", ONE, ()),
]


def step(*slots):
    return Step(len(slots) - 2, slots, (), ONE, ONE, const(0))


def over(*slots):
    return Step(2, slots, (), ONE, ONE, const(0))


def merged(steps, states):
    return merge_states(steps, states, KERNELS)


def test_the_last_reader_may_overwrite():
    steps, swaps = merged([over(0, 1)], [(0, 1)])
    assert (steps[0].slots, swaps) == ((0, 0), [])


def test_a_kernel_that_reads_elsewhere_may_not():
    assert merged([step(0, 1)], [(0, 1)])[1] == [(0, 1)]


def test_what_is_read_afterwards_stays():
    assert merged([over(0, 1), step(0, 2)], [(0, 1)])[1] == [(0, 1)]


def test_a_state_that_nobody_reads_is_overwritten():
    steps, swaps = merged([step(5, 2), step(2, 1)], [(0, 1)])
    assert ([s.slots for s in steps], swaps) == ([(5, 2), (2, 0)], [])


def test_states_that_change_places_swap():
    assert merged([step(1, 2), step(0, 3)], [(0, 2), (1, 3)])[1] == [(0, 2)]


def test_what_a_branch_writes_is_no_single_step():
    assert merged([Branch(4, ((over(0, 1),), (over(0, 1),)))], [(0, 1)])[1] == [(0, 1)]


def test_renaming_reaches_nested_steps():
    loop = Loop((step(0, 1), Branch(2, ((step(1, 3),),))), counter=4, pred=5, swaps=((0, 1),), fresh=(0,))
    new = renamed(loop, {0: 10, 1: 11, 2: 12, 3: 13, 4: 14, 5: 15})
    assert new.body[0].slots == (10, 11)
    assert (new.body[1].index, new.body[1].branches[0][0].slots) == (12, (11, 13))
    assert (new.counter, new.pred, new.swaps, new.fresh) == (14, 15, ((10, 11),), (10,))


def test_slots_that_nobody_touches_go():
    slots = [Slot(kind, 0, F32, (ONE,), const(4)) for kind in ("input", "arena", "arena", "output")]
    kept, steps, new = compact(slots, [step(0, 2), step(2, 3)], KERNELS)
    assert [s.kind for s in kept] == ["input", "arena", "output"]
    assert [s.slots for s in steps] == [(0, 1), (1, 2)]
    assert new == {0: 0, 2: 1, 3: 2}


def test_copies_of_complex_numbers_move_both_parts():
    bound, _, _ = copying(Slot("arena", 0, np.dtype(np.complex64), (const(5),), const(40)))
    assert {b.dtype for b in bound.kernel.buffers} == {F32}
    assert any(e.value == 10 for e in bound.sizes) or "10" in str(bound.kernel)
