"""Where the builder puts what it is asked for: outside of loops, in joined folds, under conditions."""

import numpy as np

from sod2jax.ir.box import Box
from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import For, Init, Let, Load, Store, Update
from sod2jax.lowering.body import Builder

F32, BOOL, INT = np.dtype(np.float32), np.dtype(bool), np.dtype(np.int64)


def kinds(stmts):
    return [type(s).__name__ for s in stmts]


def builder():
    b = Builder(Box({"n": (0, None)}))
    return b, b.open(sym("n"), "parallel"), b.open(const(64), "vector")


def test_invariant_values_stand_outside():
    b, i, j = builder()
    x = b.load("x", i, F32)
    b.put(Store("out", i * 64 + j, b.op("mul", b.op("exp", x), b.load("y", j, F32))))
    assert kinds(b.scopes[1].statements()) == ["Let", "Let"]  # the load of x and its exp, once per row
    assert kinds(b.scopes[2].statements()) == ["Let", "Let", "Store"]


def test_a_value_is_computed_once():
    b, _i, j = builder()
    assert b.op("exp", b.load("x", j, F32)) == b.op("exp", b.load("x", j, F32))


def test_a_fold_moves_to_the_scope_that_it_needs():
    b, i, j = builder()
    mean = b.fold("add", F32, [const(64)], lambda k: b.load("x", i * 64 + k[0], F32))
    b.put(Store("out", i * 64 + j, b.op("sub", b.load("x", i * 64 + j, F32), mean)))
    row = b.scopes[1].statements()
    assert kinds(row) == ["Init", "For"]
    assert isinstance(row[0], Init)
    assert isinstance(row[1].body[-1], Update)


def test_independent_folds_share_a_loop_and_dependent_ones_do_not():
    b, i, j = builder()
    total = b.fold("add", F32, [const(64)], lambda k: b.load("x", i * 64 + k[0], F32))
    squares = b.fold("add", F32, [const(64)], lambda k: b.op("square", b.load("x", i * 64 + k[0], F32)))
    centred = b.fold("add", F32, [const(64)], lambda k: b.op("square", b.op("sub", b.load("x", i * 64 + k[0], F32), total)))
    b.put(Store("out", i * 64 + j, b.op("add", squares, centred)))
    loops = [s for s in b.scopes[1].statements() if isinstance(s, For)]
    assert len(loops) == 2
    assert [kinds(loop.body).count("Update") for loop in loops] == [2, 1]
    assert [kinds(loop.body).count("Let") for loop in loops] == [2, 3]


def test_a_fold_that_needs_the_element_stays_with_it():
    b, i, j = builder()
    b.fold("max", F32, [const(3)], lambda k: b.load("x", (i + k[0]) * 64 + j, F32))
    assert kinds(b.scopes[1].statements()) == []
    assert kinds(b.scopes[2].statements()) == ["Init", "For"]


def test_nested_extents():
    b, i, _j = builder()
    b.fold("add", F32, [const(3), const(5)], lambda k: b.load("x", i * 15 + k[0] * 5 + k[1], F32))
    _init, loop = b.scopes[1].statements()
    assert isinstance(loop, For)
    assert isinstance(loop.body[-1], For)


def test_a_fold_in_a_fold():
    b, i, j = builder()

    def inner(k):
        return b.fold("add", F32, [const(8)], lambda p: b.load("x", (i * 64 + k[0]) * 8 + p[0], F32))

    largest = b.fold("max", F32, [const(64)], inner)
    b.put(Store("out", i * 64 + j, b.op("sub", b.load("x", j, F32), largest)))
    row = b.scopes[1].statements()
    assert kinds(row) == ["Init", "For"]
    assert kinds(row[1].body) == ["Init", "For", "Update"]


def test_reads_carry_their_condition():
    b, _i, j = builder()
    inside = b.op("lt", b.position(j, INT), b.const(60, INT), dtype=BOOL)
    b.where(inside, lambda: b.load("x", j, F32), b.const(0, F32))
    loads = [s.value for s in b.scopes[2].statements() if isinstance(s, Let) and isinstance(s.value, Load)]
    assert [load.where for load in loads] == [inside]


def test_folds_of_one_element_are_no_loops():
    b, i, _j = builder()
    x = b.fold("add", F32, [const(1)], lambda k: b.load("x", i + k[0], F32))
    assert x == b.load("x", i, F32)
    b.fold("max", F32, [const(1), const(5)], lambda k: b.load("x", i * 5 + k[0] + k[1], F32))
    _let, _init, loop = b.scopes[1].statements()
    assert kinds(loop.body) == ["Let", "Update"]


def test_a_fold_that_may_not_join_asks_for_another_of_the_same_extents():
    """The fold that is being joined is open then: it cannot be joined once more."""
    b, i, j = builder()

    def total(name):
        return b.fold("add", F32, [const(64)], lambda k: b.load(name, i * 64 + k[0], F32))

    first = total("x")
    second = b.fold("add", F32, [const(64)], lambda k: b.op("sub", b.load("y", i * 64 + k[0], F32), total("z")))
    b.put(Store("out", i * 64 + j, b.op("add", first, second)))
    loops = [s for s in b.scopes[1].statements() if isinstance(s, For)]
    assert sum(kinds(loop.body).count("Update") for loop in loops) >= 3
    assert "Init" not in {k for loop in loops for k in kinds(loop.body)}
