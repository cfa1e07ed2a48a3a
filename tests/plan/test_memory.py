"""The arena's plan: sound at every size, and near the optimum that exhaustive search finds on small graphs."""

import itertools
import random

import pytest

from sod2jax.ir.expr import const, sym
from sod2jax.plan import memory
from sod2jax.plan.memory import Buffer

SIZES = [sym("a") * 4, sym("b") * 4, sym("a") * sym("b") * 4, const(400), (sym("a") + sym("b")) * 8, sym("a") * sym("a") * 4]


def graph(rng, n, steps):
    buffers = []
    for _ in range(n):
        first = rng.randrange(steps)
        buffers.append(Buffer(rng.choice(SIZES), first, min(steps - 1, first + rng.randrange(4))))
    return buffers


@pytest.mark.parametrize("seed", range(20))
def test_no_two_live_buffers_overlap_at_any_size(seed):
    rng = random.Random(seed)
    buffers = graph(rng, 12, 10)
    plan = memory.place(buffers, [{"a": 64, "b": 256}, {"a": 37, "b": 5}])
    for _ in range(50):
        env = {"a": rng.choice([0, 1, rng.randrange(2000)]), "b": rng.choice([0, 1, rng.randrange(2000)])}
        spans = [
            (o.eval(env), o.eval(env) + memory.aligned(b.nbytes).eval(env)) for o, b in zip(plan.offsets, buffers, strict=True)
        ]
        assert all(start % memory.ALIGN == 0 for start, _ in spans)
        assert plan.arena.eval(env) >= max(end for _, end in spans)
        for (i, x), (j, y) in itertools.combinations(enumerate(buffers), 2):
            if x.meets(y) and spans[i][0] != spans[i][1] and spans[j][0] != spans[j][1]:
                assert spans[i][1] <= spans[j][0] or spans[j][1] <= spans[i][0]


@pytest.mark.parametrize("seed", range(5))
def test_which_lifetimes_meet(seed):
    buffers = graph(random.Random(seed), 40, 30)
    pairwise = [[j for j, b in enumerate(buffers) if j != i and b.meets(a)] for i, a in enumerate(buffers)]
    assert [sorted(found) for found in memory._meeting(buffers)] == pairwise


def optimum(buffers, env):
    """The smallest arena, by placing buffers in every order at their lowest gap."""
    sizes = [memory.aligned(b.nbytes).eval(env) for b in buffers]
    meeting = memory._meeting(buffers)
    best = None
    for order in itertools.permutations(range(len(buffers))):
        offset = {}
        for i in order:
            offset[i] = memory._lowest_gap(sizes[i], meeting[i], sizes, offset)
        arena = max(offset[i] + sizes[i] for i in order)
        best = arena if best is None else min(best, arena)
    return best


def test_close_to_the_optimum_on_small_graphs():
    rng, env = random.Random(7), {"a": 37, "b": 100}
    ratios = []
    for _ in range(30):
        buffers = graph(rng, 6, 6)
        ratios.append(memory.place(buffers, [env]).arena.eval(env) / optimum(buffers, env))
    assert sum(ratios) / len(ratios) <= 1.05
    assert max(ratios) <= 1.35


def test_heirs_share_a_place():
    a = sym("a") * 4
    merged, owner = memory.share([Buffer(a, 0, 1), Buffer(a, 1, 2), Buffer(a, 2, 3), Buffer(a, 0, 3)], [(0, 1), (1, 2)])
    assert owner == [0, 0, 0, 1]
    assert (merged[0].first, merged[0].last) == (0, 3)


def test_nothing_to_place():
    assert memory.place([], [{}]).arena == 0
