"""Integer polynomials over atoms: the normal form behind `ir.expr`.

* An `Expr` is a polynomial with integer coefficients over atoms: a symbol, `a // b`, `a % b`, `min(...)`, `max(...)`.
* It is kept in normal form (monomials sorted by degree, then by name) and interned, so that `==` is identity and hashing is free.
* `//` and `%` are Python's: they floor, and the remainder has the sign of the divisor. Where a divisor is zero an expression has
  no value; rewriting may give it one.
* The normal form uses only what holds for all integers: `(b*s + q) // s` is `b + q // s`, `(4*s + 3) // 6` is `(2*s + 1) // 3`,
  `min(a + 1, a)` is `a`. What needs ranges (`q // s` is 0 for 0 <= q < s) is `ir.box`'s.
* Sharing is a DAG's: nothing here but `str` expands it to a tree, so a formula may nest deep without growing.
* Expressions are interned weakly: one that nobody holds is freed, apart from the latest few thousand, which formulas being made
  want again at once. An atom does not hold its own expression, so nothing is a cycle.
"""

from __future__ import annotations

import hashlib
import keyword
import math
import operator
import weakref
from _weakref import _remove_dead_weakref  # in one step, which deleting by `weakref.ref` is not: another thread may intern anew
from collections import deque
from functools import lru_cache, reduce

SYM, FLOORDIV, MOD, MIN, MAX = "sym", "//", "%", "min", "max"
_RANK = {SYM: 0, FLOORDIV: 1, MOD: 2, MIN: 3, MAX: 4}
_LONGEST_KEY = 160  # characters; a longer text is ordered by its digest, for the text of a DAG can be exponential in its size


class Atom:
    """A factor of a monomial. `args` are Exprs; a symbol has a `name` and no args."""

    __slots__ = ("__weakref__", "_expr", "args", "free", "height", "key", "kind", "name")

    def __init__(self, kind: str, name: str, args: tuple[Expr, ...]):
        self.kind, self.name, self.args = kind, name, args
        self.free = frozenset((name,)) if kind == SYM else frozenset().union(*(a.free for a in args))
        self.height = 1 + max((x.height for a in args for x in a.atoms), default=-1)  # 0 for a symbol; an atom is above its parts
        self.key = (_RANK[kind], name or _short(kind, [a.key for a in args]))
        self._expr = None

    @property
    def expr(self) -> Expr:
        """The atom as an expression."""
        e = self._expr and self._expr()
        if e is None:
            e = Expr.of({(self,): 1})
            self._expr = weakref.ref(e)
        return e

    def __repr__(self):
        return str(self.expr)

    def __reduce__(self):
        return _atom_of, (self.kind, self.name, self.args)


def _short(kind: str, keys: list[str]) -> str:
    text = f"{kind}({','.join(keys)})"
    return text if len(text) <= _LONGEST_KEY else "~" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


Monomial = tuple[Atom, ...]  # sorted by key, repeated for powers; () is 1



class _Interned(weakref.ref):
    """What a table holds of `value`; its entry goes with it."""

    __slots__ = ("key", "table")

    def __new__(cls, value, key, table):
        self = super().__new__(cls, value, _forget)
        self.key, self.table = key, table
        return self

    def __init__(self, value, key, table):
        super().__init__(value, _forget)


def _forget(dead: _Interned, remove=_remove_dead_weakref) -> None:  # a default: it also runs when the module is gone
    remove(dead.table, dead.key)


_atoms: dict[tuple, _Interned] = {}
_exprs: dict[tuple, _Interned] = {}
_latest: deque[Expr] = deque(maxlen=1 << 13)


def _interned(table: dict[tuple, _Interned], key: tuple, value):
    """`value`, or what another thread has interned under the same key meanwhile."""
    mine = _Interned(value, key, table)
    while True:
        found = table.setdefault(key, mine)()
        if found is not None:
            return found
        _remove_dead_weakref(table, key)


class Expr:
    """An integer expression. `terms` are ((monomial, coefficient), ...), the constant last; `value` is the int, if it is one."""

    __slots__ = ("__weakref__", "_hash", "_key", "_text", "free", "terms", "value")

    terms: tuple[tuple[Monomial, int], ...]
    value: int | None
    free: frozenset[str]

    def __new__(cls, *_):
        raise TypeError("make expressions with sym, const, as_expr or expr.parse")

    @staticmethod
    def of(terms: dict[Monomial, int]) -> Expr:
        """The sum of `coefficient * monomial`; monomials must be sorted by their atoms' keys."""
        items = [t for t in terms.items() if t[1]]
        if len(items) > 1:
            items.sort(key=_order)
        key = tuple(items)
        known = _exprs.get(key)
        if known is not None and (e := known()) is not None:
            return e
        e = object.__new__(Expr)
        e.terms = key
        e.value = 0 if not key else key[0][1] if not key[0][0] else None
        e.free = frozenset().union(*(a.free for m, _ in key for a in m)) if e.value is None else frozenset()
        e._key = e._text = None
        e._hash = hash(e.value) if e.value is not None else hash(key)
        e = _interned(_exprs, key, e)
        _latest.append(e)
        return e

    # Interned: two expressions are equal only if they are one. Plain ints compare by value.
    def __eq__(self, other):
        if self is other:
            return True
        if isinstance(other, Expr):
            return False
        try:
            return self.value is not None and self.value == operator.index(other)
        except TypeError:
            return NotImplemented

    def __hash__(self):
        return self._hash

    def __bool__(self):
        raise TypeError(f"the truth of an expression ({self}) is not known; ask .value or a Box")

    def __reduce__(self):
        return _of_terms, (self.terms,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    @property
    def key(self) -> str:
        """Sorts expressions the same way in every process."""
        if self._key is None:
            parts = [f"{c}*{'*'.join(a.key[1] for a in m)}" for m, c in self.terms]
            text = "+".join(parts)
            self._key = text if len(text) <= _LONGEST_KEY else _short("+", parts)
        return self._key

    def __add__(self, other):
        if (other := _coerce(other)) is None:
            return NotImplemented
        if not other.terms:
            return self
        if not self.terms:
            return other
        terms = dict(self.terms)
        for m, c in other.terms:
            terms[m] = terms.get(m, 0) + c
        return Expr.of(terms)

    __radd__ = __add__

    def __neg__(self):
        return Expr.of({m: -c for m, c in self.terms})

    def __pos__(self):
        return self

    def __sub__(self, other):
        if (other := _coerce(other)) is None:
            return NotImplemented
        if not other.terms:
            return self
        terms = dict(self.terms)
        for m, c in other.terms:
            terms[m] = terms.get(m, 0) - c
        return Expr.of(terms)

    def __rsub__(self, other):
        return NotImplemented if (other := _coerce(other)) is None else other - self

    def __mul__(self, other):
        if (other := _coerce(other)) is None:
            return NotImplemented
        if other.value is not None:
            k = other.value
            return self if k == 1 else Expr.of({m: c * k for m, c in self.terms})
        terms: dict[Monomial, int] = {}
        for m1, c1 in self.terms:
            for m2, c2 in other.terms:
                m = _times(m1, m2)
                terms[m] = terms.get(m, 0) + c1 * c2
        return Expr.of(terms)

    __rmul__ = __mul__

    def __pow__(self, power):
        power = operator.index(power)
        if power < 0:
            raise ValueError(f"({self}) ** {power} is not an integer expression")
        return reduce(operator.mul, [self] * power, const(1))

    def __floordiv__(self, other):
        return NotImplemented if (other := _coerce(other)) is None else floordiv(self, other)

    def __rfloordiv__(self, other):
        return NotImplemented if (other := _coerce(other)) is None else floordiv(other, self)

    def __mod__(self, other):
        return NotImplemented if (other := _coerce(other)) is None else mod(self, other)

    def __rmod__(self, other):
        return NotImplemented if (other := _coerce(other)) is None else mod(other, self)

    def __str__(self):
        if self._text is None:
            self._text = _print(self)
        return self._text

    __repr__ = __str__

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """The distinct atoms of the monomials, not those inside of other atoms."""
        return tuple(dict.fromkeys(a for m, _ in self.terms for a in m))

    def subs(self, env: dict[str, int | Expr]) -> Expr:
        """Replace symbols, all at once."""
        return _substitute(self, env, self.free.intersection(env), {})

    def replace(self, atom: Atom, value: Expr) -> Expr:
        """With `value` for `atom` where it is a factor, not where it is inside of another atom."""
        return map_atoms(self, lambda a: value if a is atom else a.expr)

    def eval(self, env: dict[str, int]) -> int:
        """The value where each symbol has one; KeyError if one is missing, ZeroDivisionError for a zero divisor."""
        return _eval(self, env, {})

    def linear(self, names) -> tuple[dict[str, Expr], Expr] | None:
        """`({name: coefficient}, rest)` if this is affine in `names`; neither coefficients nor rest contain them. Else None."""
        names = frozenset(names)
        coefficients: dict[str, dict[Monomial, int]] = {}
        rest: dict[Monomial, int] = {}
        for m, c in self.terms:
            hits = [i for i, a in enumerate(m) if not names.isdisjoint(a.free)]
            if not hits:
                rest[m] = c
            elif len(hits) == 1 and m[hits[0]].kind == SYM:
                i = hits[0]
                coefficients.setdefault(m[i].name, {})[m[:i] + m[i + 1 :]] = c
            else:
                return None
        return {n: Expr.of(t) for n, t in coefficients.items()}, Expr.of(rest)


def _coerce(x) -> Expr | None:
    if type(x) is Expr:
        return x
    try:
        n = operator.index(x)
    except TypeError:
        return None
    return Expr.of({(): n})


def _order(term):
    m = term[0]
    return -len(m), [a.key for a in m]


def _times(m1: Monomial, m2: Monomial) -> Monomial:
    if not m1 or not m2:
        return m1 or m2
    return tuple(sorted(m1 + m2, key=lambda a: a.key))


def _atom(kind: str, name: str, args: tuple[Expr, ...]) -> Expr:
    key = (kind, name, args)
    known = _atoms.get(key)
    if known is None or (a := known()) is None:
        a = _interned(_atoms, key, Atom(kind, name, args))
    return a.expr


def _atom_of(kind: str, name: str, args: tuple[Expr, ...]) -> Atom:
    return _atom(kind, name, args).terms[0][0][0]


def _of_terms(terms: tuple[tuple[Monomial, int], ...]) -> Expr:
    return Expr.of(dict(terms))


def sym(name: str) -> Expr:
    """The symbol `name`, a Python identifier other than min and max."""
    if ("sym", name, ()) not in _atoms and (not name.isidentifier() or keyword.iskeyword(name) or name in FUNCTIONS):
        raise ValueError(f"{name!r} cannot name a size: an identifier is needed, and none of {', '.join(FUNCTIONS)}")
    return _atom(SYM, name, ())


def const(n: int) -> Expr:
    return Expr.of({(): n})


def as_expr(x) -> Expr:
    """An int, a NumPy integer or an Expr as an Expr; TypeError for anything else."""
    if type(x) is Expr:
        return x
    return Expr.of({(): operator.index(x)})


def floordiv(a, b) -> Expr:
    """`a // b`, rounding down."""
    return _divide(as_expr(a), as_expr(b))[0]


def mod(a, b) -> Expr:
    """`a % b`, with the sign of `b`."""
    return _divide(as_expr(a), as_expr(b))[1]


def ceildiv(a, b) -> Expr:
    """`a / b` rounded up, for b > 0."""
    b = as_expr(b)
    return floordiv(as_expr(a) + b - 1, b)


def minimum(*es) -> Expr:
    return _extreme(MIN, es)


def maximum(*es) -> Expr:
    return _extreme(MAX, es)


@lru_cache(maxsize=1 << 13)
def _divide(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """Quotient and remainder in normal form."""
    if b.value is not None:
        return _divide_by_constant(a, b.value)
    # Any whole multiple of b comes out of the division; what is left is divided by what it has in common with b.
    quotient, a = _split(a, b)
    if not a.terms:
        return quotient, const(0)
    common = _common(a, b)
    if common.value != 1:
        q, r = _divide(_exact(a, common), _exact(b, common))
        return quotient + q, common * r
    return quotient + _atom(FLOORDIV, "", (a, b)), _atom(MOD, "", (a, b))


def _divide_by_constant(a: Expr, b: int) -> tuple[Expr, Expr]:
    if b == 0:
        raise ZeroDivisionError(f"({a}) // 0")
    if b < 0:
        q, r = _divide_by_constant(-a, -b)
        return q, -r
    if b == 1:
        return a, const(0)
    offset = a.terms[-1][1] if a.terms and not a.terms[-1][0] else 0
    quotient: dict[Monomial, int] = {(): offset // b}
    left: dict[Monomial, int] = {}
    offset %= b
    for m, c in a.terms:
        if m:
            q = c // b if c >= 0 else -(-c // b)
            quotient[m] = q
            if c - q * b:
                left[m] = c - q * b
    if not left:
        return Expr.of(quotient), const(offset)
    # (g*p + c) // (g*k) is (p + c//g) // k, and the remainder is g*((p + c//g) % k) + c%g.
    g = math.gcd(b, *left.values())
    k = b // g
    left = {m: c // g for m, c in left.items()}
    p = Expr.of({**left, (): offset // g})
    # One sign for a quotient and one residue for a remainder, so that equal ones look equal: -(-h // 2) is (h + 1) // 2.
    if p.terms[0][1] > 0:
        inner = _unnest(p, k)
        q = _atom(FLOORDIV, "", (p, const(k))) if inner is None else floordiv(*inner)
    else:
        q = -_divide_by_constant(-p + (k - 1), k)[0]
    # The residue nearest to zero.
    balanced = {m: (c + (k - 1) // 2) % k - (k - 1) // 2 for m, c in left.items()}
    r = _atom(MOD, "", (Expr.of({**balanced, (): offset // g}), const(k)))
    return Expr.of(quotient) + q, r * g + offset % g


def _unnest(a: Expr, k: int) -> tuple[Expr, Expr] | None:
    """(x // y + c) // k is (x + c*y) // (y*k), for k > 0."""
    (m, c), *more = a.terms
    if c == 1 and len(m) == 1 and m[0].kind == FLOORDIV and (not more or not more[0][0]):
        x, y = m[0].args
        return x + (a - m[0].expr) * y, y * k
    return None


def _split(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """(q, r) with a == q*b + r: polynomial division by b's leading term, kept only where it makes `a` shorter."""
    lead, k = b.terms[0]
    quotient: dict[Monomial, int] = {}
    rest = dict(a.terms)
    for _ in range(len(a.terms)):
        found = False
        for m, c in sorted(rest.items(), key=_order):
            if (m2 := _without(m, lead)) is not None and (q := c // k if (c < 0) == (k < 0) else -(-c // k)):
                quotient[m2] = quotient.get(m2, 0) + q
                for mb, cb in b.terms:
                    p = _times(mb, m2)
                    rest[p] = rest.get(p, 0) - q * cb
                    if not rest[p]:
                        del rest[p]
                found = True
                break
        if not found:
            break
    if quotient and (len(b.terms) == 1 or len(rest) < len(a.terms)):
        return Expr.of(quotient), Expr.of(rest)
    return const(0), a


def exact_quotient(a: Expr, b: Expr) -> Expr | None:
    """q with a == q*b, if polynomial division finds it."""
    if b.value is not None:
        whole = b.value and all(c % b.value == 0 for _, c in a.terms)
        return Expr.of({m: c // b.value for m, c in a.terms}) if whole else None
    q, r = _split(a, b)
    return q if not r.terms else None


def _without(m: Monomial, factor: Monomial) -> Monomial | None:
    left = list(m)
    for a in factor:
        if a not in left:
            return None
        left.remove(a)
    return tuple(left)


def _common(a: Expr, b: Expr) -> Expr:
    """The largest `integer * monomial`, integer positive, that divides every term of both."""
    terms = a.terms + b.terms
    common = list(terms[0][0])
    for m, _ in terms[1:]:
        left = list(m)
        keep = []
        for x in common:
            if x in left:
                left.remove(x)
                keep.append(x)
        common = keep
    return Expr.of({tuple(common): math.gcd(*(c for _, c in terms))})


def _exact(a: Expr, divisor: Expr) -> Expr:
    (m, k), *_ = divisor.terms
    return Expr.of({_without(n, m): c // k for n, c in a.terms})


def _extreme(kind: str, es) -> Expr:
    if not es:
        raise ValueError(f"{kind} of nothing")
    flat: list[Expr] = []
    for e in map(as_expr, es):
        if len(e.terms) == 1 and e.terms[0][1] == 1 and len(e.terms[0][0]) == 1 and e.terms[0][0][0].kind == kind:
            flat.extend(e.terms[0][0][0].args)
        else:
            flat.append(e)
    # Arguments that differ by a constant are compared now; one per class stays.
    best: dict[Expr, int] = {}
    for e in flat:
        offset = e.terms[-1][1] if e.terms and not e.terms[-1][0] else 0
        base = e - offset
        best[base] = offset if base not in best else (min if kind == MIN else max)(best[base], offset)
    if len(best) == 1:
        ((base, offset),) = best.items()
        return base + offset
    return _atom(kind, "", tuple(sorted((b + o for b, o in best.items()), key=lambda e: e.key)))


FUNCTIONS = {"min": minimum, "max": maximum, "floordiv": floordiv, "mod": mod, "ceildiv": ceildiv}


def rebuild(a: Atom, args: tuple[Expr, ...]) -> Expr:
    """The atom with other arguments, in normal form."""
    if a.kind == FLOORDIV:
        return floordiv(*args)
    if a.kind == MOD:
        return mod(*args)
    return _extreme(a.kind, args) if args else a.expr


def map_atoms(e: Expr, f) -> Expr:
    """The polynomial `e` with `f(atom)` in place of each atom; atoms inside of atoms are f's business."""
    values = {a: f(a) for a in e.atoms}
    if all(v is a.expr for a, v in values.items()):
        return e
    out = const(0)
    for m, c in e.terms:
        term = const(c)
        for a in m:
            term = term * values[a]
        out = out + term
    return out


def _substitute(e: Expr, env, names: frozenset[str], memo: dict[Expr, Expr]) -> Expr:
    if names.isdisjoint(e.free):
        return e
    out = memo.get(e)
    if out is None:

        def replaced(a: Atom) -> Expr:
            if a.kind == SYM:
                return as_expr(env[a.name]) if a.name in names else a.expr
            if names.isdisjoint(a.free):
                return a.expr
            return rebuild(a, tuple(_substitute(x, env, names, memo) for x in a.args))

        out = memo[e] = map_atoms(e, replaced)
    return out


def _eval(e: Expr, env, memo: dict[Atom, int]) -> int:
    total = 0
    for m, c in e.terms:
        for a in m:
            if a not in memo:
                if a.kind == SYM:
                    memo[a] = int(env[a.name])
                else:
                    memo[a] = _OPERATORS[a.kind](*(_eval(x, env, memo) for x in a.args))
            c *= memo[a]
        total += c
    return total


_OPERATORS = {FLOORDIV: operator.floordiv, MOD: operator.mod, MIN: min, MAX: max}


def _print(e: Expr) -> str:
    if not e.terms:
        return "0"
    out = []
    for i, (m, c) in enumerate(e.terms):
        factors = [str(abs(c))] if abs(c) != 1 or not m else []
        alone = len(m) == 1 and not factors and (c > 0 or i > 0)
        for a in dict.fromkeys(m):
            power = m.count(a)
            text = _print_atom(a)
            if a.kind in (FLOORDIV, MOD) and not alone:
                text = f"({text})"
            factors.append(text if power == 1 else f"{text}**{power}")
        sign = ("" if c > 0 else "-") if i == 0 else (" + " if c > 0 else " - ")
        out.append(sign + "*".join(factors))
    return "".join(out)


def _print_atom(a: Atom) -> str:
    if a.kind == SYM:
        return a.name
    if a.kind in (MIN, MAX):
        return f"{a.kind}({', '.join(map(str, a.args))})"
    left, right = (str(x) if _is_primary(x) else f"({x})" for x in a.args)
    return f"{left} {a.kind} {right}"


def _is_primary(e: Expr) -> bool:
    if e.value is not None:
        return e.value >= 0
    (m, c), *more = e.terms
    return not more and c == 1 and len(m) == 1 and m[0].kind in (SYM, MIN, MAX)
