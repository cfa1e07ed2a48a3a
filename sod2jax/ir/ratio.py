"""Floats made of sizes: what `n / 2`, `n ** 0.5`, `np.sqrt(n)` and `math.log(n)` are while a size `n` is symbolic.

* A `SizeFloat` is the formula, in the order in which Python computes it. As an operand of arrays it is evaluated at run time in
  f64, like Python's float, and rounded once: `size_float_p`.
* `SizeFloat64` is what NumPy's functions give: for JAX a scalar of dtype float64 and no weak one, as NumPy's own.
* A float that is one division, and sums and shifts by integers, is known exactly (`Exact`): its floor, ceiling and rounding are
  sizes again. They are Python's: where Python's rounding errors could show, a guard excludes the sizes at which they do.
  (Up to 2**48. Python itself is off by one beyond.)
* Any other floor, and any comparison that no size decides, holds for a range of sizes, since such floats grow or fall with the
  size: the range is found by bisection with Python's own arithmetic, and is a guard.
"""

from __future__ import annotations

import math
import numbers
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive

from sod2jax import compat
from sod2jax.ir import call_sites
from sod2jax.ir.expr import Expr, const, exact_quotient, floordiv, mod
from sod2jax.ir.fixed import Fixed
from sod2jax.ir.formula import (
    FUNCTIONS,
    OF_NUMPY,
    Code,
    at_size,
    at_sizes,
    evaluate,
    growth,
    is_positive,
    last_true,
    numbered,
    sizes_of,
    text,
)
from sod2jax.ir.program import Cond

_SAFE_EXPONENT = 16  # no size to this power is too large for a float
LARGEST = 2**48  # sizes beyond which a float's floor is not Python's
_DENOMINATORS = 1000  # of fractions that a decimal constant may stand for


@dataclass(frozen=True)
class Exact:
    """`numerator / denominator`, the denominator positive.

    `below`, `above`: Python's float may be on this side of an integer where the quotient is that integer. `once`: it is the
    quotient rounded once, so that two such floats compare as the quotients do.
    """

    numerator: Expr
    denominator: Expr
    below: bool = False
    above: bool = False
    once: bool = False


class SizeFloat:
    """A Python float that depends on sizes. `1 / n`, `n ** 0.5`, `math.sqrt(n)`."""

    __slots__ = ("__dict__", "code", "exact", "scope")
    __array_priority__ = 1000
    wide = False

    def __init__(self, code: Code, scope, exact: Exact | None = None):
        self.code, self.scope, self.exact = code, scope, exact

    # -- formulas

    def __repr__(self):
        return str(self._number()) if self._is_for_a_program(sys._getframe(1)) else text(self.code)

    def __format__(self, spec):
        return format(self._number(), spec) if self._is_for_a_program(sys._getframe(1)) else format(text(self.code), spec)

    def __hash__(self):
        return hash(self.code) if call_sites.in_memo(sys._getframe(1)) else hash(self._number())

    def _is_for_a_program(self, frame) -> bool:
        """Whether a text is for a user's program, which could decide by it, and not for people."""
        return not call_sites.by_us(frame) and call_sites.by_user(frame) and self.hint is not None

    def _number(self) -> float:
        """The float at hand: its sizes become numbers."""
        self._fix("the code", f"uses {text(self.code)} as a text or key")
        return self.hint

    def _fix(self, who: str, needs: str) -> None:
        for e in self.sizes:
            self.scope.fix(Fixed(e, self.scope.hint(e), who, self.scope.place(), needs))

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    @cached_property
    def sizes(self) -> tuple[Expr, ...]:
        """The sizes that the formula reads."""
        return tuple(dict.fromkeys(sizes_of(self.code)))

    @cached_property
    def hint(self) -> float | None:
        """The float in the call at hand."""
        env = self.scope.hints
        return float(evaluate(self.code, env, self.wide)) if all(e.free <= env.keys() for e in self.sizes) else None

    def __add__(self, other):
        return binary("add", self, other)

    def __radd__(self, other):
        return binary("add", other, self)

    def __sub__(self, other):
        return binary("sub", self, other)

    def __rsub__(self, other):
        return binary("sub", other, self)

    def __mul__(self, other):
        return binary("mul", self, other)

    def __rmul__(self, other):
        return binary("mul", other, self)

    def __truediv__(self, other):
        return binary("div", self, other)

    def __rtruediv__(self, other):
        return binary("div", other, self)

    def __pow__(self, other):
        return binary("pow", self, other)

    def __rpow__(self, other):
        return binary("pow", other, self)

    def __floordiv__(self, other):
        return _floordiv(self, other)

    def __rfloordiv__(self, other):
        return _floordiv(other, self)

    def __mod__(self, other):
        return _mod(self, other)

    def __rmod__(self, other):
        return _mod(other, self)

    def __divmod__(self, other):
        return _floordiv(self, other), _mod(self, other)

    def __rdivmod__(self, other):
        return _floordiv(other, self), _mod(other, self)

    def __neg__(self):
        return unary("neg", self)

    def __pos__(self):
        return self

    def __abs__(self):
        return unary("abs", self)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return of_ufunc(ufunc, method, inputs, kwargs)

    # -- integers

    def __floor__(self):
        return self.scope.dim(self._integer("floor"))

    def __ceil__(self):
        return self.scope.dim(self._integer("ceil"))

    def __trunc__(self):
        negative = self < 0
        return self.__ceil__() if negative else self.__floor__()

    def __round__(self, digits=None):
        if digits is not None:
            if self.hint is not None:
                self._fix("`round`", f"rounds {text(self.code)} to digits")
            return round(float(self), digits)
        return self.scope.dim(self._integer("round_even"))

    def __int__(self):
        return int(self.__trunc__())  # must be a Python int: a size is fixed then

    def __float__(self):
        if self.hint is not None and call_sites.by_user(sys._getframe(1)):  # from a function in C, that is
            self._fix("the code", f"needs {text(self.code)} as a Python float")
            return self.hint
        for e in self.sizes:
            float(self.scope.dim(e))
        return self.hint

    def rint(self):
        """What `np.round` of it calls."""
        return self._integral("round_even")

    def max(self, other):
        raise TypeError("'float' object cannot be interpreted as an integer")

    min = rmax = rmin = max  # what JAX asks of the bounds of slices

    def astype(self, dtype):
        """A size if `dtype` is integral; as NumPy's scalars."""
        return self.__trunc__() if np.issubdtype(np.dtype(dtype), np.integer) else self

    def _integral(self, how: str) -> SizeFloat:
        """The float that is the floor, ceiling or rounding of this one."""
        value = self._integer(how)
        return type(self)((how, self.code), self.scope, Exact(value, const(1), once=True))

    def _integer(self, how: str) -> Expr:
        exact = self.exact
        if exact is not None:
            a, b = exact.numerator, exact.denominator
            risky = {"floor": exact.below, "ceil": exact.above, "round_even": exact.below or exact.above}[how]
            if not risky or self._never_integral(exact, how):
                match how:
                    case "floor":
                        return floordiv(a, b)
                    case "ceil":
                        return -floordiv(-a, b)
                    case "round_even":  # half to even
                        return floordiv(2 * a + b - 1 + mod(floordiv(a, b), 2), 2 * b)
        python = {"floor": math.floor, "ceil": math.ceil, "round_even": round}[how]
        return const(self.step(python, how))

    def _never_integral(self, exact: Exact, how: str) -> bool:
        """Whether the quotient (its double, for rounding) is no integer here; then that is a guard."""
        rest = mod(exact.numerator * (2 if how == "round_even" else 1), exact.denominator)
        if not self.scope.hint(rest):
            return False
        self.scope.require(rest, "!=", const(0), f"{how}({text(self.code)}) is known where its value is no integer")
        return True

    # -- comparison

    def __eq__(self, other):
        return self is other or (not call_sites.in_memo(sys._getframe(1)) and self._compare("==", other))

    def __ne__(self, other):
        out = self.__eq__(other)
        return out if out is NotImplemented else not out

    def __lt__(self, other):
        return self._compare("<", other)

    def __le__(self, other):
        return self._compare("<=", other)

    def __gt__(self, other):
        out = self._compare("<=", other)
        return out if out is NotImplemented else not out

    def __ge__(self, other):
        out = self._compare("<", other)
        return out if out is NotImplemented else not out

    def __bool__(self):
        return not self._compare("==", 0)

    def _compare(self, op: str, other) -> bool:
        if not (isinstance(other, SizeFloat) or size_of(other) is not None or isinstance(other, numbers.Real)):
            return NotImplemented
        if isinstance(other, float) and not math.isfinite(other):
            return op != "==" and other > 0
        right = _exact(other)
        if self.exact is not None and right is not None and _compare_as_quotients(self.exact, right):
            a, b = self.exact.numerator * right.denominator, right.numerator * self.exact.denominator  # those are positive
            return self.scope.ask(Cond(a, op, b))
        if right is None or right.denominator.value is None or right.numerator.value is None:
            self, other = binary("sub", self, other), 0.0
        sign = self.step(lambda value: (value > other) - (value < other), f"the comparison with {other!r}")
        return {"==": sign == 0, "<": sign < 0, "<=": sign <= 0}[op]

    def step(self, function: Callable[[float], int], what: str) -> int:
        """`function` of this float in the call at hand, under a guard for the sizes where it is the same."""
        hint = self.hint
        if hint is None:
            for e in self.sizes:
                int(self.scope.dim(e))  # raises: there is no size at hand
        value = function(hint)
        if len(self.sizes) == 1 and growth(self.code) != 0 and self._range(function, value, what):
            return value
        self._fix(f"{what} of {text(self.code)}", "depends on it in no monotone way")
        return value

    def finite(self) -> None:
        """Asks that Python computes it: OverflowError at the sizes where it does not."""
        try:
            self.step(lambda value: 0, "the magnitude")
        except OverflowError:
            self._fix(text(self.code), "is too large for a float")
            raise

    def _range(self, function, value: int, what: str) -> bool:
        """Guards that the size lies where `function` has this value, if it lies on a stretch of them."""
        (size,) = self.sizes
        here = self.scope.hint(size)
        if here < 0 or here > LARGEST:
            return False
        at = lambda n: self._at(size, n, function) == value
        low = last_true(at, here, max(self.scope.box.lower(size) or 0, 0))
        high = last_true(at, here, LARGEST)
        for cond in (Cond(const(low), "<=", size), Cond(size, "<=", const(high))):
            if cond.rhs.value != LARGEST:
                self.scope.assume(cond, f"{what} of {text(self.code)}")
        return True

    def _at(self, size: Expr, n: int, function):
        try:
            return function(evaluate(at_size(self.code, n), {}, self.wide))
        except (ArithmeticError, ValueError):
            return None

    # -- arrays

    def dimension_as_value(self):
        """The scalar array that JAX makes of the float."""
        sizes = {f"size{i}": self.scope.dim(e) for i, e in enumerate(self.sizes)}
        return size_float_p.bind(code=numbered(self.code, self.sizes), wide=self.wide, **sizes)

    __jax_array__ = dimension_as_value


class SizeFloat64(SizeFloat):
    """A NumPy float64 that depends on sizes: `np.sqrt(n)`."""

    __slots__ = ()
    wide = True
    dtype = np.dtype(np.float64)
    shape = ()
    ndim = 0
    size = 1



# -- making them


def size_of(x) -> Expr | None:
    """The expression of a symbolic size."""
    e = getattr(x, "expr", None)
    return e if isinstance(e, Expr) else None


def as_float(x) -> SizeFloat:
    """A size as the float that Python makes of it."""
    if isinstance(x, SizeFloat):
        return x
    return SizeFloat(("size", x.expr), x.scope, Exact(x.expr, const(1), once=True))


def _exact(x) -> Exact | None:
    """A number as a fraction, if its float is a short one."""
    if isinstance(x, SizeFloat):
        return x.exact
    if (e := size_of(x)) is not None:
        return Exact(e, const(1), once=True)
    if isinstance(x, (int, np.integer)):
        return Exact(const(int(x)), const(1), once=True)
    if not math.isfinite(x):
        return None
    fraction = Fraction(float(x))
    if fraction.denominator <= 2**20 and abs(fraction.numerator) <= 2**32:
        return Exact(const(fraction.numerator), const(fraction.denominator), once=True)
    near = fraction.limit_denominator(_DENOMINATORS)
    if near <= 0 or float(near) != float(x) or near.numerator > 2**20:
        return None
    # The float of a product with an integer is on this side of an integer only if the constant is by more than a quarter
    # of the last digit.
    far = abs(fraction - near) / near > Fraction(1, 2**54)
    return Exact(const(near.numerator), const(near.denominator), far and fraction < near, far and fraction > near, once=True)


def _inexact(*numbers: Exact) -> bool:
    return any(x.below or x.above for x in numbers)


def _binary_fraction(x: Exact) -> bool:
    """Whether it is a multiple of a power of two, so that floats hold it as it is."""
    d = x.denominator.value
    return d is not None and d & (d - 1) == 0 and not _inexact(x)


def _compare_as_quotients(a: Exact, b: Exact) -> bool:
    """Whether two floats compare as their quotients do: one is an integer, or both are rounded once."""
    return not _inexact(a, b) and (1 in (a.denominator.value, b.denominator.value) or (a.once and b.once))


def _reduced(numerator: Expr, denominator: Expr, below: bool = False, above: bool = False, once: bool = False) -> Exact:
    quotient = exact_quotient(numerator, denominator)
    if quotient is not None:
        numerator, denominator = quotient, const(1)
    return Exact(numerator, denominator, below, above, once)


def _combined(name: str, a: Exact, b: Exact, scope) -> Exact | None:
    """The exact result of an operation, if its float is a single rounding away from it in all that matters."""
    if name in ("add", "sub"):
        if name == "sub":
            b = _negated(b)
        numerator = a.numerator * b.denominator + b.numerator * a.denominator
        held = _binary_fraction(a) and _binary_fraction(b)
        both = a.denominator.value != 1 and b.denominator.value != 1 and not held
        return _reduced(numerator, a.denominator * b.denominator, a.below or b.below or both, a.above or b.above or both, held)
    if name == "div":
        low = scope.box.lower(b.numerator)
        if low is None or low < 1 or (b.numerator.value is None and not (_binary_fraction(a) and b.denominator.value == 1)):
            return None
        held = _binary_fraction(a) and _binary_fraction(b)
        quotient = a.numerator * b.denominator, a.denominator * b.numerator
        if b.denominator.value == 1 and _is_power_of_two(b.numerator):
            return _reduced(*quotient, a.below, a.above, a.once)
        vague = not _binary_fraction(a) or _inexact(b)  # rounded twice
        return _reduced(*quotient, vague, vague, held)
    if name == "mul":
        product = a.numerator * b.numerator, a.denominator * b.denominator
        for x, y in ((a, b), (b, a)):
            is_integer = x.denominator.value == 1 and not _inexact(x)
            is_constant = y.numerator.value is not None and y.denominator.value is not None
            if (is_integer and is_constant) or (_binary_fraction(y) and _is_power_of_two(y.numerator)):
                kept = y if is_integer and is_constant else x
                once = (_binary_fraction(x) and _binary_fraction(y)) or (kept is x and x.once)
                return _reduced(*product, kept.below, kept.above, once)
        vague = not (_binary_fraction(a) and _binary_fraction(b))
        return _reduced(*product, vague, vague, not vague)
    return None


def _negated(x: Exact) -> Exact:
    return Exact(-x.numerator, x.denominator, x.above, x.below, x.once)


def _is_power_of_two(e: Expr) -> bool:
    return e.value is not None and e.value > 0 and e.value & (e.value - 1) == 0


def unary(name: str, x, wide: bool = False) -> SizeFloat:
    """`name` of FUNCTIONS of a size or of a float made of sizes; Python's errors, unless `wide`."""
    x = as_float(x)
    wide = wide or x.wide
    kind = SizeFloat64 if wide else SizeFloat
    if name in ("floor", "ceil", "round_even"):
        return kind(x.code, x.scope, x.exact)._integral(name)
    if not wide and ((name in ("log", "log2", "log10") and x <= 0) or (name == "sqrt" and x < 0)):
        raise ValueError("math domain error")
    result = kind((name, x.code), x.scope, _negated(x.exact) if name == "neg" and x.exact is not None else None)
    if not wide and name in ("exp", "exp2", "expm1"):
        result.finite()
    return result


def binary(name: str, a, b, wide: bool = False):
    """`name` of FUNCTIONS of two numbers, one of which depends on sizes; NotImplemented where the other one is no number."""
    for x in (a, b):
        if isinstance(x, (np.generic, np.ndarray, complex)) and not isinstance(x, (np.float64, np.integer)):
            return getattr(jnp, FUNCTIONS[name].numpy.__name__)(*map(_value, (a, b)))
        if not isinstance(x, (SizeFloat, int, float, np.integer)) and size_of(x) is None:
            return NotImplemented
    scope = next(x.scope for x in (a, b) if hasattr(x, "scope"))
    wide = wide or any(isinstance(x, np.float64) or getattr(x, "wide", False) for x in (a, b))
    if not wide:
        _check(name, a, b, scope)
    left, right = _exact(a), _exact(b)
    exact = None if left is None or right is None else _combined(name, left, right, scope)
    result = (SizeFloat64 if wide else SizeFloat)((name, _code(a), _code(b)), scope, exact)
    if name == "pow" and not wide and not (isinstance(b, (int, float)) and abs(b) <= _SAFE_EXPONENT):
        result.finite()
    return result


def _held(x) -> bool:
    """Whether a number is one that a float holds as it is."""
    exact = _exact(x) if isinstance(x, (SizeFloat, int, float, np.integer)) or size_of(x) is not None else None
    return exact is not None and _binary_fraction(exact)


def _floordiv(a, b):
    """Python's `//`, which is the floor of the true quotient, not of the rounded one: `5 // .1` is 49."""
    if not (_held(a) and _held(b)):
        return binary("floordiv", a, b)
    quotient = binary("div", a, b)
    return quotient if quotient is NotImplemented else quotient._integral("floor")


def _mod(a, b):
    """Python's `%`, which has the sign of `b`."""
    if not (_held(a) and _held(b)):
        return binary("mod", a, b)
    quotient = _floordiv(a, b)
    return quotient if quotient is NotImplemented else binary("sub", a, binary("mul", b, quotient))


def _check(name: str, a, b, scope) -> None:
    """Python's errors of division and powers, which are questions about the sizes."""
    if name in ("div", "floordiv", "mod") and _asks(b, "==", scope):
        raise ZeroDivisionError("division by zero")
    if name == "pow" and isinstance(b, (int, float, np.integer)):
        if b < 0 and _asks(a, "==", scope):
            raise ZeroDivisionError("0.0 cannot be raised to a negative power")
        if b != math.floor(b) and _asks(a, "<", scope):
            raise ValueError(f"{a} ** {b} is complex where the size is negative")


def _asks(x, op: str, scope) -> bool:
    """Whether `x` is (`op`) zero. Where there are no sizes at hand it must not be, which what is compiled then checks."""
    if not isinstance(x, SizeFloat) and size_of(x) is None:
        return x == 0 if op == "==" else x < 0
    if (x := as_float(x)).hint is not None or not is_positive(x.code):
        return x == 0 if op == "==" else x < 0
    for e in x.sizes if op == "==" else ():
        scope.require(e, "!=", const(0), f"{e} is divided by")
    return False


def _code(x) -> Code:
    if isinstance(x, SizeFloat):
        return x.code
    return ("number", float(x)) if size_of(x) is None else ("size", x.expr)


def of_ufunc(ufunc, method: str, inputs: tuple, kwargs: dict):
    """NumPy's function of sizes and numbers: a NumPy float; of anything else, jax.numpy's."""
    if method != "__call__" or kwargs:
        return NotImplemented
    name = OF_NUMPY.get(ufunc)
    if name is not None and all(isinstance(x, (SizeFloat, int, float, np.integer)) or size_of(x) is not None for x in inputs):
        return unary(name, *inputs, wide=True) if len(inputs) == 1 else binary(name, *inputs, wide=True)
    inputs = tuple(np.asarray(x) if isinstance(x, (list, tuple)) else x for x in inputs)
    if ufunc in COMPARISONS and not any(isinstance(x, np.ndarray) for x in inputs):
        return COMPARISONS[ufunc](*(x.item() if isinstance(x, np.generic) else x for x in inputs))
    sizes = [x for x in inputs if isinstance(x, SizeFloat) or size_of(x) is not None]
    sizes[0].scope.note_array([e for x in sizes for e in (x.sizes if isinstance(x, SizeFloat) else (x.expr,))])
    return getattr(jnp, ufunc.__name__)(*map(_value, inputs))


def _value(x):
    if isinstance(x, SizeFloat):
        return x.__jax_array__()
    return x.dimension_as_value() if size_of(x) is not None else x


COMPARISONS = {
    np.equal: operator.eq, np.not_equal: operator.ne, np.less: operator.lt, np.less_equal: operator.le,
    np.greater: operator.gt, np.greater_equal: operator.ge,
}  # fmt: skip


compat.register_float_types(SizeFloat, SizeFloat64)

size_float_p = Primitive("size_float")
"""() -> float scalar; `code` is a formula over the params `size0`, `size1`, ..., which are Dims; weak unless `wide`."""


@size_float_p.def_abstract_eval
def _(*, wide, **_):
    return compat.float_aval(not wide)


@size_float_p.def_impl
def _(*, code, wide, **sizes):
    if any(size_of(size) is not None for size in sizes.values()):
        raise TypeError("a float of symbolic sizes has no value outside of a trace")
    value = evaluate(at_sizes(code, sizes), {}, wide)
    return jnp.asarray(np.float64(value) if wide else value)
