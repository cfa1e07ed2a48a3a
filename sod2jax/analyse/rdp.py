"""RDP, rank and dimension propagation: symbolic shapes and values of every variable of a jaxpr (papers: SoD2, section 4).

* JAX's typing rules with symbolic sizes are the forward shape transfer: avals hold the shapes already.
* Values move forward by the rules `OpDef.values`, from `dim_as_value`, constants and literals through small integer tensors.
* Shapes move backward by the equations `OpDef.solve`. A size that the caller declares unknown enters as a symbol `undef_k`; an
  equation solves it, from either side. An equation between known sizes that the box does not imply is a constraint that the
  program demands; it becomes a fact, so that equal sizes are one expression from then on.
* Sweeps in eqn order (a depth-first order of the graph), forward then backward per eqn, until a sweep adds no fact. An equation
  enters at most once, so sweeps are at most the equations plus one; nearly every jaxpr settles in one.
* Where control flow joins (`OpDef.branches`), values meet, element by element; a known index follows its branch alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sod2jax import compat
from sod2jax.analyse.classes import classify
from sod2jax.errors import ShapeError
from sod2jax.ir.box import Box
from sod2jax.ir.dims import shape_exprs
from sod2jax.ir.expr import Expr, const, exact_quotient, sym
from sod2jax.ir.facts import NO_CONDITIONS, UNDEF, Constraint, Facts, Known, of_constant
from sod2jax.ir.program import Cond
from sod2jax.ops import of
from sod2jax.ops.values import HEAVY, SMALL, Context, weight

PREFIX = "undef_"  # begins the symbols of sizes that are not known yet
Shape = tuple[Expr, ...]


def analyse(closed_jaxpr, box: Box, unknown: Mapping[object, Sequence[int]] | None = None) -> Facts:
    """Finds the shape of every variable, the values of small integer tensors, and the class of every eqn.

    `unknown` names axes of variables whose size shall not be believed but solved from the rest of the program.
    Raises ShapeError where two sizes must be equal and cannot be.
    """
    return Analysis(closed_jaxpr, box, unknown or {}).facts()


class Analysis:
    """One run. `self.box` grows by the constraints that are found."""

    def __init__(self, closed_jaxpr, box: Box, unknown: Mapping[object, Sequence[int]]):
        self.jaxpr, self.consts = closed_jaxpr.jaxpr, closed_jaxpr.consts
        self.box = self.given = box
        self.shapes: dict[object, Shape] = {}
        self.constraints: list[Constraint] = []
        self.stated: set[tuple[Expr, Expr]] = set()  # equations that entered
        self.grants: dict[tuple, Box] = {}
        self.at = 0  # the eqn at work
        if unknown:
            self.box = box.extend({f"{PREFIX}{n}": (0, None) for n in range(sum(map(len, unknown.values())))})
            names = iter(self.box.names[len(box.names) :])
            for var, axes in unknown.items():
                shape = list(shape_exprs(var.aval))
                for axis in axes:
                    shape[axis] = sym(next(names))
                self.shapes[var] = tuple(shape)

    def facts(self) -> Facts:
        while True:
            entered = len(self.stated)
            values = self.sweep(self.jaxpr, self.consts, {}, outermost=True)
            if len(self.stated) == entered:
                break

        def known(var):
            return var in values and all(e is not None for e in values[var].elements.flat)

        classes, determined = classify(self.jaxpr, of, known)
        shapes = {v: tuple(map(self.settled, self.shape(v))) for v in self.variables()}
        constraints = tuple(self.constraints)
        return Facts(self.jaxpr, self.box, shapes, values, classes, determined, constraints, line_of=compat.user_line)

    def variables(self):
        yield from self.jaxpr.constvars
        yield from self.jaxpr.invars
        for eqn in self.jaxpr.eqns:
            yield from eqn.outvars

    def settled(self, size: Expr):
        size = self.box.simplify(size)
        return UNDEF if any(name.startswith(PREFIX) for name in size.free) else size

    def shape(self, var) -> Shape:
        if hasattr(var, "val"):
            return shape_exprs(var.aval)
        shape = self.shapes.get(var)
        if shape is None:
            shape = self.shapes[var] = shape_exprs(var.aval)
        return shape

    def sweep(self, jaxpr, consts, values: dict[object, Known], outermost: bool = False) -> dict[object, Known]:
        """Every eqn once, forward then backward. `values` holds those of the operands, and takes those of all variables."""
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            if follows(var.aval) and (known := of_constant(value)) is not None:
                values[var] = known
        for number, eqn in enumerate(jaxpr.eqns):
            if outermost:
                self.at = number
            record = of(eqn.primitive)
            if record is None:
                continue
            if record.inner is not None:
                self.enter(eqn, [eqn.params[record.inner]], list(eqn.invars), values)
            elif (branches := record.branches) is not None:
                self.choose(eqn, eqn.params[branches], values)
            else:
                if record.values is not None and follows(eqn.outvars[0].aval):
                    self.forward(eqn, record.values, values)
                if record.solve is not None:
                    self.backward(eqn, record.solve)
        return values

    # -- forward: values

    def value(self, var, values) -> Known | None:
        if hasattr(var, "val"):
            return of_constant(var.val) if follows(var.aval) else None
        return values.get(var)

    def forward(self, eqn, rule, values) -> None:
        operands = [self.value(v, values) for v in eqn.invars]
        if operands and all(x is None for x in operands) and not any(follows(v.aval) for v in eqn.invars):
            return
        out = eqn.outvars[0].aval
        context = Context(
            self.box,
            tuple(e.value for e in map(self.box.simplify, self.shape(eqn.outvars[0]))),
            out.dtype,
            tuple(self.shape(v) for v in eqn.invars),
            tuple(v.aval.dtype for v in eqn.invars),
        )
        if None in context.shape:
            return
        results = rule(context, *(x and x.elements for x in operands), **eqn.params)
        if results is None:
            return
        needs = NO_CONDITIONS.union(*(x.needs for x in operands if x is not None))
        for var, elements in zip(eqn.outvars, results if eqn.primitive.multiple_results else [results], strict=True):
            known = self.admitted(elements, var.aval.dtype, needs) if follows(var.aval) else None
            if known is not None:
                values[var] = known

    def admitted(self, elements: np.ndarray, dtype: np.dtype, needs: frozenset[Cond]) -> Known | None:
        """What a rule gave, as the dtype has it: constants wrapped, the rest within range or under conditions, else nac."""
        conditions: set[Cond] = set()
        result = np.empty_like(elements)
        result.reshape(-1)[:] = [None if e is None else self.within(e, dtype, needs, conditions) for e in elements.flat]
        if result.size and all(e is None for e in result.flat):
            return None
        return Known(result, needs | conditions)

    def within(self, e: Expr, dtype: np.dtype, needs: frozenset[Cond], conditions: set[Cond]) -> Expr | None:
        if weight(e) > HEAVY:
            return None
        e = self.box.simplify(e)
        if dtype.kind == "b":
            return e
        low, high = integer_range(dtype)
        if e.value is not None:
            return const((e.value - low) % (high - low + 1) + low)
        box = self.granted(needs)
        least, most = box.lower(e), box.upper(e)
        under, over = least is None or least < low, most is None or most > high
        if under and (low == 0 or least is not None):
            return None
        if dtype.itemsize == 8 or not (under or over):
            return e
        if dtype.itemsize < 4:
            return None
        if under:
            conditions.add(Cond(const(low), "<=", e))
        if over:
            conditions.add(Cond(e, "<=", const(high)))
        return e

    def granted(self, needs: frozenset[Cond]) -> Box:
        """The box in which `needs` hold as well."""
        if not needs:
            return self.box
        key = (self.box, len(self.box.facts), needs)
        if key not in self.grants:
            self.grants[key] = box = self.box.extend({})
            for cond in needs:
                box.add_fact(cond)
        return self.grants[key]

    # -- backward: equations

    def backward(self, eqn, solve) -> None:
        outs = tuple(self.shape(v) for v in eqn.outvars)
        ins = tuple(self.shape(v) for v in eqn.invars)
        for a, b in solve(outs, ins, **eqn.params):
            if a is not b:
                self.equate(a, b, eqn)

    def equate(self, a: Expr, b: Expr, eqn) -> None:
        """Lets the fact a == b enter, if it says something new."""
        if (a, b) in self.stated:
            return
        unsolved = any(name.startswith(PREFIX) for name in self.box.simplify(a - b).free)
        implied = self.box.known_eq(a, b)
        if implied and not unsolved:
            return
        self.stated.add((a, b))
        difference = self.box.simplify(a - b)
        if implied or difference.value == 0:
            return
        if difference.value is not None or self.box.known_lt(a, b) or self.box.known_lt(b, a):
            where = compat.user_line(eqn)
            raise ShapeError(
                f"{eqn.primitive.name}{' at ' + where if where else ''} needs equal sizes, and {a} is never {b}: "
                f"their difference is {difference}"
            )
        if not unsolved:
            left, right = sorted((self.box.simplify(a), self.box.simplify(b)), key=lambda e: (len(e.key), e.key))
            self.constraints.append(Constraint(Cond(left, "==", right), self.at))
        if self.box is self.given:
            self.box = self.given.extend({})
        self.box.add_fact(Cond(self.reduced(difference), "==", const(0)))

    def reduced(self, difference: Expr) -> Expr:
        """`difference` without a factor that cannot be zero: the common integer, and symbols that are positive."""
        divisor = const(math.gcd(*(c for _, c in difference.terms)))
        shared = set.intersection(*(set(m) for m, _ in difference.terms))
        for atom in shared:
            if self.box.known_lt(0, atom.expr):
                divisor = divisor * atom.expr
        quotient = exact_quotient(difference, divisor)
        return difference if quotient is None else quotient

    # -- bodies

    def enter(self, eqn, bodies, operands, values, needs: frozenset[Cond] = NO_CONDITIONS) -> None:
        """Runs bodies on the operands' values; their outputs meet in the eqn's, and hold where `needs` do."""
        results: list[list[Known | None]] = []
        for body in bodies:
            jaxpr, consts = getattr(body, "jaxpr", body), getattr(body, "consts", ())
            inner: dict[object, Known] = {}
            for var, operand in zip(jaxpr.invars, operands, strict=True):
                if (known := self.value(operand, values)) is not None:
                    inner[var] = known
                self.bind(var, operand, eqn)
            self.sweep(jaxpr, consts, inner)
            results.append([self.value(v, inner) for v in jaxpr.outvars])
            if len(bodies) == 1:
                for var, inside in zip(eqn.outvars, jaxpr.outvars, strict=True):
                    self.bind(var, inside, eqn)
        for var, *known in zip(eqn.outvars, *results, strict=True):
            joined = known[0]
            for other in known[1:]:
                joined = joined and joined.meet(other, self.box)
            if joined is not None:
                values[var] = Known(joined.elements, joined.needs | needs)

    def bind(self, a, b, eqn) -> None:
        for x, y in zip(self.shape(a), self.shape(b), strict=True):
            if x is not y:
                self.equate(x, y, eqn)

    def choose(self, eqn, bodies, values) -> None:
        """A branch by index, clamped as lax does; all of them where the index is not known."""
        operands, picker = list(eqn.invars[1:]), self.value(eqn.invars[0], values)
        index = picker.elements[()] if picker is not None else None
        if index is not None and index.value is not None:
            self.enter(eqn, [bodies[min(max(index.value, 0), len(bodies) - 1)]], operands, values, picker.needs)
        else:
            self.enter(eqn, bodies, operands, values)


def follows(aval) -> bool:
    """Whether the value map holds tensors of this type: integers or bools, at most SMALL of them."""
    dtype = getattr(aval, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biu":
        return False
    size = 1
    for n in aval.shape:
        if type(n) is not int and not isinstance(n, (int, np.integer)):
            return False
        size *= n
    return size <= SMALL


def integer_range(dtype: np.dtype) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)
