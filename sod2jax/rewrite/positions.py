"""What stands at one position of an integer array, as an expression: how index arithmetic is understood.

* A `Reader` has one symbol per axis of some shape, with its range. `read(atom, index)` gives the element of `atom` at `index`.
* It runs the loop rules of the ops (`OpDef.pull`) on expressions instead of loop code: what an eqn means is written once, and
  `select_n(i < 0, i, i + n)`, `rev(iota)` or `concatenate` need no rule here. Conditions are decided by ranges.
* Constant tables are read as arithmetic progressions where they are one: `[1, 3, 5][i]` is `2*i + 1`.
* What is not an int32 or int64 (or a condition), wraps, or cannot be decided is None. 32-bit sums of sizes are taken not to
  overflow: as an index they would be wrong in the original as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sod2jax import ops
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import Expr, const, floordiv, maximum, minimum, mod, sym

_DTYPES = {np.dtype(np.int32), np.dtype(np.int64), np.dtype(bool)}
_STEPS = 200  # eqns read for one answer; index arithmetic takes about ten
_DEEPEST = 40  # eqns on the way to one of them


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
        self._steps = self._depth = 0

    def read(self, atom, index: Sequence[Expr]) -> Expr | None:
        """The element of `atom` at `index`, in terms of positions and sizes."""
        self._steps, self._depth = _STEPS, 0
        try:
            return self.box.simplify(_Operand(self, atom)[index])
        except _Unknown:
            return None

    def outcome(self, eqn) -> Expr | None:
        """The scalar that `eqn`, not yet written, computes."""
        self._steps, self._depth = _STEPS, 0
        try:
            return self.box.simplify(self._pull(eqn, 0, ()))
        except _Unknown:
            return None

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
        return record.pull(_Symbolic(self.box), out, index, *(_Operand(self, v) for v in eqn.invars), **eqn.params)


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

    def __init__(self, box):
        self._box = box
        self.simplify, self.known_eq = box.simplify, box.known_eq

    def op(self, name: str, *args: Expr, dtype=None) -> Expr:
        rule = _OPS.get(name)
        if rule is None or np.dtype(dtype) not in _DTYPES or (name in _LOGICAL and dtype != np.bool_):
            raise _Unknown
        return rule(self._box, *args)

    def const(self, value, dtype) -> Expr:
        if np.dtype(dtype) not in _DTYPES:
            raise _Unknown
        return const(int(value))

    def convert(self, value: Expr, dtype) -> Expr:
        if np.dtype(dtype) not in _DTYPES or (dtype == np.bool_ and value.value not in (0, 1)):
            raise _Unknown
        return value

    def position(self, expr: Expr, dtype) -> Expr:
        return expr

    def index(self, value: Expr) -> Expr:
        return value

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
