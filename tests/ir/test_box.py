"""Boxes against integers: whatever a box says holds at every point of it."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sod2jax.ir.box import Box, parse_conds
from sod2jax.ir.expr import const, maximum, minimum, sym
from sod2jax.ir.program import Cond

NAMES = ("a", "b", "i", "j", "x")  # i and j run below a bound; x is anything
a, b, i, j, x = map(sym, NAMES)
s, m, q, h, d, n, k = map(sym, "smqhdnk")


@st.composite
def expressions(draw, depth=4):
    kind = draw(
        st.sampled_from(["const", "sym", "sym"] if depth == 0 else ["sym", "+", "-", "*", "//", "//", "%", "min", "max", "k"])
    )
    if kind == "const":
        return const(draw(st.integers(-9, 9)))
    if kind == "sym":
        return sym(draw(st.sampled_from(NAMES)))
    e = draw(expressions(depth=depth - 1))
    if kind == "k":
        return e * draw(st.integers(-70, 70)) + draw(st.integers(-70, 70))
    if kind in ("//", "%"):
        f = draw(st.one_of(st.integers(1, 12).map(const), st.sampled_from([a, b, a + 1, a * b]), expressions(depth=depth - 1)))
        assume(f.value != 0)
        return e // f if kind == "//" else e % f
    f = draw(expressions(depth=depth - 1))
    return {"+": e + f, "-": e - f, "*": e * f, "min": minimum(e, f), "max": maximum(e, f)}[kind]


@st.composite
def boxes(draw):
    """A box and a point of it."""
    low_a, low_b = draw(st.integers(-3, 4)), draw(st.integers(0, 3))
    env = {"a": low_a + draw(st.integers(0, 12)), "b": low_b + draw(st.integers(0, 12)), "x": draw(st.integers(-30, 30))}
    facts = []
    if draw(st.booleans()):
        r = draw(st.sampled_from([2, 3, 8]))
        env["a"] *= r
        low_a = min(low_a, low_a * r)
        facts.append(f"a % {r} == 0")
    if draw(st.booleans()):
        env["x"] = env["a"] - env["b"]
        facts.append("x == a - b")
    elif draw(st.booleans()):
        assume(env["x"] * 2 <= env["a"])
        facts.append("2*x <= a")
    if draw(st.booleans()):
        assume(env["a"] * env["b"] <= 60)
        facts.append("a*b <= 60")
    if env["a"] < 1 or env["b"] < 1:
        ranges = {"i": (None, None), "j": (0, None)}
        env |= {"i": draw(st.integers(-9, 9)), "j": draw(st.integers(0, 9))}
    else:
        ranges = {"i": (0, a * b - 1), "j": (-b, b - 1)}
        env |= {"i": draw(st.integers(0, env["a"] * env["b"] - 1)), "j": draw(st.integers(-env["b"], env["b"] - 1))}
    high_a = draw(st.sampled_from([None, env["a"], env["a"] + 5]))
    box = Box({"x": (None, None), "a": (low_a, high_a), "b": (low_b, None)}, facts)
    return box.extend(ranges), env


@settings(max_examples=600, deadline=None)
@given(boxes(), expressions())
def test_sound(pair, e):
    box, env = pair
    try:
        want = e.eval(env)
    except ZeroDivisionError:
        return
    assert box.simplify(e).eval(env) == want, box.simplify(e)
    low, high = box.lower(e), box.upper(e)
    assert low is None or low <= want
    assert high is None or want <= high


@settings(max_examples=150, deadline=None)
@given(boxes(), expressions(depth=2), expressions(depth=2), st.sampled_from(["==", "!=", "<=", "<"]))
def test_proofs_are_sound(pair, e, f, op):
    box, env = pair
    try:
        v, w = e.eval(env), f.eval(env)
    except ZeroDivisionError:
        return
    if box.prove(Cond(e, op, f)):
        assert {"==": v == w, "!=": v != w, "<=": v <= w, "<": v < w}[op]


LOOPS = Box(
    {"b": (1, None), "s": (1, None), "n": (1, None)},
).extend({"m": (0, b * s - 1), "q": (0, s - 1), "h": (0, 11), "d": (0, 63), "i": (0, b - 1), "j": (0, s - 1), "k": (0, n - 1)})


def test_bounds():
    assert LOOPS.upper(i * s + j - b * s) == -1
    assert LOOPS.upper(64 * (n // 64) - n) == 0
    assert LOOPS.lower(64 * (n // 64) - n) == -63
    assert LOOPS.lower(n - n // 2) == 1
    assert LOOPS.known_lt((i * s + j) * 64 + d, b * s * 64)
    assert LOOPS.known_le(q // 8, (s - 1) // 8)
    assert LOOPS.known_lt(m // s, b)
    assert LOOPS.lower((b - 1) * (s - 1)) == 0
    assert LOOPS.upper(minimum(n, 64)) == 64
    assert LOOPS.lower(maximum(n, 64) - n) == 0
    assert LOOPS.lower(sym("unknown")) is None
    assert not LOOPS.known_eq(n, s)
    assert LOOPS.known_divisible(64 * n + 128, 32)
    assert not LOOPS.known_divisible(n, 2)


def test_facts():
    box = Box(
        {"a": (0, None), "h": (0, None), "s": (0, None), "t": (1, None)}, ["h % 32 == 0", "a == 2*t", "1 <= s <= 512", "s <= t"]
    )
    assert box.simplify((h // 32) * 32) is h
    assert box.simplify(h % 16) == 0
    assert box.simplify((h + 5) // 32) is h // 32
    assert box.simplify((h * 3 + 5) % 32) == 5
    assert box.simplify(a) is 2 * sym("t")
    assert box.known_divisible(a, 2)
    assert (box.lower(s), box.upper(s), box.lower(sym("t") - s)) == (1, 512, 0)
    assert box.prove(parse_conds("a >= 2*s")[0])
    assert box.prove(parse_conds("(h // 16) % 2 == 0")[0])
    assert box.prove(Cond(h // 16, "==", 2 * (h // 32)))
    assert not box.prove(parse_conds("t <= 512")[0])
    product = Box({"h": (1, None), "s": (1, None)}, ["h*s <= 4096", "h + s == 100"])
    assert product.upper(h * s) == 4096
    assert product.prove(parse_conds("s < 100")[0])


def test_prove_needs_presburger():
    box = Box({"n": (0, None)})
    assert box.prove(Cond((n + 1) // 2, "==", n - n // 2))
    assert box.prove(Cond(n // 2 + n // 3, "<=", n))
    assert box.prove(Cond(n % 6 % 3, "==", n % 3))
    assert not box.prove(Cond(n % 6, "==", n % 3))


def test_symbols_without_facts_are_unbounded():
    box = Box()
    assert box.simplify((64 * x + 3) // 64) is x
    assert box.lower(x % 5) == 0
    assert box.upper(x) is None


def test_parse():
    assert list(map(str, parse_conds("0 < 2*a <= b"))) == ["0 < 2*a", "2*a <= b"]
    assert list(map(str, parse_conds("a >= b"))) == ["b <= a"]
    for text in ("a", "a = b", "a < b or b < a", "a in b", "a < 1.5"):
        with pytest.raises(ValueError, match="cannot read"):
            parse_conds(text)
    with pytest.raises(ValueError, match="s already has a range"):
        LOOPS.extend({"s": (0, 1)})


def test_few_of_the_ways_to_combine_bounds_are_tried(monkeypatch):
    """Which cell of the last of four feature maps, each half as large as the one before: the ways are exponentially many."""
    w, tried = sym("w"), []
    *first, last = [((h + step - 1) // step) * ((w + step - 1) // step) for step in (2, 4, 8, 16)]
    before = sum(first, const(0))
    box = Box({"h": (32, 640), "w": (32, 640)}).extend({"i": (0, 6 * (before + last) - 1)})
    eliminate = Box._eliminate
    monkeypatch.setattr(Box, "_eliminate", lambda *args: tried.append(args) or eliminate(*args))
    assert box.upper(i // 6 - before) >= (640 // 16) ** 2 - 1
    assert box.lower(before - i // 6) <= 1 - (640 // 16) ** 2
    assert len(tried) < 5_000
