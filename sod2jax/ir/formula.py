"""Formulas of floats over sizes, in the order in which Python computes them: how they are evaluated, read, and how they grow.

* A formula is `("size", Expr)`, `("number", float)`, or the name of a function in `FUNCTIONS` and the formulas of its operands.
* `evaluate` is Python's own arithmetic, or NumPy's where its functions made the formula.
* `growth` says whether a formula grows or falls with its only size; then it passes each threshold once.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sod2jax.ir.expr import Expr

Code = tuple  # see above


@dataclass(frozen=True)
class Function:
    """A function of floats: Python's, NumPy's, the operations that compute it in a kernel, and how it grows where both agree.

    `grows`: for each operand 1, -1 or 0 (unknown), for operands that are not negative.
    """

    python: Callable
    numpy: Callable
    grows: tuple[int, ...]


def _power(x, y):
    result = x**y
    if isinstance(result, complex):
        raise ValueError("a negative size to a fractional power is complex")
    return result


FUNCTIONS: dict[str, Function] = {
    "add": Function(operator.add, np.add, (1, 1)),
    "sub": Function(operator.sub, np.subtract, (1, -1)),
    "mul": Function(operator.mul, np.multiply, (1, 1)),
    "div": Function(operator.truediv, np.true_divide, (1, -1)),
    "floordiv": Function(operator.floordiv, np.floor_divide, (1, -1)),
    "mod": Function(operator.mod, np.remainder, (0, 0)),
    "pow": Function(_power, np.power, (0, 0)),
    "neg": Function(operator.neg, np.negative, (-1,)),
    "abs": Function(abs, np.absolute, (1,)),
    "max": Function(max, np.maximum, (1, 1)),
    "min": Function(min, np.minimum, (1, 1)),
    "sqrt": Function(math.sqrt, np.sqrt, (1,)),
    "cbrt": Function(math.cbrt, np.cbrt, (1,)),
    "exp": Function(math.exp, np.exp, (1,)),
    "exp2": Function(math.exp2, np.exp2, (1,)),
    "expm1": Function(math.expm1, np.expm1, (1,)),
    "log": Function(math.log, np.log, (1,)),
    "log2": Function(math.log2, np.log2, (1,)),
    "log10": Function(math.log10, np.log10, (1,)),
    "log1p": Function(math.log1p, np.log1p, (1,)),
    "sin": Function(math.sin, np.sin, (0,)),
    "cos": Function(math.cos, np.cos, (0,)),
    "tanh": Function(math.tanh, np.tanh, (1,)),
    "floor": Function(lambda x: float(math.floor(x)), np.floor, (1,)),
    "ceil": Function(lambda x: float(math.ceil(x)), np.ceil, (1,)),
    "round_even": Function(lambda x: float(round(x)), np.rint, (1,)),
}
_OF_DIMS = ("floordiv", "mod")  # a Dim and a SizeFloat have operators for these
OF_NUMPY = {f.numpy: name for name, f in FUNCTIONS.items() if name not in _OF_DIMS} | {np.divide: "div", np.float_power: "pow"}


def evaluate(code: Code, sizes: Mapping[str, int], wide: bool = False) -> float:
    """The float at these sizes, as Python computes it (as NumPy does, if `wide`)."""
    match code:
        case ("size", e):
            return e.eval(sizes)
        case ("number", value):
            return value
        case (name, *args):
            values = [evaluate(a, sizes, wide) for a in args]
            if not wide:
                return FUNCTIONS[name].python(*values)
            with np.errstate(all="ignore"):
                return float(FUNCTIONS[name].numpy(*map(np.float64, values)))
    raise AssertionError(code)


def sizes_of(code: Code) -> Iterator[Expr]:
    """The sizes that a formula reads, each as often as it does."""
    match code:
        case ("size", e):
            yield e
        case ("number", _):
            pass
        case (_, *args):
            for a in args:
                yield from sizes_of(a)


def numbered(code: Code, sizes: tuple[Expr, ...]) -> Code:
    """The formula with positions in `sizes` for the sizes."""
    match code:
        case ("size", e):
            return ("size", sizes.index(e))
        case ("number", _):
            return code
        case (name, *args):
            return (name, *(numbered(a, sizes) for a in args))
    raise AssertionError(code)


def at_size(code: Code, n: int) -> Code:
    """The formula of a single size at one number."""
    match code:
        case ("size", _):
            return ("number", n)
        case ("number", _):
            return code
        case (name, *args):
            return (name, *(at_size(a, n) for a in args))
    raise AssertionError(code)


_SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "pow": "**"}


def text(code: Code) -> str:
    """The formula as Python writes it."""
    match code:
        case ("size", e):
            return str(e) if len(e.terms) == 1 else f"({e})"
        case ("number", value):
            return repr(value)
        case (name, a, b) if name in _SYMBOLS:
            return f"({text(a)} {_SYMBOLS[name]} {text(b)})"
        case (name, *args):
            return f"{name}({', '.join(map(text, args))})"
    raise AssertionError(code)


_CONSTANT = 2  # a growth of its own: 1 and -1 are growing and falling, 0 is unknown


def growth(code: Code) -> int:
    """How the float grows with its only size, from 0 on; 0 if that is not known."""
    match code:
        case ("size", _):
            return 1
        case ("number", _):
            return _CONSTANT
        case ("pow", base, ("number", y)):
            return 0 if growth(base) == _CONSTANT or not is_positive(base) else growth(base) * ((y > 0) - (y < 0))
        case ("pow", ("number", x), power):
            return growth(power) * ((x > 1) - (x < 1)) if x > 0 else 0
        case ("mul" | "div" | "floordiv" as name, a, b):
            left, right = growth(a), growth(b) * (1 if name == "mul" or growth(b) == _CONSTANT else -1)
            if right == _CONSTANT:
                return left * ((b[1] > 0) - (b[1] < 0)) if b[0] == "number" else 0
            if left == _CONSTANT:
                known = a[0] == "number" and (name == "mul" or is_positive(b))
                return right * ((a[1] > 0) - (a[1] < 0)) if known else 0
            return left if left == right and is_positive(a) and is_positive(b) else 0
        case ("abs", a):
            return growth(a) if is_positive(a) else 0
        case (name, *args):
            found = {
                g if g in (0, _CONSTANT) else g * grows
                for g, grows in zip(map(growth, args), FUNCTIONS[name].grows, strict=True)
            } - {_CONSTANT}
            return found.pop() if len(found) == 1 else 0 if found else _CONSTANT
    raise AssertionError(code)


def is_positive(code: Code) -> bool:
    """Whether the float is known not to be negative where its sizes are not, nor 0 where none of them is 0."""
    match code:
        case ("size", _) | ("exp" | "exp2", _):
            return True
        case ("number", value):
            return value > 0
        case ("add" | "mul" | "div" | "pow" | "max", a, b):
            return is_positive(a) and is_positive(b)
        case ("sqrt" | "abs" | "cbrt" | "log1p" | "tanh" | "ceil", a):
            return is_positive(a)
    return False


def last_true(holds: Callable[[int], bool], inside: int, outside: int) -> int:
    """The number farthest from `inside`, on the way to `outside`, up to which `holds`; it does at `inside`."""
    if holds(outside):
        return outside
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside


def at_sizes(code: Code, sizes: Mapping[str, int]) -> Code:
    """The formula that `numbered` made, with numbers for its sizes."""
    match code:
        case ("size", i):
            return ("number", sizes[f"size{i}"])
        case ("number", _):
            return code
        case (name, *args):
            return (name, *(at_sizes(a, sizes) for a in args))
    raise AssertionError(code)
