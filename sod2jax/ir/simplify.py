"""Simplification of expressions inside of a box.

* Symbols that the box equates with something are replaced; then atoms are rewritten bottom up, to a fixed point.
* `a // b` and `a % b` (b > 0): what the box knows to be divisible by b is divided; the rest is looked up in its range, so that
  `(h*64 + d) // 64` is h for 0 <= d < 64. A part that is smaller than a common factor of the rest and b falls away with it:
  `(i*s + j) // (s*n)` is `i // n` for 0 <= j < s.
* `min` and `max` lose the arguments that another one is known to undercut or exceed.
* A `min` or `max` that only matters at the few smallest sizes goes where those give the same without it: for a >= 0,
  `max(0, a + 2*min(1, a) - 2)` is a.
* In a sum, `a % b` gives way to `a - b*(a // b)` where that cancels: `(m // s)*s + m % s` is m. So does `b*(a // b)` with b | a.
"""

from __future__ import annotations

import math
from functools import lru_cache

from sod2jax.ir.expr import (
    FLOORDIV,
    MAX,
    MIN,
    MOD,
    SYM,
    Atom,
    Expr,
    const,
    exact_quotient,
    floordiv,
    map_atoms,
    maximum,
    minimum,
    mod,
    rebuild,
)

_ROUNDS = 6  # a fixed point is reached in two or three
_CASES = 4  # sizes that are looked at one by one


def simplify(e: Expr, box) -> Expr:
    for _ in range(_ROUNDS):
        before = e
        if box.equal:
            e = e.subs(box.equal)
        e = _cancel(map_atoms(e, lambda a: _atom(a, box)), box)
        if e is before:
            break
    return _by_cases(e, box)


def _by_cases(e: Expr, box) -> Expr:
    """What `e` is where none of its symbols is small, if it is that for small ones, too."""
    if not box.is_root:  # symbols of loops have no few sizes
        return e
    for name, least in _switches(e):
        low = max((x.value for x in box.bounds_of(name)[0] if x.value is not None), default=None)
        if low is None or not low < least <= low + _CASES:
            continue
        large = box.at_least(name, least).simplify(e)
        if large is not e and all(
            box.simplify(e.subs({name: const(n)})) is box.simplify(large.subs({name: const(n)})) for n in range(low, least)
        ):
            return _by_cases(large, box)
    return e


@lru_cache(maxsize=4096)
def _switches(e: Expr) -> tuple[tuple[str, int], ...]:
    """(symbol, size): from that size on, an extreme within `e` of the symbol and a number is one of them alone."""
    found: dict[tuple[str, int], None] = {}
    for a in e.atoms:
        for x in a.args:
            found.update(dict.fromkeys(_switches(x)))
        if a.kind in (MIN, MAX) and len(a.args) == 2:
            (m, c), *rest = (a.args[0] - a.args[1]).terms
            if len(m) == 1 and m[0].kind == SYM and abs(c) == 1 and len(rest) <= 1 and not any(n for n, _ in rest):
                found[m[0].name, -c * (rest[0][1] if rest else 0)] = None
    return tuple(found)


def _atom(a: Atom, box) -> Expr:
    if a.kind == SYM:
        return a.expr
    if a in box.values:
        return box.values[a]
    args = tuple(map(box.simplify, a.args))
    if args != a.args:
        return rebuild(a, args)
    if a.kind in (MIN, MAX):
        return _extreme(a, box)
    out = _divide(*args, box)
    return a.expr if out is None else out[0] if a.kind == FLOORDIV else out[1]


def _divide(a: Expr, b: Expr, box) -> tuple[Expr, Expr] | None:
    """Quotient and remainder, if the box makes them simpler than `a // b` and `a % b`."""
    low = box.bound(b, False)
    if low is None or low < 1:
        return None
    # Whole terms that b divides, by the facts.
    if b.value is not None and box.divisors:
        whole, rest = {}, {}
        for m, c in a.terms:
            (whole if (c * divisor(Expr.of({m: 1}), box)) % b.value == 0 and m else rest)[m] = c
        if divisor(a, box) % b.value == 0:
            whole, rest = dict(a.terms), {}
        if whole and rest:
            w, r = Expr.of(whole), Expr.of(rest)
            return floordiv(w, b) + floordiv(r, b), mod(r, b)
        if whole:
            return floordiv(a, b), const(0)
    q = _quotient_in_range(a, b, box)
    if q is not None:
        return const(q), a - b * q
    for g in _factors(a, b):
        big, small = {}, {}
        for m, c in a.terms:
            part = exact_quotient(Expr.of({m: c}), g)
            if part is None:
                small[m] = c
            else:
                big.update(part.terms)
        if not big or not small:
            continue
        small = Expr.of(small)
        if g.value is None and not (box.bound(g, False) or 0) >= 1:
            continue
        q = _quotient_in_range(small, g, box)
        if q is not None:
            big = Expr.of(big) + q
            rest = exact_quotient(b, g)
            return floordiv(big, rest), mod(big, rest) * g + (small - g * q)
    return None


def _quotient_in_range(a: Expr, b: Expr, box) -> int | None:
    """The constant a // b, if the range of `a` settles it; 0 and -1 are looked for when b is symbolic."""
    if b.value is not None:
        low = box.bound(a, False)
        high = box.bound(a, True) if low is not None else None
        return low // b.value if high is not None and low // b.value == high // b.value else None
    low = box.bound(a, False)
    if low is not None and low >= 0:
        gap = box.bound(b - 1 - a, False)
        return 0 if gap is not None and gap >= 0 else None
    high = box.bound(a, True)
    if high is not None and high < 0:
        gap = box.bound(a + b, False)
        return -1 if gap is not None and gap >= 0 else None
    return None


def _factors(a: Expr, b: Expr) -> list[Expr]:
    """Proper factors of b that divide some but not all terms of a, the largest first."""
    if len(b.terms) != 1 or len(a.terms) < 2:
        return []
    out = {}
    (mb, cb), *_ = b.terms
    for m, c in a.terms:
        left = list(mb)
        common = []
        for x in m:
            if x in left:
                left.remove(x)
                common.append(x)
        g = Expr.of({tuple(common): math.gcd(c, cb)})
        if g.value != 1 and g is not b:
            out[g] = (len(common), math.gcd(c, cb))
    return sorted(out, key=out.get, reverse=True)


def divisor(e: Expr, box) -> int:
    """An integer that divides `e` by its coefficients and the box's facts; 0 for 0."""
    total = 0
    for m, c in e.terms:
        k = abs(c)
        for a in m:
            k *= box.divisors.get(a.expr, 1)
        if len(m) > 1:
            k = math.lcm(k, abs(c) * box.divisors.get(Expr.of({m: 1}), 1))
        total = math.gcd(total, k)
    for fact, n in box.divisors.items():
        q = exact_quotient(e, fact) if len(fact.terms) > 1 and total % n else None
        if q is not None:
            total = math.lcm(total, n)
    return total


def _extreme(a: Atom, box) -> Expr:
    kept = list(a.args)
    for x in a.args:
        others = [y for y in kept if y is not x]
        for y in others:
            gap = box.bound(y - x if a.kind == MAX else x - y, False)
            if gap is not None and gap >= 0:
                kept = others
                break
    if len(kept) == len(a.args):
        return a.expr
    return (minimum if a.kind == MIN else maximum)(*kept)


def _cancel(e: Expr, box) -> Expr:
    """Replace remainders, exact quotients and extremes of a sum where that makes it shorter."""
    for a in e.atoms:
        if a.kind in (MIN, MAX) and len(e.terms) > 1:
            e = min(e, _absorbed(e, a), key=_weight)
        if a.kind == MOD:
            x, b = a.args
            other = e.replace(a, x - b * floordiv(x, b))
            if _size(other) < _size(e):
                e = other
        elif a.kind == FLOORDIV and box.divisors:
            x, b = a.args
            if b.value is not None and divisor(x, box) % b.value == 0:
                # coefficient = b*t + r: b*t*(x // b) is t*x
                e = _multiply_out(e, a, x, b.value)
    return e


def _multiply_out(e: Expr, a: Atom, x: Expr, k: int) -> Expr:
    out = const(0)
    for m, c in e.terms:
        if a in m and c % k == 0:
            i = m.index(a)
            out = out + Expr.of({m[:i] + m[i + 1 :]: c // k}) * x
        else:
            out = out + Expr.of({m: c})
    return out


def _absorbed(e: Expr, a: Atom) -> Expr:
    """s - min(s, 1) is max(0, s - 1)."""
    c = dict(e.terms).get((a,), 0)
    rest = e - c * a.expr
    if abs(c) != 1 or any(a in m for m, _ in rest.terms):
        return e
    return (minimum if (a.kind == MIN) == (c > 0) else maximum)(*(c * x + rest for x in a.args))


def _weight(e: Expr) -> int:
    """Like `_size`, with the arguments of the atoms counted in."""
    return sum(1 + sum(1 + sum(map(_size, a.args)) for a in m) for m, _ in e.terms)


def _size(e: Expr) -> int:
    return sum(len(m) + 1 for m, _ in e.terms)
