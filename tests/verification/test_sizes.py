"""The sizes that are tried: edges, constraints kept, every candidate and as many pairs as there is room for."""

import numpy as np
import pytest

from sod2jax.ir.box import parse_conds
from sod2jax.lowering.targets import TARGETS
from sod2jax.verification.sizes import Space, candidates, combine, tile_edges, turning_points


def conds(*texts):
    return tuple(c for text in texts for c in parse_conds(text))


@pytest.mark.parametrize(
    ("constraints", "wanted", "found"),
    [
        ((), {"a": 7, "b": 9}, {"a": 7, "b": 9}),
        (("a <= 5",), {"a": 7, "b": 9}, {"a": 5, "b": 9}),
        (("a % 32 == 0",), {"a": 45, "b": 9}, {"a": 32, "b": 9}),
        (("a == 2*b",), {"a": 8, "b": 9}, {"a": 8, "b": 4}),
        (("a == 2*b",), {"a": 7, "b": 9}, None),
        (("b == 2*a",), {"a": 7, "b": 9}, {"a": 7, "b": 14}),
        (("3 <= a", "a < b"), {"a": 1, "b": 1}, {"a": 3, "b": 4}),
        (("a < 0",), {"a": 1, "b": 1}, None),
    ],
)
def test_sizes_move_to_where_the_conditions_hold(constraints, wanted, found):
    space = Space(("a", "b"), conds("0 <= a", "0 <= b", *constraints))
    assert space.nearest(wanted) == found


def test_the_first_in_order_keeps_its_size():
    space = Space(("a", "b"), conds("0 <= a", "0 <= b", "a == 2*b"))
    assert space.nearest({"a": 7, "b": 9}, ["b"]) == {"a": 18, "b": 9}


def test_conditions_turn_where_they_say():
    assert turning_points("s", conds("s <= 512")) == {512}
    assert {2, 50, 100} <= turning_points("s", conds("2*s <= 100"))
    assert 32 in turning_points("h", conds("h % 32 == 0"))
    assert turning_points("s", conds("t <= 512")) == set()


def test_candidates_are_the_neighbours_of_edges_within_the_conditions():
    found = candidates("s", [16], conds("0 <= s", "s <= 100"), conds("s != 40"), given=[77])
    assert {0, 1, 2, 15, 16, 17, 39, 40, 41, 77, 99, 100} <= {*found}
    assert max(found) == 100
    assert found == sorted(found)
    assert all(n % 32 == 0 for n in candidates("s", [16], conds("0 <= s", "s % 32 == 0")))


@pytest.mark.parametrize(("target", "edges"), [("x86-64-avx512", {16, 8, 32}), ("x86-64-avx2", {8, 6, 16})])
def test_tiles_have_edges(target, edges):
    assert set(tile_edges(TARGETS[target], [np.float32])) == edges


def test_combinations_show_every_candidate_first():
    space = Space(("a", "b"), conds("0 <= a", "0 <= b"))
    tried = {"a": range(20), "b": range(100, 120)}
    chosen = combine(space, tried, {"a": 50, "b": 60}, most=30, seed=0)
    assert chosen[0] == {"a": 50, "b": 60}
    assert len(chosen) == 30
    assert {c["a"] for c in chosen} >= set(range(20))
    assert {c["b"] for c in chosen} >= set(range(100, 120))
    assert chosen == combine(space, tried, {"a": 50, "b": 60}, most=30, seed=0)
    assert chosen != combine(space, tried, {"a": 50, "b": 60}, most=30, seed=1)


def test_few_candidates_come_in_all_pairs():
    space = Space(("a", "b"), conds("0 <= a", "0 <= b"))
    assert len(combine(space, {"a": [0, 1, 2], "b": [0, 5, 6]}, {}, most=40, seed=0)) == 9


def test_combinations_keep_constraints_and_fit():
    space = Space(("a", "b"), conds("0 <= a", "0 <= b", "a <= b"), fits=lambda env: env["a"] * env["b"] <= 400)
    chosen = combine(space, {"a": range(40), "b": range(40)}, {"a": 9, "b": 3}, most=40, seed=0)
    assert len(chosen) > 20
    assert all(c["a"] <= c["b"] and c["a"] * c["b"] <= 400 for c in chosen)


def test_no_sizes_fit():
    assert combine(Space(("a",), conds("0 <= a", "a < 0")), {"a": [0, 1]}, {}, most=4, seed=0) == []
