"""What becomes of a trace that fails: once more with more known of the sizes, where a symbolic size was at fault.

* The user's function must not run again for a mistake that has nothing to do with sizes: `from_sizes` looks at the traceback.
* Where a function of JAX wants one size as a number (`ir.fixed.SizeNeeded`), that size becomes one; also where somebody caught
  the error, and went on.
* Else it is tried with no size 0, if none is now; with sizes fixed that are 0 or 1 now; at last with every size as it is now.
* Which sizes became numbers, and at which line of the user's, is kept in the scope (`Scope.fixed`), and said.
* If nothing helps, the first error is the one that the user sees.
"""

from __future__ import annotations

import dis
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TypeVar

import jax
import numpy as np

from sod2jax import compat
from sod2jax.errors import ShapeError
from sod2jax.ir.call_sites import owner
from sod2jax.ir.dims import Dim, UndecidedDimension
from sod2jax.ir.expr import Expr, sym
from sod2jax.ir.fixed import (
    IN_ARRAY,
    NOWHERE,
    ROWS,
    Fixed,
    Place,
    SimplerWithoutZero,
    SizeNeeded,
    Swallowed,
    needs,
    place,
    remedy,
)
from sod2jax.ir.ratio import SizeFloat
from sod2jax.ir.scope import Scope

# What Python, NumPy and JAX raise for a size that would be a number: the wrong type, a value that is none, a dtype that JAX
# has no rule for, a method that NumPy's scalars have, an index that is an array of objects. `from_sizes` tells them from others.
UNTRACEABLE = (TypeError, ValueError, NotImplementedError, AttributeError, IndexError)
_TRACED = (jax.errors.TracerArrayConversionError, jax.errors.TracerIntegerConversionError, jax.errors.ConcretizationTypeError)
_RAISE = dis.opmap["RAISE_VARARGS"]
_MOST = 3  # sizes that are fixed one by one, before all are

Result = TypeVar("Result")
Assume = Callable[[Mapping[Expr, int], str], Scope]


def first_that_traces(scope: Scope, assume: Assume, run: Callable[[Scope], Result]) -> tuple[Result, Scope]:
    """`run(scope)` and the scope, or `run` of a scope in which more is assumed, and that scope.

    `assume({expression: number}, op)` makes a fresh scope in which each expression is (`op`) its number.
    """
    try:
        return _completed(run, scope), scope
    except UNTRACEABLE as first:
        if not scope.hints or not (from_sizes(first) or _of_numpy(first, scope)):
            raise
        failed, fixed = first, []
        assumed = scope
        while (more := _needed(failed, assumed)) is not None and len(fixed) < _MOST:
            fixed.append(more)
            assumed = _with(assume({}, "=="), fixed)
            try:
                return _completed(run, assumed), assumed
            except UNTRACEABLE as err:
                failed = err
        for assumed in [*(() if fixed else _milder(scope, assume)), _with(assume({}, "=="), _all(first, scope))]:
            try:
                return _completed(run, assumed), assumed
            except UNTRACEABLE:
                pass
        raise


def _completed(run: Callable[[Scope], Result], scope: Scope) -> Result:
    """`run(scope)`. If somebody caught the error that a size is no number, what was done then may not be right for a number."""
    result = run(scope)
    if scope.refused:
        raise scope.refused[0]
    return result


def _milder(scope: Scope, assume: Assume) -> Iterator[Scope]:
    """Scopes in which no size becomes a number that is not 0 or 1 now."""
    empty = {sym(name): 0 for name, size in scope.hints.items() if size == 0}
    declared = assume({}, "==").box  # without the guards of the trace that failed
    if any(declared.lower(sym(name)) == 0 and size > 0 for name, size in scope.hints.items()):
        yield assume({sym(name): 1 for name, size in scope.hints.items() if size > 0}, "<=")
    if scope.units or empty:
        yield assume(scope.units | empty, "==")


def _with(scope: Scope, fixed: Sequence[Fixed]) -> Scope:
    for f in fixed:
        scope.fix(f)
    return scope


def _needed(err: BaseException, scope: Scope) -> Fixed | None:
    """The size that JAX wanted as a number, if that is what went wrong."""
    needed = next((e for e in (*_chain(err), *_of_numpy(err, scope)) if isinstance(e, SizeNeeded)), None)
    if needed is None or (value := scope.hint(needed.size)) is None:
        return None
    where, function = needed.place or _users(err), _function_of_jax(err)
    shown = where.called or (where.expression if needed.what == IN_ARRAY else "")
    what = ROWS if function == "`_iter`" else needed.what
    who = f"`{shown}`" if shown else f"JAX's {function}"
    return Fixed(needed.size, value, who, where, needs(what), remedy(where, what))


def _of_numpy(err: BaseException, scope: Scope) -> list[SizeNeeded]:
    """The sizes in arrays that NumPy would have made, if the error is that an array is traced."""
    return scope.in_arrays if isinstance(err, _TRACED) else []


def _all(err: BaseException, scope: Scope) -> list[Fixed]:
    """Every size as it is now, since `err` does not say which one it is about."""
    err = err.__cause__ if isinstance(err, Swallowed) else err
    where = _users(err)
    text = f"{type(err).__name__}: {str(err).partition(chr(10))[0]}"
    who = f"`{where.called or where.expression}`" if where.expression else "the code"
    needs = f"does not take a symbolic size ({text})"
    return [Fixed(sym(name), size, who, where, needs) for name, size in scope.hints.items()]


# -- what an error says


def from_sizes(err: BaseException) -> bool:
    """Whether a symbolic size may be the cause of an error: False where it certainly is not.

    The user's own `raise` decides by values that the sizes at hand gave, under guards: other sizes do not change it, unless it
    asked for types. In JAX's code some frame below the user's must hold a size.
    """
    if any(isinstance(e, (SizeNeeded, SimplerWithoutZero, Swallowed, UndecidedDimension)) for e in _chain(err)):
        return True
    if isinstance(err, ShapeError):  # the sizes at hand are wrong
        return False
    if isinstance(err, IndexError) and "integer" not in str(err):  # NumPy's, of an index that is an array of objects
        return False
    frames = list(traceback.walk_tb(err.__traceback__))
    innermost, instruction = frames[-1][0], _last(err).tb_lasti
    code = innermost.f_code
    plain = isinstance(err, AttributeError) and type(err.obj) in (int, float)  # NumPy's would be, in an array without sizes
    if isinstance(err, AttributeError) and not plain and (err.obj is not None or code.co_name == "__getattr__"):
        return isinstance(err.obj, (Dim, SizeFloat))
    if owner(code.co_filename) == "user":
        return code.co_code[instruction] != _RAISE or not {"isinstance", "type"}.isdisjoint(code.co_names)
    called = [frame for frame, _ in frames[_users_position(frames) + 1 :]]
    return any(_holds_size(value) for frame in called for value in frame.f_locals.values())


def only_of_sizes(err: Exception, frames: Sequence[tuple[FrameType, int]], scope: Scope) -> bool:
    """Whether an error may have no other cause than that a size is symbolic, `frames` being those from its handler inwards.

    What JAX raises about shapes is none: JAX compares sizes, under guards. In a trace of numbers alone there is no other.
    """
    if not scope.has_sizes:
        return False
    if isinstance(err, SizeNeeded) or _of_numpy(err, scope):
        return True
    if not isinstance(err, UNTRACEABLE) or isinstance(err, ShapeError):
        return False
    innermost = frames[-1][0]
    who = owner(innermost.f_code.co_filename)
    if who in ("jax", "sod2"):
        return who == "jax" and any(_of_objects(value) for frame, _ in frames for value in frame.f_locals.values())
    if isinstance(err, IndexError) and "integer" not in str(err):
        return False
    if isinstance(err, AttributeError) and type(err.obj) not in (int, float):  # those may stand beside sizes in an array
        return isinstance(err.obj, (Dim, SizeFloat)) or _of_objects(err.obj)
    if who == "user" and innermost.f_code.co_code[innermost.f_lasti] == _RAISE:
        return False
    return any(_holds_size(value) for frame, _ in frames for value in frame.f_locals.values())


def _of_objects(value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object


def _holds_size(value, depth: int = 3) -> bool:
    """Whether a size stands in a value: alone, in the shape of an array, or within tuples, lists and dicts."""
    if type(value) is Dim or isinstance(value, SizeFloat):
        return True
    if _of_objects(value):
        return True  # made of sizes, or of what NumPy chose among them
    if depth and isinstance(value, (tuple, list, dict)):
        return any(_holds_size(x, depth - 1) for x in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, compat.ARRAYS) and any(type(d) is Dim for d in value.shape)


def _chain(err: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while err is not None and id(err) not in seen:
        seen.add(id(err))
        yield err
        err = err.__cause__ or err.__context__


def _last(err: BaseException):
    tb = err.__traceback__
    while tb.tb_next is not None:
        tb = tb.tb_next
    return tb


def _users_position(frames: Sequence[tuple[FrameType, int]]) -> int:
    """Of the innermost frame that is the user's; -1 if there is none."""
    return max((i for i, (frame, _) in enumerate(frames) if owner(frame.f_code.co_filename) == "user"), default=-1)


def _users(err: BaseException) -> Place:
    """The user's line that led to an error."""
    at, tb = NOWHERE, err.__traceback__
    while tb is not None:
        if owner(tb.tb_frame.f_code.co_filename) == "user":
            at = place(tb.tb_frame.f_code, tb.tb_lasti, tb.tb_lineno)
        tb = tb.tb_next
    return at


def _function_of_jax(err: BaseException) -> str:
    """The function of JAX in which an error was raised."""
    names = [f.f_code.co_name for f, _ in traceback.walk_tb(err.__traceback__) if owner(f.f_code.co_filename) == "jax"]
    return f"`{names[-1]}`" if names else "code"
