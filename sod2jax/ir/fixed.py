"""Sizes that became numbers while a function was traced: which, who needed the number, at which line, and what to write instead.

* `Fixed` is the record. It is said by a warning, by `cache_info()`, and by the reason of the next compilation.
* `Place` is a line of the user's with the expression that stands there, read from the bytecode's positions and the source.
* `SizeNeeded` is raised where JAX's own code needs the number: the trace starts anew with that one size fixed.
"""

from __future__ import annotations

import ast
import itertools
import linecache
from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType

from sod2jax.ir.expr import Expr


class SizeNeeded(TypeError):
    """A function of JAX wants a symbolic size as a Python number: `size` is its expression, `what` the kind of number.

    `place` is the user's line, where the traceback may not reach it.
    """

    def __init__(self, size: Expr, what: str, place: Place | None = None):
        super().__init__(f"the size {size} is symbolic and cannot be {what}")
        self.size, self.what, self.place = size, what, place


class Swallowed(TypeError):
    """The traced function caught `error`, which only symbolic sizes raise."""

    def __init__(self, error: Exception):
        super().__init__(f"the function catches {type(error).__name__}: {error}, which numbers instead of sizes may not raise")
        self.__cause__ = error


class SimplerWithoutZero(TypeError):
    """JAX asks whether a long formula equals another, which no proof tells while sizes may be 0."""


@dataclass(frozen=True)
class Place:
    """A line of a Python file, the function that it belongs to, and the expression that is evaluated there ("" if unknown)."""

    file: str
    line: int
    function: str
    expression: str = ""

    def __str__(self):
        return f"{self.file}:{self.line} ({self.function})"

    @property
    def called(self) -> str:
        """The function that the expression calls, as it is written: "jnp.convolve"; "" if it is no call."""
        try:
            node = ast.parse(self.expression, mode="eval").body
        except SyntaxError:
            return ""
        return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


NOWHERE = Place("an unknown file", 0, "an unknown function")


def place(code: CodeType, instruction: int, line: int) -> Place:
    """The place of the instruction at this offset of `code`."""
    first, last, start, end = next(itertools.islice(code.co_positions(), instruction // 2, None), (None,) * 4)
    text = ""
    if first is not None and first == last and start is not None:
        text = linecache.getline(code.co_filename, first).encode()[start:end].decode(errors="replace")
    return Place(code.co_filename, line, code.co_name, text)


@dataclass(frozen=True)
class Fixed:
    """`size` was made the number `value`, since `who` at `place` `needs` it: "`len(x)`" and "needs a Python int"."""

    size: Expr
    value: int
    who: str
    place: Place
    needs: str
    remedy: str = ""

    def __str__(self):
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.size} was fixed to {self.value} because {self.who} at {self.place} {self.needs}{remedy}"

    def broken_by(self, sizes: Mapping[str, int]) -> bool:
        """Whether `sizes` give another number."""
        return self.size.free <= sizes.keys() and self.size.eval(sizes) != self.value


def needs(what: str) -> str:
    kind = {"len()": "int", "int()": "int", "an index": "int", "float()": "float"}.get(what)
    return f"needs a Python {kind}" if kind else f"uses it as {what}"


def remedy(place: Place, what: str) -> str:
    """What to write in the place of an expression that needs a number, or ""."""
    called = place.called
    if called == "len" or what == "len()":
        argument = place.expression[len("len(") : -1] if called == "len" else "x"
        return f"use {argument}.shape[0], which stays symbolic"
    if called == "range":
        return "use jax.lax.fori_loop or jax.lax.scan, which take a symbolic length"
    if called.partition(".")[0] in ("np", "numpy"):
        return "use jax.numpy in the place of NumPy, which takes symbolic sizes"
    return _REMEDIES.get(what, "")


IN_ARRAY, ROWS = "an element of a NumPy array", "the number of rows to go through"
TEXT, MEMBER = "a text", "a member of a set or a key of a dict"
_REMEDIES = {
    "float()": "use arithmetic, or functions of NumPy or jax.numpy, which take symbolic sizes",
    TEXT: "use jax.debug.print to print it, which takes symbolic sizes",
    IN_ARRAY: "use jax.numpy in the place of NumPy, which takes symbolic sizes",
    ROWS: "use jax.lax.scan or jax.vmap, which take symbolic lengths",
    MEMBER: "compare sizes with ==, which compiles once per answer",
}
