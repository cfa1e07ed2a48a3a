"""Equalities between sizes that a primitive demands of its operands and outputs: RDP's backward transfer.

* `solve(outs, ins, **params)` yields pairs of Exprs; `outs` and `ins` are tuples of shapes.
* Read in either direction a pair is a transfer: a size that is not known yet (undef) is solved from the rest, forward from
  operands, or backward from outputs and the other operands. Between known sizes it is a constraint that the program implies.
* Where lax broadcasts, the constant 1 demands nothing. A symbolic size never broadcasts, and undef stands for one.
"""

from __future__ import annotations

from collections.abc import Iterator

from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import Expr, const, floordiv

Shape = tuple[Expr, ...]
Pairs = Iterator[tuple[Expr, Expr]]


def product(sizes) -> Expr:
    result = const(1)
    for size in sizes:
        result = result * size
    return result


def same_shape(outs, ins, **_) -> Pairs:
    """Elementwise: operands of the output's rank have its sizes, apart from those of 1; scalars go with everything."""
    for out in outs:
        full = [x for x in ins if len(x) == len(out)]
        for axis, size in enumerate(out):
            wide = [x[axis] for x in full if x[axis].value != 1]
            yield from ((size, other) for other in wide if other is not size)
            if full and not wide:
                yield size, const(1)


def first(outs, ins, **_) -> Pairs:
    """The first operand has the first output's shape."""
    yield from zip(outs[0], ins[0], strict=True)


def reshape(outs, ins, **_) -> Pairs:
    yield product(outs[0]), product(ins[0])


def transpose(outs, ins, *, permutation, **_) -> Pairs:
    yield from ((outs[0][k], ins[0][axis]) for k, axis in enumerate(permutation))


def broadcast_in_dim(outs, ins, *, broadcast_dimensions, **_) -> Pairs:
    yield from ((outs[0][axis], size) for size, axis in zip(ins[0], broadcast_dimensions, strict=True) if size.value != 1)


def squeeze(outs, ins, *, dimensions, **_) -> Pairs:
    kept = (size for axis, size in enumerate(ins[0]) if axis not in dimensions)
    yield from zip(outs[0], kept, strict=True)
    yield from ((ins[0][axis], const(1)) for axis in dimensions)


def slice_(outs, ins, *, start_indices, limit_indices, strides, **_) -> Pairs:
    """ceil((limit - start) / stride); the operand's sizes are not bound by it."""
    for axis, (size, start, limit) in enumerate(zip(outs[0], start_indices, limit_indices, strict=True)):
        step = expr_of(strides[axis]) if strides else const(1)
        yield size, -floordiv(expr_of(start) - expr_of(limit), step)


def pad(outs, ins, *, padding_config, **_) -> Pairs:
    """Where nothing is cropped: a crop may stop at 0."""
    for out, size, config in zip(outs[0], ins[0], padding_config, strict=True):
        low, high, interior = map(expr_of, config)
        if interior.value == 0 and low.value is not None and high.value is not None and min(low.value, high.value) >= 0:
            yield out, size + low + high


def concatenate(outs, ins, *, dimension, **_) -> Pairs:
    for axis, out in enumerate(outs[0]):
        if axis == dimension:
            yield out, sum((x[axis] for x in ins[1:]), ins[0][axis])
        else:
            yield from ((out, x[axis]) for x in ins)


def split(outs, ins, *, sizes, axis, **_) -> Pairs:
    yield ins[0][axis], sum((out[axis] for out in outs[1:]), outs[0][axis])
    for out, size in zip(outs, sizes, strict=True):
        yield out[axis], expr_of(size)
        yield from ((out[a], ins[0][a]) for a in range(len(out)) if a != axis)


def stack(outs, ins, *, axis, **_) -> Pairs:
    for x in ins:
        yield from zip(outs[0][:axis] + outs[0][axis + 1 :], x, strict=True)
    yield outs[0][axis], const(len(ins))


def unstack(outs, ins, *, axis, **_) -> Pairs:
    for out in outs:
        yield from zip(out, ins[0][:axis] + ins[0][axis + 1 :], strict=True)
    yield ins[0][axis], const(len(outs))


def tile(outs, ins, *, reps, **_) -> Pairs:
    yield from ((out, size * expr_of(n)) for out, size, n in zip(outs[0], ins[0], reps, strict=True))


def reduce(outs, ins, *, axes, **_) -> Pairs:
    yield from zip(outs[0], (size for axis, size in enumerate(ins[0]) if axis not in axes), strict=True)


def dot_general(outs, ins, *, dimension_numbers, **_) -> Pairs:
    (xk, yk), (xb, yb) = dimension_numbers
    x, y = ins
    yield from ((x[a], y[b]) for a, b in zip(xk, yk, strict=True))
    yield from ((x[a], y[b]) for a, b in zip(xb, yb, strict=True))
    free = [x[a] for a in xb]
    free += [size for a, size in enumerate(x) if a not in xk and a not in xb]
    free += [size for a, size in enumerate(y) if a not in yk and a not in yb]
    yield from zip(outs[0], free, strict=True)


def conv_general_dilated(outs, ins, *, dimension_numbers, feature_group_count, batch_group_count, **_) -> Pairs:
    """Batch, features and groups; spatial sizes are the aval's: a window wider than its operand gives 0, not less."""
    d = dimension_numbers
    (x, y), out = ins, outs[0]
    yield x[d.lhs_spec[0]], out[d.out_spec[0]] * expr_of(batch_group_count)
    yield x[d.lhs_spec[1]], y[d.rhs_spec[1]] * expr_of(feature_group_count)
    yield out[d.out_spec[1]], y[d.rhs_spec[0]]


def reduce_window(outs, ins, *, window_dimensions, window_strides, padding, base_dilation=None, **_) -> Pairs:
    """Axes that the window leaves alone."""
    for axis, (out, size) in enumerate(zip(outs[0], ins[0], strict=True)):
        dilated = base_dilation and base_dilation[axis] != 1
        if window_dimensions[axis] == 1 and window_strides[axis] == 1 and tuple(padding[axis]) == (0, 0) and not dilated:
            yield out, size


def scatter(outs, ins, *, dimension_numbers, **_) -> Pairs:
    """The result is as large as the operand, and there is a window of updates for each index."""
    x, indices, updates = ins
    yield from zip(outs[0], x, strict=True)
    rows = [size for k, size in enumerate(updates) if k not in dimension_numbers.update_window_dims]
    yield from zip(rows, indices[:-1], strict=True)


SOLVE = {
    "same_shape": same_shape,
    "same": first,
    "reshape": reshape,
    "transpose": transpose,
    "broadcast_in_dim": broadcast_in_dim,
    "squeeze": squeeze,
    "slice": slice_,
    "rev": first,
    "pad": pad,
    "concatenate": concatenate,
    "split": split,
    "stack": stack,
    "unstack": unstack,
    "tile": tile,
    "reduce": reduce,
    "dot_general": dot_general,
    "conv_general_dilated": conv_general_dilated,
    "reduce_window": reduce_window,
    "dynamic_update_slice": first,
    "scatter": scatter,
}
