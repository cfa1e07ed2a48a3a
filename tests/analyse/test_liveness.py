"""Lives over an order of positions, against a simulation; peaks against the sum at each position."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sod2jax.analyse.liveness import Life, lives, peak


def test_a_chain():
    found = lives([({"x"}, {"a"}), ({"a"}, {"b"}), ({"b", "x"}, {"c"}), ((), {"dead"})], inputs=["x"], outputs=["c"])
    assert found == {"x": Life(0, 2), "a": Life(0, 1), "b": Life(1, 2), "c": Life(2, 3), "dead": Life(3, 3)}


def test_reads_and_outputs_need_a_writer():
    with pytest.raises(ValueError, match="position 1 reads b, which nothing before it wrote"):
        lives([({"x"}, {"a"}), ({"b"}, {"c"})], inputs=["x"])
    with pytest.raises(ValueError, match="output q is never written"):
        lives([], outputs=["q"])


@st.composite
def programs(draw):
    """(order, outputs): each position writes one variable, and reads some of those before it."""
    n = draw(st.integers(1, 8))
    order = [(draw(st.sets(st.integers(0, k - 1), max_size=3)) if k else set(), {k}) for k in range(n)]
    return order, draw(st.sets(st.integers(0, n - 1)))


@given(programs(), st.lists(st.integers(0, 9), min_size=8, max_size=8))
def test_a_variable_is_alive_while_something_may_read_it(program, sizes):
    order, outputs = program
    found = lives(order, outputs=outputs)
    totals = []
    for position in range(len(order)):
        needed = {v for later in order[position:] for v in later[0]} | outputs
        alive = {v for v in range(position + 1) if v in needed or v == position}
        assert {v for v, life in found.items() if life.first <= position <= life.last} == alive
        totals.append(sum(sizes[v] for v in alive))
    most, where = peak(found, lambda v: sizes[v])
    assert most == max(totals)
    assert most == 0 or totals[where] == most
