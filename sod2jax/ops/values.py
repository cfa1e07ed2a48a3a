"""What becomes of symbolic sizes as they flow, as values, through primitives: RDP's value map (papers: SoD2, section 3).

* The value of a small integer tensor is a NumPy object array of its shape: an `Expr` where an element is a constant, a symbol or
  an expression over sizes, None where it is none of these ("nac"). An operand of which nothing is known is None as a whole.
* A rule is `rule(c, *operands, **params)`; it gives the same of its output (a list, if the primitive has several), or None.
* Expressions are of unbounded integers. Rules may leave the range of the dtype: `analyse.rdp` wraps constants, and records for
  the rest the condition under which nothing overflows.
* A bool is the integer 0 or 1, so a comparison that cannot be decided is still an expression: `a < b` is
  `max(0, min(1, b - a))`, and `select_n` adds a multiple of it. All these stay within Presburger arithmetic, so `Box.prove` can
  tell that jax.numpy's `//` (eight eqns of div, rem, sign, ne, and, select_n) takes the first case for every size.
* Rules that only move elements run NumPy on the object arrays; rules that need to look at values fold constants only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jax import lax
from jax.extend.core import primitives as p

from sod2jax.ir.box import Box
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import Expr, const, floordiv, maximum, minimum, mod
from sod2jax.ir.loops import identity
from sod2jax.ir.program import Cond
from sod2jax.ops.equations import SOLVE, same_shape

__all__ = ["ELEMENTWISE", "HEAVY", "REDUCE", "SHAPE", "SMALL", "SOLVE", "Context", "same_shape", "weight"]

SMALL = 32  # elements; the values of larger tensors are not followed
HEAVY = 48  # nodes; heavier expressions say nothing worth the time of those who read them
ZERO, ONE = const(0), const(1)
Array = np.ndarray  # of Expr | None


@dataclass(slots=True)
class Context:
    """What a rule may ask: about its output 0, its operands, and the ranges of symbols."""

    box: Box
    shape: tuple[int, ...]
    dtype: np.dtype
    in_shapes: tuple[tuple[Expr, ...], ...]
    in_dtypes: tuple[np.dtype, ...]

    def filled(self, operands) -> list[Array] | None:
        """`operands` with arrays of None for those of which nothing is known; None if one of these is no small tensor."""
        result = []
        for x, shape in zip(operands, self.in_shapes, strict=True):
            if x is None:
                sizes = [size.value for size in shape]
                if None in sizes or np.prod(sizes, dtype=object) > SMALL:
                    return None
                x = np.full(sizes, None, object)
            result.append(x)
        return result

    def truth(self, e: Expr | None) -> bool | None:
        """Which of 0 and 1 an expression is at every size."""
        if e is None:
            return None
        if e.value is not None:
            return e.value != 0
        if self.box.prove(Cond(e, "==", ZERO)):
            return False
        return True if self.box.prove(Cond(ZERO, "<", e)) else None


def weight(e: Expr) -> int:
    """Nodes of an expression, each shared part once; stops counting when it is too heavy."""
    if e.value is not None:
        return 1
    seen, todo, count = set(), [e], 0
    while todo and count <= HEAVY:
        x = todo.pop()
        if x in seen:
            continue
        seen.add(x)
        count += sum(len(m) + 1 for m, _ in x.terms)
        todo += [arg for atom in x.atoms for arg in atom.args]
    return count


def array(elements, shape) -> Array:
    out = np.empty(shape, object)
    out.reshape(-1)[:] = elements
    return out


# -- elementwise


def pointwise(f: Callable, lenient: bool = False) -> Callable:
    """The rule that applies `f(c, *elements, **params)` to each element; only a lenient `f` sees None."""

    def rule(c: Context, *operands, **params):
        if not lenient and any(x is None for x in operands):
            return None
        if (operands := c.filled(operands)) is None:
            return None
        columns = [np.broadcast_to(x, c.shape).ravel() for x in operands]
        rows = zip(*columns, strict=True)
        return array([None if not lenient and None in row else f(c, *row, **params) for row in rows], c.shape)

    return rule


def divide(c: Context, a: Expr, b: Expr) -> Expr | None:
    """lax.div of integers: rounds toward zero; a zero divisor gives -1."""
    if b.value is not None and b.value < 0:
        return None if (quotient := divide(c, a, -b)) is None else -quotient
    if b.value == 0:
        return const(-1)
    if not c.box.known_lt(ZERO, b):
        return None
    if c.box.known_le(ZERO, a):
        return floordiv(a, b)
    if c.box.known_le(a, ZERO):
        return -floordiv(-a, b)
    return floordiv(maximum(a, 0), b) - floordiv(maximum(-a, 0), b)


def remainder(c: Context, a: Expr, b: Expr) -> Expr | None:
    """lax.rem of integers: the sign of the dividend; a zero divisor gives the dividend."""
    if b.value == 0:
        return a
    if c.box.known_lt(ZERO, b) and c.box.known_le(ZERO, a):
        return mod(a, b)
    quotient = divide(c, a, b)
    return None if quotient is None else a - b * quotient


def less(c: Context, a: Expr, b: Expr) -> Expr:
    if c.box.known_lt(a, b):
        return ONE
    if c.box.known_le(b, a):
        return ZERO
    return maximum(0, minimum(1, b - a))


def differs(c: Context, a: Expr, b: Expr) -> Expr:
    if c.box.known_eq(a, b):
        return ZERO
    if c.box.known_lt(a, b) or c.box.known_lt(b, a):
        return ONE
    return minimum(1, maximum(a - b, b - a))


def conjunction(c: Context, a, b):
    """Of bools; of integers where both are constant, or one is a mask of low bits."""
    if c.dtype.kind == "b":
        if ZERO in (a, b):
            return ZERO
        return None if a is None or b is None else minimum(a, b)
    if a is None or b is None:
        return None
    if a.value is not None and b.value is not None:
        return const(a.value & b.value)
    x, mask = (a, b.value) if b.value is not None else (b, a.value)
    return mod(x, mask + 1) if mask is not None and mask >= 0 and mask & (mask + 1) == 0 else None


def disjunction(c: Context, a, b):
    if c.dtype.kind == "b":
        if ONE in (a, b):
            return ONE
        return None if a is None or b is None else maximum(a, b)
    return folded(lambda a, b: a | b)(c, a, b)


def exclusive(c: Context, a: Expr, b: Expr):
    return differs(c, a, b) if c.dtype.kind == "b" else folded(lambda a, b: a ^ b)(c, a, b)


def complement(c: Context, a: Expr) -> Expr:
    if c.dtype.kind == "u":
        return int(np.iinfo(c.dtype).max) - a
    return 1 - a if c.dtype.kind == "b" else -a - 1


def shift(f: Callable[[Context, Expr, int], Expr | None]) -> Callable:
    """A shift by a constant within the dtype's width."""
    return lambda c, a, by: f(c, a, by.value) if by.value is not None and 0 <= by.value < 8 * c.dtype.itemsize else None


def shift_right_logical(c: Context, a: Expr, by: int):
    if a.value is not None and by:
        a = const(bits(a.value, c))
    return floordiv(a, 1 << by) if not by or c.box.known_le(ZERO, a) else None


def shift_right_arithmetic(c: Context, a: Expr, by: int):
    """Repeats the top bit, of unsigned integers too."""
    if c.dtype.kind == "u" and (a.value is None or a.value > np.iinfo(c.dtype).max >> 1):
        return None
    return floordiv(a, 1 << by)


def folded(f: Callable[..., int]) -> Callable:
    """The elementwise function of constants alone."""

    def rule(c: Context, *elements):
        if any(e is None or e.value is None for e in elements):
            return None
        return const(f(*(e.value for e in elements)))

    return rule


def bits(e: int, c: Context) -> int:
    return e % (1 << 8 * c.dtype.itemsize)


def select(c: Context, which, *cases):
    if which is None:
        return cases[0] if all(e is cases[0] for e in cases) else None
    if len(cases) != 2 or c.in_dtypes[0].kind != "b":
        return None if which.value is None else cases[min(max(which.value, 0), len(cases) - 1)]
    if (taken := c.truth(which)) is not None:
        return cases[taken]
    if None in cases or weight(which) > HEAVY:
        return None
    return cases[0] + which * (cases[1] - cases[0])


def convert(c: Context, x: Expr, **_):
    return differs(c, x, ZERO) if c.dtype.kind == "b" else x


def power(c: Context, x: Expr, *, y: int):
    return fold(c, FOLD["mul"], [x] * y, ONE) if 0 <= y <= HEAVY else None


def clamp(c: Context, low: Expr, x: Expr, high: Expr) -> Expr:
    return minimum(maximum(x, low), high)


def unary(f):
    return pointwise(lambda c, a, **_: f(a))


def binary(f):
    return pointwise(lambda c, a, b, **_: f(a, b))


IDENTITY = pointwise(lambda c, x, **_: x)
ELEMENTWISE = {
    p.add_p: binary(lambda a, b: a + b),
    p.add_jaxvals_p: binary(lambda a, b: a + b),
    p.sub_p: binary(lambda a, b: a - b),
    p.mul_p: binary(lambda a, b: a * b),
    p.neg_p: unary(lambda a: -a),
    p.abs_p: unary(lambda a: maximum(a, -a)),
    p.sign_p: unary(lambda a: maximum(-1, minimum(1, a))),
    p.square_p: unary(lambda a: a * a),
    p.max_p: binary(maximum),
    p.min_p: binary(minimum),
    p.div_p: pointwise(divide),
    p.rem_p: pointwise(remainder),
    p.integer_pow_p: pointwise(power),
    p.and_p: pointwise(conjunction, lenient=True),
    p.or_p: pointwise(disjunction, lenient=True),
    p.xor_p: pointwise(exclusive),
    p.not_p: pointwise(complement),
    p.eq_p: pointwise(lambda c, a, b: 1 - differs(c, a, b)),
    p.ne_p: pointwise(differs),
    p.lt_p: pointwise(less),
    p.gt_p: pointwise(lambda c, a, b: less(c, b, a)),
    p.le_p: pointwise(lambda c, a, b: 1 - less(c, b, a)),
    p.ge_p: pointwise(lambda c, a, b: 1 - less(c, a, b)),
    p.shift_left_p: pointwise(shift(lambda c, a, by: a * (1 << by))),
    p.shift_right_arithmetic_p: pointwise(shift(shift_right_arithmetic)),
    p.shift_right_logical_p: pointwise(shift(shift_right_logical)),
    p.population_count_p: pointwise(lambda c, x: None if x.value is None else const(bits(x.value, c).bit_count())),
    p.clz_p: pointwise(lambda c, x: None if x.value is None else const(8 * c.dtype.itemsize - bits(x.value, c).bit_length())),
    p.select_n_p: pointwise(select, lenient=True),
    p.clamp_p: pointwise(clamp),
    p.convert_element_type_p: pointwise(convert),
    p.copy_p: IDENTITY,
    p.stop_gradient_p: IDENTITY,
    p.name_p: IDENTITY,
    p.sharding_constraint_p: IDENTITY,
}


# -- movement: the same in NumPy, on arrays of expressions


def moving(f: Callable) -> Callable:
    """The rule of a primitive that moves elements: `f(c, *arrays, **params)`, never asked when nothing is known."""

    def rule(c: Context, *operands, **params):
        if all(x is None for x in operands) or (operands := c.filled(operands)) is None:
            return None
        return f(c, *operands, **params)

    return rule


def broadcast_in_dim(c, x, *, broadcast_dimensions, **_):
    shape = [1] * len(c.shape)
    for size, axis in zip(x.shape, broadcast_dimensions, strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(shape), c.shape)


def slice_(c, x, *, start_indices, limit_indices, strides, **_):
    return x[window(start_indices, limit_indices, strides or (1,) * x.ndim)]


def window(starts, limits, steps):
    bounds = [[expr_of(n).value for n in row] for row in (starts, limits, steps)]
    return tuple(slice(*axis) for axis in zip(*bounds, strict=True))


def pad(c, x, value, *, padding_config, **_):
    for axis, (low, high, interior) in enumerate(padding_config):
        low, high, step = (expr_of(n).value for n in (low, high, interior + 1))
        size = x.shape[axis]
        padded = max(0, low + (size and (size - 1) * step + 1) + high)
        wide = np.full((*x.shape[:axis], padded, *x.shape[axis + 1 :]), value[()], object)
        at = low + step * np.arange(size)
        inside = (at >= 0) & (at < wide.shape[axis])
        before = (slice(None),) * axis
        wide[(*before, at[inside])] = x[(*before, inside)]
        x = wide
    return x


def split(c, x, *, sizes, axis, **_):
    ends = np.cumsum([expr_of(n).value for n in sizes])
    return np.split(x, ends[:-1], axis)


def integers(x) -> np.ndarray | None:
    """The values of an array of constants."""
    if x is None or any(e is None or e.value is None for e in x.flat):
        return None
    return array([e.value for e in x.flat], x.shape)


def positions(starts, sizes, extents) -> list[int] | None:
    """Start indices of a dynamic slice, clamped as lax does; None if one is not a constant and matters."""
    result = []
    for start, size, extent in zip(starts, sizes, extents, strict=True):
        if size == extent:
            result.append(0)
            continue
        if start is None or (at := start[()]) is None or at.value is None:
            return None
        result.append(min(max(at.value, 0), size - extent))
    return result


def dynamic_slice(c, x, *starts, slice_sizes, **_):
    if x is None or (at := positions(starts, x.shape, c.shape)) is None:
        return None
    return x[tuple(slice(a, a + n) for a, n in zip(at, c.shape, strict=True))]


def dynamic_update_slice(c, x, update, *starts, **_):
    if (filled := Context(c.box, c.shape, c.dtype, c.in_shapes[:2], c.in_dtypes[:2]).filled((x, update))) is None:
        return None
    x, update = filled
    if (at := positions(starts, x.shape, update.shape)) is None:
        return None
    x = x.copy()
    x[tuple(slice(a, a + n) for a, n in zip(at, update.shape, strict=True))] = update
    return x


def gather(c, x, indices, *, dimension_numbers, slice_sizes, mode, **_):
    """lax.gather at constant indices; an element that is filled in from outside is not followed."""
    d = dimension_numbers
    if x is None or (indices := integers(indices)) is None:
        return None
    fills = lax.GatherScatterMode.from_any(mode) == lax.GatherScatterMode.FILL_OR_DROP
    window_axes = [a for a in range(x.ndim) if a not in d.collapsed_slice_dims and a not in d.operand_batching_dims]
    out = np.full(c.shape, None, object)
    for index in np.ndindex(*c.shape):
        batch = tuple(i for axis, i in enumerate(index) if axis not in d.offset_dims)
        at, inside = [0] * x.ndim, True
        for k, axis in enumerate(d.start_index_map):
            start, last = indices[(*batch, k)], x.shape[axis] - expr_of(slice_sizes[axis]).value
            inside &= 0 <= start <= last
            at[axis] = min(max(start, 0), last)
        for axis, k in zip(d.operand_batching_dims, d.start_indices_batching_dims, strict=True):
            at[axis] = batch[k]
        for axis, k in zip(window_axes, d.offset_dims, strict=True):
            at[axis] += index[k]
        if inside or not fills:
            out[index] = x[tuple(at)]
    return out


# -- creation


def iota(c, *_, dimension, **__):
    return array([const(index[dimension]) for index in np.ndindex(*c.shape)], c.shape)


def dim_as_value(c, *, dim, **_):
    return array([expr_of(dim)], ())


# -- folds


FOLD = {
    "add": lambda c, a, b: a + b,
    "mul": lambda c, a, b: a * b,
    "max": lambda c, a, b: maximum(a, b),
    "min": lambda c, a, b: minimum(a, b),
    "and": conjunction,
    "or": disjunction,
    "xor": exclusive,
}


def fold(c, f, elements, empty):
    """Left to right; None if an element is unknown. `empty` is the value of no elements."""
    if not len(elements) or any(e is None for e in elements):
        return None if len(elements) else empty
    result = elements[0]
    for e in elements[1:]:
        if (result := f(c, result, e)) is None or weight(result) > HEAVY:
            return None
    return result


def reduction(name: str) -> Callable:
    def rule(c, x, *, axes, **_):
        empty = const(int(identity(name, c.dtype)))
        kept = [a for a in range(x.ndim) if a not in axes]
        rows = x.transpose([*kept, *axes]).reshape((*c.shape, -1)) if x.size else np.empty((*c.shape, 0), object)
        return array([fold(c, FOLD[name], rows[index], empty) for index in np.ndindex(*c.shape)], c.shape)

    return moving(rule)


def cumulative(name: str) -> Callable:
    def rule(c, x, *, axis, reverse, **_):
        x = np.flip(x, axis) if reverse else x
        out = np.full(x.shape, None, object)
        for index in np.ndindex(*x.shape):
            row = x[(*index[:axis], slice(index[axis] + 1), *index[axis + 1 :])]
            out[index] = fold(c, FOLD[name], row, None)
        return np.flip(out, axis) if reverse else out

    return moving(rule)


def extreme_position(f: Callable) -> Callable:
    """argmax or argmin of constants along one axis: the first of the extremes."""

    def rule(c, x, *, axes, **_):
        x = integers(x)
        if x is None or not x.size:
            return None
        return array([const(int(i)) for i in np.ravel(f(x, axes[0]))], c.shape)

    return moving(rule)


REDUCE = {name: reduction(name) for name in FOLD}
SHAPE = {
    "reshape": moving(lambda c, x, **_: x.reshape(c.shape)),
    "transpose": moving(lambda c, x, *, permutation, **_: x.transpose(permutation)),
    "broadcast_in_dim": moving(broadcast_in_dim),
    "squeeze": moving(lambda c, x, **_: x.reshape(c.shape)),
    "slice": moving(slice_),
    "rev": moving(lambda c, x, *, dimensions, **_: np.flip(x, dimensions)),
    "pad": moving(pad),
    "concatenate": moving(lambda c, *xs, dimension, **_: np.concatenate(xs, dimension)),
    "split": moving(split),
    "stack": moving(lambda c, *xs, axis, **_: np.stack(xs, axis)),
    "unstack": moving(lambda c, x, *, axis, **_: list(np.moveaxis(x, axis, 0))),
    "tile": moving(lambda c, x, *, reps, **_: np.tile(x, [expr_of(n).value for n in reps])),
    "iota": iota,
    "dim_as_value": dim_as_value,
    "gather": gather,
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "argmax": extreme_position(np.argmax),
    "argmin": extreme_position(np.argmin),
    "cumsum": cumulative("add"),
    "cumprod": cumulative("mul"),
    "cummax": cumulative("max"),
    "cummin": cumulative("min"),
}
