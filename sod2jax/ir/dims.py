"""Symbolic sizes: the objects that stand in the shapes of a trace, and the scope that decides questions about them.

* A `Dim` is an `Expr` with a `Scope`. Of a size JAX asks only duck typing: arithmetic, comparison, max/min, a way to become an
  array (`dim_as_value_p`). Results that are constant are plain ints.
* A comparison is decided by the normal form, then by ranges and facts, by proof (`Box.prove`), at last by the *hint* (the size in
  the call at hand), and then a guard is recorded: a call that breaks it gets another version, never a wrong answer.
* Who asks matters. JAX's broadcasting asks `d == 1` and is right with "no" for any d, since it then demands that the sizes be
  equal: so for JAX's own frames 0 and 1 are not special and leave no guard, and two sizes that the hints tell apart just differ.
  Everyone else's code gets an answer for the sizes at hand, and a guard. Our own passes, and the look-ups of JAX's caches, get
  what is known, and no guard.
* `range(d)`, `int(d)`, `float(d)` in user code fix d to its hint, under a guard. For JAX a Dim is never an index.
"""

from __future__ import annotations

import dis
import math
import numbers
import operator
import os
import sys
import sysconfig
import types
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive

from sod2jax import compat
from sod2jax.ir import expr
from sod2jax.ir.box import Bound, Box
from sod2jax.ir.expr import MOD, Expr, as_expr, const, exact_quotient, sym
from sod2jax.ir.program import Cond, Guard

_NEGATION = {"==": "!=", "!=": "==", "<=": "<", "<": "<="}  # of the last two, with the sides exchanged
_HOLDS = {"==": operator.eq, "!=": operator.ne, "<=": operator.le, "<": operator.lt}


class UndecidedDimension(jax.errors.InconclusiveDimensionOperation):
    """A question about a size that neither the constraints nor example sizes decide."""


class Dim:
    """A size that is not a constant. Interned per scope; make it with `Scope.symbol` or `Scope.dim`."""

    __slots__ = ("__weakref__", "_hash", "expr", "scope")
    __array_priority__ = 1000

    expr: Expr
    scope: Scope

    def __init__(self, e: Expr, scope: Scope):
        self.expr, self.scope = e, scope
        self._hash = hash((e, id(scope)))

    @property
    def hint(self) -> int | None:
        """The size in the call at hand."""
        return self.scope.hint(self.expr)

    def __repr__(self):
        return str(self.expr)

    def __hash__(self):
        return self._hash

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
        if _is_int(other) and other >= 0:
            return self.scope.dim(self.expr ** int(other))
        return self.__jax_array__() ** other

    def __rpow__(self, other):
        return other ** self.__jax_array__()

    def __truediv__(self, other):
        return self.__jax_array__() / _as_value(other)

    def __rtruediv__(self, other):
        return _as_value(other) / self.__jax_array__()

    def max(self, other):
        return self._arithmetic(expr.maximum, other)

    def min(self, other):
        return self._arithmetic(expr.minimum, other)

    rmax, rmin = max, min  # JAX's names for max(int, dim), min(int, dim)

    def _arithmetic(self, op, other, reflected: bool = False):
        scope = self.scope
        if type(other) is Dim:
            if other.scope is not scope:
                raise ValueError(f"size {self} and size {other} belong to different traces")
            value = other.expr
        elif _is_int(other):
            value = const(int(other))
        elif isinstance(other, (numbers.Number, np.ndarray, np.generic)):
            a, b = (other, self.__jax_array__()) if reflected else (self.__jax_array__(), other)
            return op(a, b)
        else:
            return NotImplemented  # a tracer or an array makes a value of us by itself
        return scope.dim(op(value, self.expr) if reflected else op(self.expr, value))

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        """NumPy's functions of sizes: integer arithmetic stays a size, anything else becomes an array."""
        if method != "__call__" or kwargs:
            return NotImplemented
        if ufunc in _UFUNCS and all(type(x) is Dim or _is_int(x) for x in inputs):
            return _UFUNCS[ufunc](*(x if type(x) is Dim else int(x) for x in inputs))
        return getattr(jnp, ufunc.__name__)(*map(_as_value, inputs))

    # -- comparison

    def __eq__(self, other):
        if self is other:
            return True
        if type(other) is not Dim and not _is_number(other):
            return NotImplemented
        return self.scope._compare(self, "==", other, sys._getframe(1))

    def __ne__(self, other):
        if self is other:
            return False
        if type(other) is not Dim and not _is_number(other):
            return NotImplemented
        return not self.scope._compare(self, "==", other, sys._getframe(1))

    def __lt__(self, other):
        return self._ordered("<", other, sys._getframe(1))

    def __le__(self, other):
        return self._ordered("<=", other, sys._getframe(1))

    def __gt__(self, other):
        out = self._ordered("<=", other, sys._getframe(1))
        return out if out is NotImplemented else not out

    def __ge__(self, other):
        out = self._ordered("<", other, sys._getframe(1))
        return out if out is NotImplemented else not out

    def _ordered(self, op, other, frame):
        if type(other) is not Dim and not _is_number(other):
            return NotImplemented
        return self.scope._compare(self, op, other, frame)

    def __bool__(self):
        return not self.scope._compare(self, "==", 0, sys._getframe(1))

    # -- conversion

    def __index__(self):
        return self.scope._fix(self, "an index", sys._getframe(1))

    def __int__(self):
        return self.scope._fix(self, "int()", sys._getframe(1))

    def __float__(self):
        return float(self.scope._fix(self, "float()", sys._getframe(1)))

    def dimension_as_value(self):
        """The size as a weakly typed integer scalar, as JAX makes of a Python int."""
        return dim_as_value_p.bind(dim=self)

    __jax_array__ = dimension_as_value


def _is_int(x) -> bool:
    return isinstance(x, (int, np.integer))


def _is_number(x) -> bool:
    return isinstance(x, (int, float, np.integer, np.floating))


def _as_value(x):
    return x.dimension_as_value() if type(x) is Dim else x


_UFUNCS = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.floor_divide: operator.floordiv,
    np.remainder: operator.mod,
    np.negative: operator.neg,
    np.maximum: lambda a, b: a.max(b) if type(a) is Dim else b.max(a),
    np.minimum: lambda a, b: a.min(b) if type(a) is Dim else b.min(a),
    np.equal: operator.eq,
    np.not_equal: operator.ne,
    np.less: operator.lt,
    np.less_equal: operator.le,
    np.greater: operator.gt,
    np.greater_equal: operator.ge,
}

compat.register_dim_type(Dim)

dim_as_value_p = Primitive("dim_as_value")
"""() -> weakly typed integer scalar; parameter `dim` is the Dim."""


@dim_as_value_p.def_abstract_eval
def _(*, dim):
    return compat.dim_value_aval()


@dim_as_value_p.def_impl
def _(*, dim):
    if isinstance(dim, Dim):
        raise UndecidedDimension(f"the size {dim} has no value outside of a trace")
    return jnp.asarray(dim)


class Scope:
    """The symbols of one trace: what is known of them (`box`), their sizes in the call at hand, and what was decided by those.

    `guards` are the decisions of the trace, and what `require` asked for. `units` are sizes that were 1 or 0 in the
    call at hand when JAX asked and got a no: if the trace fails, fixing these is worth a try.
    """

    def __init__(self, symbols: dict[str, tuple[Bound, Bound]] | None = None, facts=(), hints: dict[str, int] | None = None):
        self.box = Box(symbols, facts)
        self.box.scope = self
        self.hints: dict[str, int] = dict(hints or {})
        self.guards: list[Guard] = []
        self.units: dict[Expr, int] = {}
        self._dims: dict[Expr, Dim] = {}
        self._facts_of_guards: set[int] = set()
        self._hinted: dict[Expr, int | None] = {}
        self._answers: dict[tuple[Expr, str, Expr, str], bool] = {}

    # -- making sizes

    def symbol(self, name: str, lo: Bound = 0, hi: Bound = None, hint: int | None = None) -> Dim | int:
        """A new symbol, with inclusive bounds."""
        self.box.enter({name: (lo, hi)})
        if hint is not None:
            self.hints[name] = int(hint)
            self._hinted.clear()
        return self.dim(sym(name))

    def fresh(self, prefix: str, lo: Bound = 0, hi: Bound = None, hint: int | None = None) -> Dim:
        """A symbol with a name of its own: prefix and a number. The size of something that depends on data."""
        n = 0
        while f"{prefix}{n}" in self.box.names:
            n += 1
        return self.symbol(f"{prefix}{n}", lo, hi, hint)

    def dim(self, e: Expr | int) -> Dim | int:
        """The size with this expression; an int if the box knows it to be constant."""
        e = self.box.simplify(as_expr(e))
        if e.value is not None:
            return e.value
        d = self._dims.get(e)
        if d is None:
            d = self._dims[e] = Dim(e, self)
        return d

    def hint(self, e: Expr) -> int | None:
        """The value of `e` in the call at hand, if there is one."""
        if e not in self._hinted:
            known = e.free <= self.hints.keys()
            try:
                self._hinted[e] = e.eval(self.hints) if known else None
            except ZeroDivisionError:
                self._hinted[e] = None
        return self._hinted[e]

    # -- deciding

    def require(self, lhs, op: str, rhs, message: str = "", where: str = "") -> None:
        """Demand `lhs op rhs`: nothing if it is known, ValueError if it fails always or at the sizes at hand.

        Else it is a guard: sizes that break it come here again and get the error, or are refused by what was compiled without
        sizes at hand.
        """
        cond = reduced(Cond(expr_of(lhs), op, expr_of(rhs)))
        left, right = self.hint(cond.lhs), self.hint(cond.rhs)
        hinted = None if left is None or right is None else _HOLDS[op](left, right)
        if hinted is False or self.box.decide(cond) is False:
            values = "" if hinted is None else f" (now {left} and {right})"
            raise ValueError(f"{message or f'{cond} must hold'}{values}{f' at {where}' if where else ''}")
        if self.box.prove(cond):
            return
        text = f"{message or f'{cond} must hold'} (now {{lhs}} and {{rhs}})"
        self.guards.append(Guard(cond, "version", text, where))
        self._assume(cond)

    def _assume(self, cond: Cond) -> None:
        self.box.add_fact(cond)
        self._facts_of_guards.add(id(self.box.facts[-1]))
        self._answers.clear()

    def _compare(self, a: Dim, op: str, b, frame) -> bool:
        who = _asker(frame)
        if type(b) is Dim:
            rhs = b.expr
            if b.scope is not self:
                return False
        elif _is_int(b):
            rhs = const(int(b))
        elif not math.isfinite(b):
            return op != "==" and b > 0
        elif op == "==" and b != math.floor(b):
            return False
        else:  # n < 3.5 is n < 4, n <= 3.5 is n <= 3
            rhs = const(math.ceil(b) if op == "<" else math.floor(b))
        key = (a.expr, op, rhs, who)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answer(reduced(Cond(a.expr, op, rhs)), who, frame)
            self._answers[key] = answer
        return answer

    def _answer(self, cond: Cond, who: str, frame) -> bool:
        decided = self.box.decide(cond)
        if decided is not None:
            return decided
        left, right = self.hint(cond.lhs), self.hint(cond.rhs)
        hinted = None if left is None or right is None else _HOLDS[cond.op](left, right)
        equality = cond.op == "=="
        jax_equality = who == "jax" and equality
        if jax_equality and cond.rhs.value in (0, 1) and not _is_remainder(cond.lhs):
            compound = any(a.args for a in cond.lhs.atoms)
            if hinted is not False and compound and self.box.prove(cond):
                return True  # a gradient's window, say: a formula of sizes that is 1 at all of them
            if hinted:
                self.units[cond.lhs] = cond.rhs.value
            return False
        if who == "sod2":
            return self.box.prove(cond)
        if who == "cache" and equality:
            return False
        if jax_equality and hinted is False and not _is_remainder(cond.lhs):
            return False
        # The hints are a counterexample to one of the two proofs.
        if hinted is not False and self.box.prove(cond):
            return True
        opposite = negation(cond)
        if hinted is not True and self.box.prove(opposite):
            return False
        if hinted is None:
            if jax_equality:
                return False  # JAX says which operation asked, better than we can
            raise UndecidedDimension(
                f"whether {cond} or {opposite} is not known at {_user_line(frame)}. Say which in constraints=, or trace with "
                "arrays or concrete sizes, which decide it for one version."
            )
        self._record(cond if hinted else opposite, "decided here" if who == "user" else "needed by JAX", frame)
        return hinted

    def _record(self, cond: Cond, why: str, frame) -> None:
        message = f"{cond} ({why}; now {{lhs}} and {{rhs}})"
        self.guards.append(Guard(cond, "version", message, _user_line(frame)))
        self._assume(cond)

    def _fix(self, d: Dim, what: str, frame) -> int:
        hint = self.hint(d.expr)
        if _asker(frame) != "user":
            raise TypeError(f"the size {d} is symbolic and cannot be {what}")
        if hint is None:
            raise UndecidedDimension(
                f"the symbolic size {d} is used as {what} at {_user_line(frame)}, which needs a number. "
                "Mark the dim static in shapes=, or trace with arrays or concrete sizes, which fix it for one version."
            )
        cond = Cond(d.expr, "==", const(hint))
        if self.box.decide(cond) is not True:
            self._record(cond, f"used as {what}", frame)
        return hint

    def minimal_guards(self) -> list[Guard]:
        """The guards that neither the constraints nor the other guards imply."""
        given = [f for f in self.box.facts if id(f) not in self._facts_of_guards]
        kept = list(self.guards)
        for g in self.guards:
            others = [o.cond for o in kept if o is not g]
            if Box(self.box.declared, [*given, *others]).prove(g.cond):
                kept.remove(g)
        return kept


def scope_of(box: Box) -> Scope:
    """The scope whose sizes `box` knows."""
    if box.scope is None:
        raise ValueError("this box belongs to no scope, so that an expression over its symbols cannot be a size in a jaxpr")
    return box.scope


def negation(cond: Cond) -> Cond:
    op = _NEGATION[cond.op]
    return Cond(cond.lhs, op, cond.rhs) if op in ("==", "!=") else Cond(cond.rhs, op, cond.lhs)


def reduced(cond: Cond) -> Cond:
    """`cond` without a common factor: "n % 2 == 0" for "-2*(n % 2) == 0"."""
    k = math.gcd(*(c for _, c in cond.lhs.terms + cond.rhs.terms))
    if k == 0:
        return cond
    if cond.op in ("==", "!=") and not cond.rhs.terms and cond.lhs.terms[0][1] < 0:
        k = -k
    return cond if k == 1 else Cond(exact_quotient(cond.lhs, const(k)), cond.op, exact_quotient(cond.rhs, const(k)))


def _is_remainder(e: Expr) -> bool:
    """Whether "is it 0?" asks for divisibility, which JAX demands of a reshape, rather than for emptiness."""
    return any(a.kind == MOD for a in e.atoms)


_JAX = os.path.dirname(jax.__file__) + os.sep
_SOD2 = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_MODELS = _SOD2 + "bench" + os.sep  # functions to be compiled, like a user's
_NUMPY = os.path.dirname(np.__file__) + os.sep
_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
_PACKAGES = tuple({sysconfig.get_paths()[k] + os.sep for k in ("purelib", "platlib")})
_askers: dict[str, str | None] = {}


def _asker(frame) -> str:
    """Whose code compares: "jax", "cache" (JAX where nothing depends on the answer), "sod2" or "user".

    The standard library and NumPy ask for their caller.
    """
    asking = frame
    while frame is not None:
        who = _asker_of(frame.f_code.co_filename)
        if who is not None:
            idle = who == "jax" and (not _in_source(asking) or _asks_for(asking) in compat.IDLE)
            return "cache" if idle else who
        frame = frame.f_back
    return "user"


def _in_source(frame) -> bool:
    """Whether the comparison stands in the source of the frame, and is not made by a hash table that the frame looks into.

    JAX's C++ caches compare a key with others of the same few hash bits; a guard must not come of that.
    """
    code = frame.f_code
    if code.co_name in ("__eq__", "__ne__"):
        return False
    instructions = _codes.get(code)
    if instructions is None:
        instructions = _codes[code] = code.co_code
    return instructions[frame.f_lasti] in _COMPARING


def _asks_for(frame) -> str:
    """The function of JAX that wants to know, and not the one that compares for it."""
    while frame.f_code.co_name in ("definitely_equal", "definitely_equal_shape", "<genexpr>"):
        frame = frame.f_back
    return frame.f_code.co_name


_codes: dict[types.CodeType, bytes] = {}
_COMPARING = {
    op
    for name, op in dis.opmap.items()
    if name in ("COMPARE_OP", "CONTAINS_OP", "TO_BOOL", "UNARY_NOT") or ("JUMP" in name and "_IF_" in name)
}


def _user_line(frame) -> str:
    """`file:line (function)` of the nearest frame that is the user's."""
    while frame is not None and (_asker_of(frame.f_code.co_filename) != "user"):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})" if frame is not None else "an unknown line"


def _asker_of(filename: str) -> str | None:
    who = _askers.get(filename, "")
    if who == "":
        who = _askers[filename] = _owner(filename)
    return who


def _owner(filename: str) -> str | None:
    if filename.startswith(_JAX):
        return "jax"
    if filename.startswith(_SOD2):
        return "user" if filename.startswith(_MODELS) else "sod2"
    if filename.startswith(_NUMPY) or (filename.startswith(_STDLIB) and not filename.startswith(_PACKAGES)):
        return None
    return None if filename.startswith(("<frozen", "<string>")) else "user"  # "<string>": methods of dataclasses


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
