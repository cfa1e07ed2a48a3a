"""Errors that a traced function catches although only symbolic sizes raise them: the function must see numbers then.

* `np.pad(x, n)` is a TypeError where n is symbolic. If it leaves the function, the trace is tried again (`retrace`). If the
  function catches it, the trace goes on as no call with numbers would, so that must be noticed.
* Python tells of errors on their way by `sys.settrace`. It is set while a function is traced that has an `except` (or a
  `contextlib.suppress`) itself or in a function that it calls by name, and asked of those functions only.
* It is not set where a debugger or a measure of coverage has set it: they would be without it.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
import types
from collections.abc import Iterable, Iterator

from sod2jax.ir.call_sites import catching
from sod2jax.ir.fixed import Swallowed
from sod2jax.ir.scope import Scope
from sod2jax.retrace import only_of_sizes


@contextlib.contextmanager
def noticed(functions: Iterable[types.FunctionType], scope: Scope) -> Iterator[None]:
    """Errors that `functions` catch within this block and that sizes may be the cause of are in `scope.refused` after it."""
    watched = {code for f in functions for code in _codes(f.__code__) if catching(code)}
    if not watched or sys.gettrace() is not None:
        yield
        return

    def enter(frame, event, _):
        if frame.f_code not in watched:
            return None
        frame.f_trace_lines = False
        return within

    def within(frame, event, raised):
        if event == "exception" and any(start <= frame.f_lasti < stop for start, stop in catching(frame.f_code)):
            _, error, tb = raised
            if isinstance(error, Exception) and only_of_sizes(error, list(traceback.walk_tb(tb)), scope):
                scope.refused.append(Swallowed(error))
        return within

    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(None)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _codes(inner)
