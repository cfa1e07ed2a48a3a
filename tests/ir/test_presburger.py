"""Proofs that need more than ranges, and those that must not succeed."""

import pytest

from sod2jax.ir import presburger
from sod2jax.ir.box import Box, parse_conds
from sod2jax.ir.expr import parse
from sod2jax.ir.program import Cond

BOX = Box({"a": (0, None), "b": (1, None), "h": (1, None), "w": (1, None)})


def implied(text, box=BOX):
    (cond,) = parse_conds(text)
    return presburger.implied(box, cond)


@pytest.mark.parametrize(
    "text",
    [
        "(h + 1)//2 == h - h//2",
        "((h + 1)//2 + 1)//2 == (h + 3)//4",
        "h//2 + h//3 <= h",
        "h % 6 % 3 == h % 3",
        "2*h != 2*w + 1",
        "min(h, w) + max(h, w) == h + w",
        "max(h - 1, 0) == h - min(h, 1)",
        "a*h <= a*h + w",  # a product is one unknown
        "h <= b*h",  # that is not below its factors
        "a % b < b",  # division by a size
        "(a//b)*b <= a",
        "a < (a//b)*b + b",
    ],
)
def test_implied(text):
    assert implied(text)


@pytest.mark.parametrize("text", ["h == w", "h <= w", "h//2 + h//2 == h", "a*h <= h", "h % 2 == 0", "h < 100", "a//b == 0"])
def test_not_implied(text):
    assert not implied(text)


def test_facts_are_used():
    box = Box({"h": (0, None), "w": (0, None), "t": (0, None)}, ["h % 4 == 0", "h <= 2*w", "2*w <= h + 1", "t != 3", "3 <= t"])
    assert implied("h == 2*w", box)
    assert implied("4 <= t", box)
    assert not implied("h == 4", box)


def test_a_contradiction_implies_everything():
    assert implied("h == 7", Box({"h": (3, 2)}))


def test_a_hard_question_ends():
    n = 9
    box = Box({f"x{i}": (0, None) for i in range(n)}, [f"(x{i} + x{i + 1}) % {i + 5} == x{i}//{i + 3}" for i in range(n - 1)])
    lhs = parse(" + ".join(f"(x{i}*{i + 2} + x{(i * 5 + 1) % n})//{7 + i}" for i in range(n)))
    assert presburger.implied(box, Cond(lhs, "==", parse("x0 % 11"))) is False
