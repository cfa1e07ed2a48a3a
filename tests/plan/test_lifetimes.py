"""Lifetimes around loops and branches, and who may write over what, on steps written by hand."""

import numpy as np
import pytest

from sod2jax.ir.expr import const
from sod2jax.ir.loops import Buffer, Kernel
from sod2jax.ir.program import Branch, Loop, Step
from sod2jax.plan.lifetimes import Lifetimes

F32 = np.dtype(np.float32)
ONE = const(1)
X, Y = Buffer("x", F32, "r"), Buffer("y", F32, "r")


def kernel(*buffers):
    return Kernel("k", buffers, (), (), "i", ONE, ())


KERNELS = (
    kernel(X, Buffer("out", F32, "w", ("x",))),
    kernel(X, Buffer("out", F32, "w")),
    kernel(X, Y, Buffer("out", F32, "w", ("x", "y"))),
    kernel(Buffer("out", F32, "w")),
)


def step(number, *slots):
    return Step(number, slots, (), ONE, ONE, const(0))


def over(*slots):
    return step(0, *slots)


def apart(*slots):
    return step(1, *slots)


def both(*slots):
    return step(2, *slots)


def made(slot):
    return step(3, slot)


def lives(*steps, needed=()):
    found = Lifetimes(steps, KERNELS, needed)
    return found, {s: (found.first[s], found.last[s]) for s in found.first}


def test_a_straight_line():
    found, life = lives(made(0), over(0, 1), over(1, 2), needed={2})
    assert life == {0: (0, 1), 1: (1, 2), 2: (2, 2)}
    assert found.may_overwrite(1, 1, 0)
    assert found.may_overwrite(2, 2, 1)
    assert not found.may_overwrite(0, 0, 1)  # read later


def test_a_kernel_must_say_so_and_read_the_slot_once():
    assert not lives(made(0), apart(0, 1))[0].may_overwrite(1, 1, 0)
    assert not lives(made(0), both(0, 0, 1))[0].may_overwrite(1, 1, 0)
    assert lives(made(0), made(2), both(0, 2, 1))[0].may_overwrite(2, 1, 2)


def test_what_is_read_after_all_steps_is_overwritten_by_none():
    assert not lives(made(0), over(0, 1), needed={0, 1})[0].may_overwrite(1, 1, 0)


def test_pairs_that_change_places_live_through_the_whole_loop():
    """Though nobody reads the state: it is what the iteration before made, and its memory the next one's."""
    _, life = lives(made(0), made(1), Loop((made(2), over(2, 3), made(5)), const(4), 4, swaps=((1, 3),)), over(0, 6))
    assert life[1] == (1, 5)
    assert life[3] == (2, 5)
    assert life[4] == (2, 5), "the counter is written anew by each iteration"
    assert life[2] == (3, 4), "a temporary lives in the body alone"
    assert life[0] == (0, 6)


def test_what_the_next_iteration_reads_is_needed_at_the_end_of_the_body():
    found, life = lives(made(0), made(1), Loop((apart(0, 2), over(1, 3)), const(4)), needed={3})
    assert life[0] == (0, 4)
    assert not found.may_overwrite(4, 3, 1), "the next iteration reads slot 1 again"
    found, life = lives(made(0), Loop((apart(0, 1), over(1, 2), apart(2, 0)), const(4)), needed={0})
    assert found.may_overwrite(3, 2, 1)
    assert life[1] == (2, 3)


def test_the_condition_is_read_after_all_its_steps():
    _, life = lives(made(0), Loop((over(0, 3), apart(3, 0)), None, None, (apart(0, 1), made(2)), 1), needed={0})
    assert life[1] == (2, 3)
    _, life = lives(made(0), made(1), Loop((over(0, 3), apart(3, 0)), None, None, (), 1), needed={0})
    assert life[1] == (1, 4), "made outside: asked each time"


def test_branches_need_what_any_list_needs():
    found, life = lives(made(0), made(9), Branch(9, ((over(0, 1),), (made(1),))), over(1, 2))
    assert found.may_overwrite(3, 1, 0)
    assert life[1][0] == 2
    found, _ = lives(made(0), made(9), Branch(9, ((over(0, 1),), (apart(0, 1),))), over(1, 2))
    assert not found.may_overwrite(3, 1, 0), "the other list reads it at a later position"
    found, _ = lives(made(0), made(9), Branch(9, ((made(1),), (over(0, 1),))), over(0, 2))
    assert not found.may_overwrite(4, 1, 0), "it is read behind the branch"


def test_a_branch_that_writes_on_one_side_only_leaves_the_old_contents():
    """A state that one list writes and the other one leaves alone is needed by the next iteration."""
    _, life = lives(made(0), made(9), Loop((Branch(9, ((made(0),), ())), apart(0, 3), made(4)), const(3)), needed={0})
    assert life[0] == (0, 6)


@pytest.mark.parametrize("nested", [False, True])
def test_what_a_loop_fills_is_not_held_before_it(nested):
    inner = Loop((step(0, 1, 2), made(3)), const(3), fresh=(2,))
    steps = (made(1), Loop((made(7), inner, over(2, 8)), const(2))) if nested else (made(1), inner, over(2, 8))
    _, life = lives(*steps)
    begin = 3 if nested else 1
    assert life[2] == (begin, begin + 3)


def test_zero_iterations_keep_what_was_there():
    found, _ = lives(made(0), over(0, 1), Loop((made(1),), const(0)), needed={1})
    assert not found.may_overwrite(1, 0, 1)
    _, life = lives(made(1), made(5), Loop((made(1), made(6)), const(3)), needed={1})
    assert life[1] == (0, 4)
