"""Symbolic sizes: the objects that stand in the shapes of a trace.

* A `Dim` is an `Expr` with a `Scope`. Of a size JAX asks only duck typing: arithmetic, comparison, max/min, a way to become an
  array (`dim_as_value_p`). Results that are constant are plain ints.
* What is asked of a size is decided, and recorded, by its scope (`ir.scope.Scope`).
"""

from __future__ import annotations

import numbers
import operator
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive

from sod2jax import compat
from sod2jax.ir import call_sites, expr, ratio
from sod2jax.ir.expr import Expr, as_expr, const
from sod2jax.ir.program import Cond


class UndecidedDimension(jax.errors.InconclusiveDimensionOperation):
    """A question about a size that neither the constraints nor example sizes decide."""


class Dim:
    """A size that is not a constant. Interned per scope; make it with `Scope.symbol` or `Scope.dim`."""

    __slots__ = ("__weakref__", "_hash", "expr", "scope")
    __array_priority__ = 1000

    expr: Expr
    scope: Any  # the `ir.scope.Scope` that made it

    def __init__(self, e: Expr, scope):
        self.expr, self.scope = e, scope
        self._hash = hash((e, id(scope)))

    @property
    def hint(self) -> int | None:
        """The size in the call at hand."""
        return self.scope.hint(self.expr)

    def __repr__(self):
        return self.scope._text(self, sys._getframe(1))

    def __format__(self, spec):
        text = self.scope._text(self, sys._getframe(1))
        return format(int(text) if text.isdigit() else text, spec)

    def __hash__(self):
        frame = sys._getframe(1)
        return self._hash if call_sites.in_memo(frame) or call_sites.by_us(frame) else self.scope._hashed(self, frame)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    # -- arithmetic

    def __add__(self, other):
        return self._arithmetic(operator.add, other)

    def __radd__(self, other):
        return self._arithmetic(operator.add, other, True)

    def __sub__(self, other):
        return self._arithmetic(operator.sub, other)

    def __rsub__(self, other):
        return self._arithmetic(operator.sub, other, True)

    def __mul__(self, other):
        return self._arithmetic(operator.mul, other)

    def __rmul__(self, other):
        return self._arithmetic(operator.mul, other, True)

    def __floordiv__(self, other):
        return self._arithmetic(operator.floordiv, other)

    def __rfloordiv__(self, other):
        return self._arithmetic(operator.floordiv, other, True)

    def __mod__(self, other):
        return self._arithmetic(operator.mod, other)

    def __rmod__(self, other):
        return self._arithmetic(operator.mod, other, True)

    def __divmod__(self, other):
        quotient = self // other
        return quotient if quotient is NotImplemented else (quotient, self % other)

    def __rdivmod__(self, other):
        quotient = other // self
        return quotient if quotient is NotImplemented else (quotient, other % self)

    def __neg__(self):
        return self.scope.dim(-self.expr)

    def __pos__(self):
        return self

    def __abs__(self):
        return self.max(-self)

    def __pow__(self, other):
        if is_int(other) and other >= 0:
            return self.scope.dim(self.expr ** int(other))
        if type(other) is Dim:  # an int, or a float where it is negative
            return self ** other.scope._fix(other, EXPONENT, sys._getframe(1))
        return ratio.binary("pow", self, other)

    def __rpow__(self, other):
        return other ** self.scope._fix(self, EXPONENT, sys._getframe(1)) if is_int(other) else ratio.binary("pow", other, self)

    def __lshift__(self, other):
        return self * (1 << other) if is_int(other) else _bitwise(operator.lshift, self, other)

    def __rshift__(self, other):
        return self // (1 << other) if is_int(other) else _bitwise(operator.rshift, self, other)

    def __and__(self, other):
        low_bits = is_int(other) and other >= 0 and other & (other + 1) == 0
        return self % (int(other) + 1) if low_bits else _bitwise(operator.and_, self, other)

    __rand__ = __and__
    __or__ = __ror__ = lambda self, other: _bitwise(operator.or_, self, other)
    __xor__ = __rxor__ = lambda self, other: _bitwise(operator.xor, self, other)
    __rlshift__ = lambda self, other: _bitwise(operator.lshift, other, self)
    __rrshift__ = lambda self, other: _bitwise(operator.rshift, other, self)
    __invert__ = lambda self: -self - 1

    def __truediv__(self, other):
        return ratio.binary("div", self, other)

    def __rtruediv__(self, other):
        return ratio.binary("div", other, self)

    def __floor__(self):
        return self

    __ceil__ = __trunc__ = __floor__

    def __round__(self, digits=None):
        if digits is None or digits >= 0:
            return self
        return round(self.scope._fix(self, "what is rounded to tens", sys._getframe(1)), digits)

    def max(self, other):
        return self._arithmetic(expr.maximum, other)

    def min(self, other):
        return self._arithmetic(expr.minimum, other)

    rmax, rmin = max, min  # JAX's names for max(int, dim), min(int, dim)

    def _arithmetic(self, op, other, reflected: bool = False):
        scope = self.scope
        if type(other) is Dim:
            if other.scope is not scope:
                raise ValueError(f"size {self.expr} and size {other.expr} belong to different traces")
            value = other.expr
        elif is_int(other) and not _is_narrow(other):
            value = const(int(other))
        elif isinstance(other, (float, ratio.SizeFloat)) and op in _OF_FLOATS:
            return _OF_FLOATS[op](*((other, self) if reflected else (self, other)))
        elif isinstance(other, (numbers.Number, np.ndarray, np.generic)):
            if isinstance(other, np.generic):
                scope.note_array([self.expr])
            a, b = (other, self.dimension_as_value()) if reflected else (self.dimension_as_value(), other)
            return op(a, b)
        else:
            return NotImplemented  # a tracer or an array makes a value of us by itself
        if op in (operator.floordiv, operator.mod):
            divisor = self.expr if reflected else value
            if divisor.value is None and scope.ask(Cond(divisor, "==", const(0))):
                raise ZeroDivisionError("integer division or modulo by zero")
        return scope.dim(op(value, self.expr) if reflected else op(self.expr, value))

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        """NumPy's functions of sizes: integer arithmetic stays a size, anything else is a float of sizes, or an array."""
        if method != "__call__" or kwargs:
            return NotImplemented
        if any(map(_is_narrow, inputs)):
            self.scope.note_array([self.expr])
            return getattr(jnp, ufunc.__name__)(*(x.dimension_as_value() if type(x) is Dim else x for x in inputs))
        if ufunc in _UFUNCS and all(type(x) is Dim or is_int(x) for x in inputs):
            return _UFUNCS[ufunc](*(x if type(x) is Dim else int(x) for x in inputs))
        return ratio.of_ufunc(ufunc, method, inputs, kwargs)

    # -- comparison

    def __eq__(self, other):
        return True if self is other else self._compare("==", other, sys._getframe(1))

    def __ne__(self, other):
        out = self is other or self._compare("==", other, sys._getframe(1))
        return out if out is NotImplemented else not out

    def __lt__(self, other):
        return self._compare("<", other, sys._getframe(1))

    def __le__(self, other):
        return self._compare("<=", other, sys._getframe(1))

    def __gt__(self, other):
        return self._compare(">", other, sys._getframe(1))

    def __ge__(self, other):
        return self._compare(">=", other, sys._getframe(1))

    def __bool__(self):
        return not self._compare("==", 0, sys._getframe(1))

    def _compare(self, op: str, other, frame):
        if type(other) is not Dim and not isinstance(other, (numbers.Number, np.number, np.bool_)):
            return NotImplemented
        return self.scope._compare(self, op, other, frame)

    # -- conversion

    def bit_length(self) -> int:
        """As of an int, under a guard."""
        return ratio.as_float(self).step(lambda n: int(n).bit_length(), "the bit length")

    def astype(self, dtype):
        """As of a NumPy integer: sums and products of sizes are such."""
        return self if np.issubdtype(dtype, np.integer) else jnp.asarray(self).astype(dtype)

    def length(self, frame) -> int:
        """The size as what `len(x)` in `frame` gives, which must be a Python int."""
        return self.scope._fix(self, "len()", frame)

    def __index__(self):
        return self.scope._fix(self, "an index", sys._getframe(1))

    def __int__(self):
        return self.scope._fix(self, "int()", sys._getframe(1))

    def __float__(self):
        return float(self.scope._fix(self, "float()", sys._getframe(1)))

    def dimension_as_value(self):
        """The size as a weakly typed integer scalar, as JAX makes of a Python int."""
        return dim_as_value_p.bind(dim=self)

    def __jax_array__(self):
        """As JAX asks for it, for an operand, say: an int, which may be too large. To a float dtype it converts exactly."""
        caller = sys._getframe(1)
        name, dtype = caller.f_code.co_name, None
        if name in _POWERS:
            base, exponent = map(caller.f_locals.get, _POWERS[name])
            if exponent is self and not jnp.issubdtype(jnp.result_type(base), jnp.inexact):
                self.scope._fix(self, EXPONENT, caller)  # an integer to a power is unrolled
        elif name == "array":
            dtype = caller.f_locals.get("dtype")
        if name not in _CONVERTING and (dtype is None or np.issubdtype(dtype, np.integer)):
            self.scope.require_int(self, dtype)
        return self.dimension_as_value()


EXPONENT = "an exponent"
_POWERS = {"power": ("x1", "x2"), "_operator_pow": ("self", "other")}  # functions of JAX: names of base and exponent
_CONVERTING = {"_convert_element_type", "<listcomp>"}  # of lists, in `array`


def is_int(x) -> bool:
    return isinstance(x, (int, np.integer))


def _bitwise(f: Callable, a, b):
    """Python's operator of ints, for which sizes become numbers; for anything else, that one's own."""
    if not all(type(x) is Dim or is_int(x) for x in (a, b)):
        return NotImplemented
    frame = sys._getframe(2)
    return f(*(x.scope._fix(x, "an operand of a bitwise operator", frame) if type(x) is Dim else x for x in (a, b)))


def _is_narrow(x) -> bool:
    """Whether NumPy computes with `x` and an int in a dtype of its own, where the result wraps."""
    return isinstance(x, np.integer) and (x.dtype.itemsize < 4 or x.dtype.kind == "u")


def _numpy_power(a, b):
    if b < 0:
        raise ValueError("Integers to negative integer powers are not allowed.")
    return a**b


_OF_FLOATS = {
    **{f: partial(ratio.binary, name) for f, name in ((operator.add, "add"), (operator.sub, "sub"), (operator.mul, "mul"))},
    **{f: partial(ratio.binary, name) for f, name in ((expr.maximum, "max"), (expr.minimum, "min"))},
    operator.floordiv: lambda a, b: ratio.as_float(a) // b if type(a) is Dim else a // ratio.as_float(b),
    operator.mod: lambda a, b: ratio.as_float(a) % b if type(a) is Dim else a % ratio.as_float(b),
}
_UFUNCS = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.floor_divide: operator.floordiv,
    np.remainder: operator.mod,
    np.divmod: divmod,
    np.power: _numpy_power,
    np.negative: operator.neg,
    np.absolute: abs,
    **dict.fromkeys((np.floor, np.ceil, np.trunc), lambda a: a),  # of NumPy's ints, since 2.1
    np.maximum: lambda a, b: a.max(b) if type(a) is Dim else b.max(a),
    np.minimum: lambda a, b: a.min(b) if type(a) is Dim else b.min(a),
    **ratio.COMPARISONS,
}

compat.register_dim_type(Dim)

dim_as_value_p = Primitive("dim_as_value")
"""() -> weakly typed integer scalar, or the size as NumPy converts a Python int to `dtype`; parameter `dim` is the Dim."""


@dim_as_value_p.def_abstract_eval
def _(*, dim, dtype=None, weak_type=False):
    return compat.dim_value_aval() if dtype is None else compat.ShapedArray((), dtype, weak_type=weak_type)


@dim_as_value_p.def_impl
def _(*, dim, dtype=None, weak_type=False):
    if isinstance(dim, Dim):
        raise UndecidedDimension(f"the size {dim.expr} has no value outside of a trace")
    return jnp.asarray(dim if dtype is None else np.asarray(dim).astype(dtype))


def expr_of(d) -> Expr:
    """The expression of a size: an int, a NumPy integer, a Dim or an Expr."""
    return d.expr if type(d) is Dim else as_expr(d)


def shape_exprs(aval) -> tuple[Expr, ...]:
    """The shape of an aval, as expressions."""
    return tuple(map(expr_of, aval.shape))


def subs_dim(d, env: dict[str, int]) -> int:
    """The number that a size becomes where each symbol has one."""
    return expr_of(d).eval(env)


def subs_dims(tree, replace: Callable[[Dim], object]):
    """`tree` of tuples, lists and dicts with every Dim replaced: how shapes and eqn parameters are made concrete."""
    if type(tree) is Dim:
        return replace(tree)
    if type(tree) in (tuple, list):
        return type(tree)(subs_dims(x, replace) for x in tree)
    if type(tree) is dict:
        return {k: subs_dims(v, replace) for k, v in tree.items()}
    return tree
