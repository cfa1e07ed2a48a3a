"""Simplification: the rewritings that index arithmetic stands on. Their soundness is tested with the boxes."""

import time

import pytest

from sod2jax.ir.box import Box
from sod2jax.ir.expr import ceildiv, const, maximum, minimum, parse, sym

b, s, i, j, m, q, h, d, n, k = map(sym, "bsijmqhdnk")

LOOPS = Box(
    {"b": (1, None), "s": (1, None), "n": (1, None)},
).extend({"m": (0, b * s - 1), "q": (0, s - 1), "h": (0, 11), "d": (0, 63), "i": (0, b - 1), "j": (0, s - 1), "k": (0, n - 1)})


@pytest.mark.parametrize(
    ("e", "want"),
    [
        ((b * s + q) // s, b),
        ((b * s + q) % s, q),
        ((i * s + j) // s, i),
        ((i * s + j) % s, j),
        ((m // s) * s + m % s, m),
        (64 * s * (m // s) + 64 * (m % s), 64 * m),
        (64 * s * (m // s) + 64 * (m % s) + d, 64 * m + d),
        ((n // 64) * 64 + n % 64, n),
        ((h * 64 + d) // 64, h),
        ((h * 64 + d) % 64, d),
        ((h * 64 + d) // 128, h // 2),
        ((h * 64 + d) % 128, 64 * (h % 2) + d),
        ((m // s) % b, m // s),
        ((i * s * n + j * n + k) // (s * n), i),
        ((i * s * n + j * n + k) // n, i * s + j),
        ((i * s * n + j * n + k) // n % s, j),
        ((i * s * n + j * n + k) % (s * n), j * n + k),
        (((i * s + j) // s * s + (i * s + j) % s) // s, i),
        ((m * 768 + h * 64 + d) // 768, m),
        ((m * 768 + h * 64 + d) // 64 % 12, h),
        ((q // 8) // 4, q // 32),
        (maximum(0, s - 1), s - 1),
        (minimum(i, b), i),
        (maximum(s, 1), s),
        (ceildiv(ceildiv(n, 2), 2), (n + 3) // 4),
        ((q - s) // s, const(-1)),
        (j % (s + 1), j),
        ((s * (m // s) + m % s) // s, m // s),
    ],
    ids=str,
)
def test_simplify(e, want):
    assert LOOPS.simplify(e) is want


def test_divisibility():
    box = Box({"h": (0, None), "b": (0, None)}, ["h % 32 == 0", "(b*h) % 5 == 0", "(b + h) % 6 == 0"])
    assert box.simplify((h // 32) * 32 + 1) is h + 1
    assert box.simplify((b * h) % 40) == 0
    assert box.simplify((b * h) % 5) == 0
    assert box.simplify((b * h * 3 + 2) // 5) is (b * h * 3) // 5
    assert box.simplify((2 * b + 2 * h) % 12) == 0


def test_a_box_without_the_facts_changes_nothing():
    for text in ("(h*64 + d)//64 + d//64", "m//s", "min(a, b)", "(h//32)*32"):
        e = parse(text)
        assert Box().simplify(e) is e


def test_fast():
    """Thousands of distinct questions per second: a compilation asks that many."""
    box = Box({"b": (1, None), "s": (1, 512)}).extend({"i": (0, b * s - 1), "h": (0, 11), "d": (0, 63)})
    texts = [parse(f"((i*768 + h*64 + d)//{c} + {c}) % {c + 1}") for c in range(2, 302)]
    start = time.perf_counter()
    for e in texts:
        box.simplify(e)
    assert time.perf_counter() - start < 5  # 0.1 on an idle machine


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("max(0, a + 2*min(1, a) - 2)", "a"),
        ("max(0, max(0, a + 2*min(1, a) - 1) - 1)", "a"),
        ("max(0, a - 1) + min(1, a)", "a"),
        ("max(0, max(0, b + 2*min(1, b) - 2)*a + 2*min(1, a) - 2)", None),
        ("min(1, a)", "min(1, a)"),
        ("max(0, a - 2)", "max(0, a - 2)"),
        ("max(0, a - 100) + min(100, a)", None),
    ],
)
def test_extremes_that_matter_at_few_small_sizes(text, simple):
    e, box = parse(text), Box({"a": (0, None), "b": (0, None)})
    found = box.simplify(e)
    if simple is not None:
        assert found is parse(simple)
    for a in range(5):
        for b in range(5):
            assert found.eval({"a": a, "b": b}) == e.eval({"a": a, "b": b})
