"""`int(n / 2)`, `float(n)`, `math.sqrt(n)` in a user's code: a size, or a float of sizes, where Python insists on a number.

* Python lets `__int__` and `__float__` give nothing but an int and a float. So the *call* is redirected: in the bytecode of the
  functions that are traced, a global name that is called at once (`int(...)`, not `isinstance(x, int)`) loads another name.
* What it loads stands in the function's globals. It gives a size for a size, and for all else what Python gives.
* Redirected are the function that is traced, and those that are nested in it, that it closes over, or that it calls by a global
  name. They get their code back after the trace. Elsewhere a size becomes a number, which is said.
* A function in whose module `int` is something of its own is left alone; so are JAX, NumPy and the standard library.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import functools
import math
import threading
import types
from collections.abc import Iterable, Iterator

from sod2jax.ir.call_sites import owner
from sod2jax.ir.dims import Dim
from sod2jax.ir.ratio import SizeFloat, as_float, unary


def _int(*args, **kwargs):
    if len(args) == 1 and isinstance(args[0], (Dim, SizeFloat)):
        return math.trunc(args[0])
    return int(*args, **kwargs)


def _float(*args):
    return as_float(args[0]) if len(args) == 1 and isinstance(args[0], (Dim, SizeFloat)) else float(*args)


class _Math:
    """The module `math`, whose functions take sizes."""

    def __getattr__(self, name: str):
        return _of_math(name)


@functools.cache
def _of_math(name: str):
    python = getattr(math, name)
    if name not in ("sqrt", "log", "log2", "log10", "log1p", "exp", "exp2", "expm1", "cbrt", "sin", "cos", "tanh", "isqrt"):
        return python

    def function(*args):
        if len(args) != 1 or not isinstance(args[0], (Dim, SizeFloat)):
            return python(*args)
        return as_float(args[0]).step(lambda x: math.isqrt(int(x)), "isqrt") if name == "isqrt" else unary(name, args[0])

    return function


SUBSTITUTES: dict[str, tuple[object, object]] = {"int": (int, _int), "float": (float, _float), "math": (math, _Math())}
"""What a global name must stand for, and what is loaded in its place."""
_PREFIX = "_sod2_"
_LOAD, _EXTENDED = dis.opmap["LOAD_GLOBAL"], dis.EXTENDED_ARG
_MOST = 500  # functions that are looked at


def redirected_code(code: types.CodeType, names: Iterable[str]) -> types.CodeType:
    """`code`, and the functions nested in it, with other names loaded: `_sod2_int` where `int` is called."""
    wanted = [name for name in names if name in code.co_names]
    found = {code.co_names.index(name): len(code.co_names) + k for k, name in enumerate(wanted)}
    consts = tuple(redirected_code(c, names) if isinstance(c, types.CodeType) else c for c in code.co_consts)
    raw, touched = bytearray(code.co_code), False
    extended = False
    for at in range(0, len(raw), 2):
        if raw[at] == _LOAD and not extended:
            index, called = raw[at + 1] >> 1, raw[at + 1] & 1
            other = found.get(index)
            if other is not None and other < 128 and (called or code.co_names[index] == "math"):
                raw[at + 1], touched = other << 1 | called, True
        extended = raw[at] == _EXTENDED
    if not touched:
        return code if all(a is b for a, b in zip(consts, code.co_consts, strict=True)) else code.replace(co_consts=consts)
    return code.replace(co_code=bytes(raw), co_names=(*code.co_names, *(_PREFIX + n for n in wanted)), co_consts=consts)


@contextlib.contextmanager
def redirected(functions: Iterable[types.FunctionType]) -> Iterator[None]:
    """The functions, redirected within this block; in other threads, too, where it makes no difference."""
    entered = [f for f in functions if _enter(f)]
    try:
        yield
    finally:
        for f in entered:
            _leave(f)


_lock = threading.Lock()
_inside: dict[types.FunctionType, tuple[int, types.CodeType]] = {}  # blocks that a function is redirected in, its own code


def _enter(function: types.FunctionType) -> bool:
    with _lock:
        count, code = _inside.get(function, (0, function.__code__))
        if not count:
            space = function.__globals__
            names = [n for n, (own, _) in SUBSTITUTES.items() if space.get(n, getattr(builtins, n, None)) is own]
            new = redirected_code(code, names)
            if new is code:
                return False
            space.update({_PREFIX + n: SUBSTITUTES[n][1] for n in names})
            function.__code__ = new
        _inside[function] = count + 1, code
        return True


def _leave(function: types.FunctionType) -> None:
    with _lock:
        count, code = _inside.pop(function)
        if count > 1:
            _inside[function] = count - 1, code
        else:
            function.__code__ = code


def functions_of(fun) -> list[types.FunctionType]:
    """The user's Python functions that a call of `fun` may come to: those it wraps, closes over, or calls by a global name."""
    found: dict[types.FunctionType, None] = {}
    seen: set[int] = set()
    todo = [fun]
    while todo and len(found) < _MOST:
        x = todo.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        match x:
            case types.FunctionType() if owner(x.__code__.co_filename) == "user":
                found[x] = None
                todo += [*_closed_over(x), *_called(x.__code__, x.__globals__)]
            case types.FunctionType() if owner(x.__code__.co_filename) in ("jax", "sod2"):
                todo += _closed_over(x)
            case functools.partial():
                todo += [x.func, *x.args]
            case types.MethodType():
                todo.append(x.__func__)
            case type() | types.FunctionType() | types.ModuleType():
                pass
            case _ if callable(x):
                todo.append(vars(type(x)).get("__call__"))
        if isinstance(wrapped := getattr(x, "__dict__", {}).get("__wrapped__"), types.FunctionType):
            todo.append(wrapped)
    return list(found)


def _closed_over(function: types.FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # nothing in it yet
            yield cell.cell_contents


def _called(code: types.CodeType, space: dict) -> Iterator[object]:
    """What the global names in `code` and in the functions nested in it stand for."""
    yield from (space[name] for name in code.co_names if name in space)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _called(const, space)
