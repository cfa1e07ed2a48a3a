"""Facts: what the analysis knows about every variable of a jaxpr, before anything runs.

* Per variable: its shape, as expressions over the symbols of the inputs; whether its value is a function of shapes alone; and for
  small integer tensors the value itself, element by element.
* Per eqn: SoD2's operator class in its context. Over all: the equalities between sizes that the program demands.
* A dim is on one of three levels (papers: SoD2, section 4.1): UNDEF, not known yet; an `Expr`, that is a constant, a symbol or an
  expression over them; NAC, not a constant before execution. `meet` joins where control flow does. An element of a value is an
  Expr or None for nac; where all are, there is no value.
* Facts hold for every size within `box`, `constraints` included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import count

import numpy as np

from sod2jax.ir.box import Box
from sod2jax.ir.expr import Expr, const, sym
from sod2jax.ir.program import Cond


class Level(Enum):
    """The two ends of the lattice; an Expr lies between them."""

    UNDEF = "undef"
    NAC = "nac"

    def __str__(self):
        return self.value


UNDEF, NAC = Level.UNDEF, Level.NAC
Size = Expr | Level
NO_CONDITIONS: frozenset[Cond] = frozenset()


def meet(a: Size, b: Size, box: Box) -> Size:
    """What is true of a size that is `a` or `b`: equal stays, undef yields to the other, unequal becomes nac."""
    if a is UNDEF or b is NAC:
        return b
    if b is UNDEF or a is NAC:
        return a
    return a if a is b or box.known_eq(a, b) else NAC


def meet_shapes(a: tuple[Size, ...] | Level, b: tuple[Size, ...] | Level, box: Box) -> tuple[Size, ...] | Level:
    """Dimension by dimension; shapes of different rank meet in nac."""
    if a is UNDEF or b is NAC:
        return b
    if b is UNDEF or a is NAC:
        return a
    return tuple(meet(x, y, box) for x, y in zip(a, b, strict=True)) if len(a) == len(b) else NAC


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The value of a small integer tensor: an object array of its shape, of Exprs, and None where an element is nac.

    `needs` are the conditions that keep every integer on the way within its dtype; where one fails, nothing is said. They concern
    32-bit integers only: 64-bit overflow stops the runtime by itself, and values of narrower dtypes are known only if they fit.
    """

    elements: np.ndarray
    needs: frozenset[Cond] = NO_CONDITIONS

    def __str__(self):
        return _nested(self.elements.tolist())

    def meet(self, other: Known | None, box: Box) -> Known | None:
        if other is None:
            return None
        elements = self.elements.copy()
        for index, e in np.ndenumerate(other.elements):
            mine = elements[index]
            if mine is None or e is None or meet(mine, e, box) is NAC:
                elements[index] = None
        return Known(elements, self.needs | other.needs) if any(e is not None for e in elements.flat) else None


@dataclass(frozen=True, slots=True)
class Constraint:
    """Two sizes that an eqn makes equal, and which the box alone does not."""

    cond: Cond
    eqn: int  # its number in the jaxpr, counted from 0; of an eqn in a body, that of the outer one


@dataclass(frozen=True)
class Facts:
    """The facts of one jaxpr. Variables are its own; literals are understood too."""

    jaxpr: object
    box: Box
    shapes: Mapping[object, tuple[Size, ...]]
    values: Mapping[object, Known]
    classes: tuple[Enum, ...]  # ops.Dyn, per eqn
    determined: frozenset  # variables whose value is a function of shapes alone
    constraints: tuple[Constraint, ...] = ()
    line_of: Callable[[object], str] = field(default=lambda eqn: "", repr=False)  # an eqn's line of the user's source

    def shape(self, var) -> tuple[Size, ...]:
        return tuple(map(const, np.shape(var.val))) if _is_literal(var) else self.shapes[var]

    def value(self, var) -> np.ndarray | None:
        """The elements (Expr, or None for nac), or None where all are nac. See `needs`."""
        if _is_literal(var):
            known = of_constant(var.val)
        else:
            known = self.values.get(var)
        return known.elements if known is not None else None

    def needs(self, var) -> frozenset[Cond]:
        """Conditions on sizes under which `value(var)` is right. Whoever uses the value makes them guards."""
        known = None if _is_literal(var) else self.values.get(var)
        return known.needs if known is not None else NO_CONDITIONS

    def known(self, var) -> bool:
        """Whether every element of `var` is known."""
        value = self.value(var)
        return value is not None and all(e is not None for e in value.flat)

    def integer(self, var) -> Expr | None:
        """The value of a scalar, or of a tensor all of whose elements are the same expression."""
        value = self.value(var)
        if value is None or not value.size:
            return None
        first, *others = value.flat
        return first if all(e is first for e in others) else None

    def klass(self, eqn: int):
        """SoD2's class of an eqn, by number, in its context."""
        return self.classes[eqn]

    def where(self, eqn: int) -> str:
        """`file:line (function)` of the user's source that made an eqn, or ""."""
        return self.line_of(self.jaxpr.eqns[eqn])

    def __str__(self):
        return facts_text(self)


def of_constant(value) -> Known | None:
    """The value of a concrete integer or bool array."""
    value = np.asarray(value)
    if value.dtype.kind not in "biu":
        return None
    elements = np.empty(value.shape, object)
    elements.reshape(-1)[:] = [const(int(v)) for v in value.flat]
    return Known(elements)


def _is_literal(var) -> bool:
    return hasattr(var, "val")


# -- text


def _nested(value) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_nested, value))}]"
    return str(NAC if value is None else value)


def facts_text(facts: Facts) -> str:
    """One line per eqn: number, class, outputs with shapes, primitive, operands, value, source line."""
    jaxpr, name = facts.jaxpr, _names(facts.jaxpr)

    def described(var):
        return f"{name(var)}:{_type(var.aval.dtype)}[{', '.join(map(str, facts.shape(var)))}]"

    rows = []
    for number, eqn in enumerate(jaxpr.eqns):
        outs = eqn.outvars
        known = [f"= {facts.values[v]}" for v in outs if v in facts.values]
        operands = " ".join(map(name, eqn.invars))
        note = "shape-determined" if not known and outs and all(v in facts.determined for v in outs) else "; ".join(known)
        rows.append((
            str(number), facts.classes[number].name, " ".join(map(described, outs)), f"{eqn.primitive.name} {operands}".strip(),
            note, _short_line(facts.where(number)),
        ))  # fmt: skip
    lines = _box_lines(facts.box)
    lines += [f"in   {described(v)}" for v in jaxpr.invars]
    lines += [f"const {described(v)}" for v in jaxpr.constvars]
    lines += _columns(rows)
    lines += [f"out  {name(v)}" for v in jaxpr.outvars]
    needs = {str(need) for known in facts.values.values() for need in known.needs}
    lines += [f"assumes {need}   where its values are used" for need in sorted(needs)]
    for c in facts.constraints:
        where = _short_line(facts.where(c.eqn))
        lines.append(f"demands {c.cond}   by eqn {c.eqn}, {jaxpr.eqns[c.eqn].primitive.name}{', ' + where if where else ''}")
    return "\n".join(lines)


def ranges(box: Box) -> dict[str, tuple[int | None, int | None]]:
    """The least and the largest size of each symbol; None where there is no bound."""
    return {name: (box.lower(sym(name)), box.upper(sym(name))) for name in box.names}


def beyond_ranges(box: Box) -> list[Cond]:
    """The facts that say more than a bound of one symbol."""
    return [fact for fact in box.facts if fact.op == "==" or len((fact.lhs - fact.rhs).free) > 1]


def _box_lines(box: Box) -> list[str]:
    bounds = {name: ("" if low is None else low, "" if high is None else high) for name, (low, high) in ranges(box).items()}
    lines = [f"size {name} in {low}..{high}" for name, (low, high) in bounds.items()]
    return lines + [f"fact {fact}" for fact in beyond_ranges(box)]


def _names(jaxpr) -> Callable[[object], str]:
    """JAX's own letters, in order of first appearance; literals by value."""
    names: dict[object, str] = {}
    letters = count()
    for v in _appearance(jaxpr):
        if v not in names:
            names[v] = _letters(next(letters))

    def name(v) -> str:
        return str(np.asarray(v.val)) if _is_literal(v) else names.get(v, "_")

    return name


def _appearance(jaxpr) -> Iterable:
    yield from jaxpr.constvars
    yield from jaxpr.invars
    for eqn in jaxpr.eqns:
        yield from (v for v in eqn.outvars if type(v).__name__ != "DropVar")


def _letters(n: int) -> str:
    return (_letters(n // 26 - 1) if n >= 26 else "") + chr(ord("a") + n % 26)


def _type(dtype) -> str:
    """JAX's short names: f32, i32, u8, bf16, bool."""
    name = getattr(dtype, "name", str(dtype))
    for long, short in (("bfloat", "bf"), ("float", "f"), ("uint", "u"), ("int", "i"), ("complex", "c")):
        if name.startswith(long):
            return short + name[len(long) :]
    return name


def _short_line(where: str) -> str:
    return where.rsplit("/", 1)[-1]


def _columns(rows: list[tuple[str, ...]], widest: int = 56) -> list[str]:
    """Left-aligned columns; a cell wider than `widest` pushes the rest of its row."""
    if not rows:
        return []
    widths = [min(widest, max(map(len, column))) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
