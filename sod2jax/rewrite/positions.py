"""What stands at one position of an integer array, as an expression: how index arithmetic is understood.

* A `Reader` has one symbol per axis of some shape, with its range. `read(atom, index)` gives the element of `atom` at `index`.
* It runs the loop rules of the ops (`OpDef.pull`) on expressions instead of loop code: what an eqn means is written once, and
  `select_n(i < 0, i, i + n)`, `rev(iota)` or `concatenate` need no rule here. Conditions are decided by ranges.
* Constant tables are read as arithmetic progressions where they are one: `[1, 3, 5][i]` is `2*i + 1`.
* What is not an int32 or int64 (or a condition), or cannot be decided is None.
* Integers wrap, expressions do not. Sums and products stay right modulo the dtype's range; a value that is compared, divided,
  widened, or the answer must lie within it. This is proved, or becomes a guard of the version that the sizes at hand meet by a
  wide margin (`_MARGIN`), or the answer is None: `jnp.asarray(n) * 1103515245` is left to the kernel, which wraps as XLA does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sod2jax import ops
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import FLOORDIV, MOD, SYM, Expr, const, floordiv, maximum, minimum, mod, sym
from sod2jax.ir.program import Cond
from sod2jax.ir.scope import scope_of

_INT32, _INT64 = np.dtype(np.int32), np.dtype(np.int64)
_DTYPES = {_INT32, _INT64, np.dtype(bool)}
_STEPS = 200  # eqns read for one answer; index arithmetic takes about ten
_DEEPEST = 40  # eqns on the way to one of them
_MARGIN = 16  # times as large as at hand, values must fit, to make that a guard
_TYPICAL = 256  # a size, where none is at hand
_LARGEST = 1 << 40  # a size that formulas in 64 bits must serve without a guard; what overflows beyond is an error of the call


class _Unknown(Exception):
    pass


class Reader:
    """Positions of an array of shape `shape`, and elements of integer arrays there."""

    def __init__(self, cx, shape: Sequence):
        sizes = [expr_of(size) for size in shape]
        names = [f"_at{axis}" for axis in range(len(sizes))]
        # An axis of size 1 has the one position 0.
        self.at = tuple(const(0) if size.value == 1 else sym(name) for name, size in zip(names, sizes, strict=True))
        self.names = names
        ranges = {name: (0, size - 1) for name, size in zip(names, sizes, strict=True) if size.value != 1}
        self.box = cx.box.extend(ranges) if ranges else cx.box
        self._cx = cx
        self._extents = dict(zip(names, sizes, strict=True))
        self._assumed: dict[Cond, None] = {}
        self._steps = self._depth = 0

    def read(self, atom, index: Sequence[Expr]) -> Expr | None:
        """The element of `atom` at `index`, in terms of positions and sizes."""
        return self._answer(lambda: _Operand(self, atom)[index], atom.aval.dtype)

    def outcome(self, eqn) -> Expr | None:
        """The scalar that `eqn`, not yet written, computes. An int32 may be right modulo 2**32 only."""
        return self._answer(lambda: self._pull(eqn, 0, ()), _INT64)

    def _answer(self, value: Callable[[], Expr], dtype) -> Expr | None:
        self._steps, self._depth, self._assumed = _STEPS, 0, {}
        try:
            answer = self.fitting(value(), dtype)
        except _Unknown:
            return None
        for cond in self._assumed:
            scope_of(self.box).assume(cond, "integers that do not wrap")
        return answer

    def fitting(self, value: Expr, dtype) -> Expr:
        """`value`, if it lies within the range of `dtype`, which is proved or assumed."""
        value = self.box.simplify(value)
        if dtype == np.bool_:
            return value
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        if value.value is not None:
            if not low <= value.value <= high:
                raise _Unknown
            return value
        least, most = self.box.lower(value), self.box.upper(value)
        if least is None or least < low or most is None or most > high:
            self._assume(Cond(self._magnitude(value), "<=", const(int(high))))
        return value

    def _assume(self, cond: Cond) -> None:
        scope = scope_of(self.box)
        largest = cond.lhs.eval(dict.fromkeys(cond.lhs.free, _LARGEST))
        if cond.rhs.value > np.iinfo(_INT32).max and largest <= cond.rhs.value:
            return
        hint = scope.hint(cond.lhs) if scope.hints else cond.lhs.eval(dict.fromkeys(cond.lhs.free, _TYPICAL))
        if hint is None or hint * _MARGIN > cond.rhs.value:
            raise _Unknown
        self._assumed[_solved(cond)] = None

    def _magnitude(self, e: Expr) -> Expr:
        """What the absolute value of `e` never exceeds: a sum of products of sizes, with positive coefficients."""
        total = const(0)
        for monomial, coefficient in e.terms:
            term = const(abs(coefficient))
            for atom in monomial:
                if atom.kind == SYM:
                    extent = self._extents.get(atom.name)
                    term *= atom.expr if extent is None else self._magnitude(extent)
                elif atom.kind in (FLOORDIV, MOD):
                    term *= self._magnitude(atom.args[atom.kind == MOD])
                else:
                    term *= sum(map(self._magnitude, atom.args), start=const(0))
            total += term
        return total

    def element(self, atom, index: Sequence[Expr]) -> Expr:
        if atom.aval.dtype not in _DTYPES or self._steps <= 0 or self._depth >= _DEEPEST:
            raise _Unknown
        self._steps -= 1
        eqn = self._cx.maker(atom)
        if eqn is None:
            return _entry(self._cx.known(atom), tuple(index), self.names)
        self._depth += 1
        value = self._pull(eqn, eqn.outvars.index(atom), tuple(index))
        self._depth -= 1
        return value

    def _pull(self, eqn, number: int, index: tuple[Expr, ...]) -> Expr:
        record, aval = ops.of(eqn.primitive), eqn.outvars[number].aval
        if record is None or record.pull is None or record.folds:
            raise _Unknown
        out = ops.Out(tuple(map(expr_of, aval.shape)), aval.dtype, number)
        return record.pull(_Symbolic(self), out, index, *(_Operand(self, v) for v in eqn.invars), **eqn.params)


def _solved(cond: Cond) -> Cond:
    """`f(n) <= limit` as `n <= largest`, where f grows with its only symbol."""
    if len(cond.lhs.free) != 1:
        return cond
    (name,) = cond.lhs.free
    largest, beyond = 0, cond.rhs.value + 1
    while beyond - largest > 1:
        middle = (largest + beyond) // 2
        if cond.lhs.eval({name: middle}) <= cond.rhs.value:
            largest = middle
        else:
            beyond = middle
    return Cond(sym(name), "<=", const(largest))


class _Operand:
    """An `ops.Tensor` whose elements are expressions."""

    __slots__ = ("_atom", "_reader", "dtype", "shape")

    def __init__(self, reader: Reader, atom):
        self._reader, self._atom = reader, atom
        self.shape = tuple(map(expr_of, atom.aval.shape))
        self.dtype = atom.aval.dtype

    def __getitem__(self, index) -> Expr:
        return self._reader.element(self._atom, index)


def _entry(table: np.ndarray | None, index: tuple[Expr, ...], names: Sequence[str]) -> Expr:
    """`table[index]`, where the index is constant or the table affine in it."""
    if table is None or table.size == 0:
        raise _Unknown
    if all(i.value is not None for i in index):
        return const(int(table[tuple(i.value for i in index)]))
    table = table.astype(np.int64)
    origin = int(table[(0,) * table.ndim])
    steps = [int(np.take(table, 1, axis).flat[0]) - origin if n > 1 else 0 for axis, n in enumerate(table.shape)]
    progression = sum((step * i for step, i in zip(steps, np.indices(table.shape), strict=True)), start=origin)
    if not np.array_equal(table, progression):
        raise _Unknown
    return sum((i * step for step, i in zip(steps, index, strict=True)), start=const(origin))


class _Symbolic:
    """An `ops.Body` that computes expressions; conditions are the constants 0 and 1."""

    def __init__(self, reader: Reader):
        self._reader, self._box = reader, reader.box
        self.simplify, self.known_eq = self._box.simplify, self._box.known_eq

    def op(self, name: str, *args: Expr, dtype=None) -> Expr:
        rule = _OPS.get(name)
        if rule is None or np.dtype(dtype) not in _DTYPES or (name in _LOGICAL and dtype != np.bool_):
            raise _Unknown
        if name not in _MODULAR:
            within = _INT32 if dtype == np.bool_ else dtype  # operands of a comparison may be of either width
            args = [self._reader.fitting(x, within) for x in args]
        return rule(self._box, *args)

    def const(self, value, dtype) -> Expr:
        if np.dtype(dtype) not in _DTYPES:
            raise _Unknown
        return const(int(value))

    def convert(self, value: Expr, dtype) -> Expr:
        if np.dtype(dtype) not in _DTYPES or (dtype == np.bool_ and value.value not in (0, 1)):
            raise _Unknown
        return self._reader.fitting(value, _INT32) if dtype == _INT64 else value  # widened, perhaps

    def position(self, expr: Expr, dtype) -> Expr:
        return expr

    def index(self, value: Expr) -> Expr:
        return self._reader.fitting(value, _INT32)

    def where(self, cond: Expr, then, other: Expr) -> Expr:
        return then() if _truth(cond) else other

    def fold(self, *_):
        raise _Unknown


def _truth(cond: Expr) -> bool:
    if cond.value is None:
        raise _Unknown
    return bool(cond.value)


def _decided(is_true: bool, is_false: bool) -> Expr:
    if not (is_true or is_false):
        raise _Unknown
    return const(int(is_true))


def _less(box, a, b):
    return _decided(box.known_lt(a, b), box.known_le(b, a))


def _less_equal(box, a, b):
    return _decided(box.known_le(a, b), box.known_lt(b, a))


def _equal(box, a, b):
    return _decided(box.known_eq(a, b), box.known_lt(a, b) or box.known_lt(b, a))


def _not(cond):
    return const(int(not _truth(cond)))


def _quotient(rule):
    """lax divides towards zero, expressions floor: the same where nothing is negative."""

    def divide(box, a, b):
        if not (box.known_le(0, a) and box.known_lt(0, b)):
            raise _Unknown
        return rule(a, b)

    return divide


_MODULAR = {"add", "sub", "mul", "neg", "select"}  # right modulo any power of two
_LOGICAL = ("and", "or", "not")  # bitwise on integers, which expressions cannot say

# What scalar operations of the loop IR mean on expressions.
_OPS = {
    "add": lambda box, a, b: a + b,
    "sub": lambda box, a, b: a - b,
    "mul": lambda box, a, b: a * b,
    "neg": lambda box, a: -a,
    "max": lambda box, a, b: box.simplify(maximum(a, b)),
    "min": lambda box, a, b: box.simplify(minimum(a, b)),
    "div": _quotient(floordiv),
    "rem": _quotient(mod),
    "lt": _less,
    "le": _less_equal,
    "gt": lambda box, a, b: _less(box, b, a),
    "ge": lambda box, a, b: _less_equal(box, b, a),
    "eq": _equal,
    "ne": lambda box, a, b: _not(_equal(box, a, b)),
    "and": lambda box, a, b: const(int(_truth(a) and _truth(b))),
    "or": lambda box, a, b: const(int(_truth(a) or _truth(b))),
    "not": lambda box, a: _not(a),
    "select": lambda box, cond, then, other: then if _truth(cond) else other,
}
