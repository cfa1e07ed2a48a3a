"""Primitives that only move elements: each is an index map, and none is worth a buffer of its own (SmartMem's elimination).

`pull` maps an output index to the operand's; `forward`, where the map is one-to-one, maps back, so that an epilogue can store
through it. Reshape goes through the linear index; `Body.simplify` turns the quotients into loop variables again.
"""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ir.dims import expr_of
from sod2jax.ir.expr import ceildiv, const, floordiv, maximum, minimum, mod
from sod2jax.ops import values
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop

ZERO = const(0)
BOOL, INT = np.dtype(bool), np.dtype(np.int64)
PARTS = 16  # of a concatenation of lines, for tasks
SHARE = 1024  # elements that such a part has at least


def linear(index, shape):
    """Row-major position of `index`."""
    at = ZERO
    for i, size in zip(index, shape, strict=True):
        at = at * size + i
    return at


def unlinear(at, shape):
    """The index of row-major position `at`; axes of size 1 (or 0: there is no position) take 0, and the first other axis needs no
    modulus."""
    index, stride = [], const(1)
    first = next((k for k, size in enumerate(shape) if size.value not in (0, 1)), None)
    for k in range(len(shape) - 1, -1, -1):
        if shape[k].value in (0, 1):
            index.append(ZERO)
            continue
        quotient = floordiv(at, stride)
        index.append(quotient if k == first else mod(quotient, shape[k]))
        stride = stride * shape[k]
    return tuple(reversed(index))


def regroup(b, index, source, target):
    """`index` of an array of shape `source`, as the index of the same element in shape `target`.

    Works segment by segment: axes that correspond one to one keep their index, so that only real splits and merges divide.
    """
    source, target = list(source), list(target)
    result, i, j = [], 0, 0
    while i < len(source) or j < len(target):
        if i < len(source) and j < len(target) and b.known_eq(source[i], target[j]):
            result.append(index[i])
            i, j = i + 1, j + 1
            continue
        if i < len(source) and source[i].value == 1:
            i += 1
            continue
        if j < len(target) and target[j].value == 1:
            result.append(ZERO)
            j += 1
            continue
        # The shortest runs of axes with equal products; the rest of both shapes if there is none.
        ends = [(ei, ej) for ei in range(i + 1, len(source) + 1) for ej in range(j + 1, len(target) + 1)]
        ends.sort(key=lambda e: e[0] - i + e[1] - j)
        ei, ej = next(
            (e for e in ends if b.known_eq(product(source[i : e[0]]), product(target[j : e[1]]))), (len(source), len(target))
        )
        at = b.simplify(linear(index[i:ei], source[i:ei]))
        result += [b.simplify(k) for k in unlinear(at, target[j:ej])]
        i, j = ei, ej
    return tuple(result)


def product(sizes):
    result = const(1)
    for size in sizes:
        result = result * size
    return result


def reshape(b, out, index, x, **_):
    return x[regroup(b, index, out.shape, x.shape)]


def reshape_forward(b, out, index, x_shape, **_):
    return regroup(b, index, x_shape, out.shape)


def transpose(b, out, index, x, *, permutation, **_):
    source = [ZERO] * len(permutation)
    for axis, origin in enumerate(permutation):
        source[origin] = index[axis]
    return x[source]


def transpose_forward(b, out, index, x_shape, *, permutation, **_):
    return tuple(index[origin] for origin in permutation)


def broadcast_in_dim(b, out, index, x, *, broadcast_dimensions, **_):
    return x[[ZERO if size.value == 1 else index[axis] for size, axis in zip(x.shape, broadcast_dimensions, strict=True)]]


def squeeze(b, out, index, x, *, dimensions, **_):
    kept = iter(index)
    return x[[ZERO if axis in dimensions else next(kept) for axis in range(len(x.shape))]]


def squeeze_forward(b, out, index, x_shape, *, dimensions, **_):
    return tuple(i for axis, i in enumerate(index) if axis not in dimensions)


def slice_(b, out, index, x, *, start_indices, limit_indices, strides, **_):
    steps = strides or (1,) * len(index)
    return x[[expr_of(start) + i * expr_of(step) for i, start, step in zip(index, start_indices, steps, strict=True)]]


def rev(b, out, index, x, *, dimensions, **_):
    return x[[size - 1 - i if axis in dimensions else i for axis, (i, size) in enumerate(zip(index, x.shape, strict=True))]]


def pad(b, out, index, x, padding_value, *, padding_config, **_):
    """x at (i - low) / (interior + 1) where that is a position of x, else the padding value; negative padding crops."""
    inside, source = None, []

    def require(cond):
        nonlocal inside
        inside = cond if inside is None else b.op("and", inside, cond, dtype=BOOL)

    def position(expr):
        return b.position(expr, INT)

    for i, size, (low, high, interior) in zip(index, x.shape, padding_config, strict=True):
        low, high, step = expr_of(low), expr_of(high), expr_of(interior) + 1
        at = b.simplify(i - low)
        if step.value == 1:
            source.append(at)
            end = size
        else:
            source.append(b.simplify(floordiv(at, step)))
            end = (size - 1) * step + 1
            require(b.op("eq", position(b.simplify(mod(at, step))), position(ZERO), dtype=BOOL))
        if low.value is None or low.value > 0:
            require(b.op("ge", position(at), position(ZERO), dtype=BOOL))
        if high.value is None or high.value > 0:
            require(b.op("lt", position(at), position(end), dtype=BOOL))
    if inside is None:
        return x[source]
    return b.where(inside, lambda: x[source], padding_value[()])


def concatenate(b, out, index, *operands, dimension, **_):
    """The operand whose range holds the index; each is read within its own range only."""
    at, begin, pieces = index[dimension], ZERO, []
    for x in operands:
        end = begin + x.shape[dimension]
        pieces.append((begin, end, x))
        begin = end

    def compare(op, bound):
        return b.op(op, b.position(at, INT), b.position(b.simplify(bound), INT), dtype=BOOL)

    result = None
    for begin, end, x in reversed(pieces):
        source = [*index[:dimension], b.simplify(at - begin), *index[dimension + 1 :]]
        bounds = [compare("ge", begin)] if begin.value != 0 else []
        bounds += [compare("lt", end)] if result is not None else []
        inside = b.op("and", *bounds, dtype=BOOL) if len(bounds) == 2 else (bounds or [None])[0]
        value = x[source] if inside is None else b.where(inside, lambda x=x, s=source: x[s], b.const(0, out.dtype))
        result = value if result is None else b.op("select", compare("lt", end), value, result, dtype=out.dtype)
    return result


def line_of(shape, besides=None):
    """The last axis that is longer than 1, but for axis `besides`: its elements lie side by side, or evenly spaced."""
    return max((a for a, size in enumerate(shape) if size.value != 1 and a != besides), default=None)


def pieces(b, outs, *operands, dimension, **_):
    """A concatenation, operand by operand. Each task writes one line; where there is only one, a part of each operand."""
    (out,) = outs
    line = line_of(out.shape)
    line = dimension if line is None else line
    outer = [a for a in range(len(out.shape)) if a != line]
    parts = PARTS if line == dimension and all(out.shape[a].value == 1 for a in outer) else 1
    with b.tasks([*(out.shape[a] for a in outer), const(parts)]) as (*mine, part):
        index, begin = dict(zip(outer, mine, strict=True)), ZERO
        for x in operands:
            size, end, first = x.shape[line], begin + x.shape[dimension], ZERO
            if parts > 1:
                share = maximum(const(SHARE), ceildiv(size, const(parts)))
                first = part * share
                size = maximum(ZERO, minimum(share, size - first))
            with ExitStack() as within:
                if line != dimension:
                    at = b.position(index[dimension], INT)
                    low = b.op("ge", at, b.position(b.simplify(begin), INT), dtype=BOOL)
                    high = b.op("lt", at, b.position(b.simplify(end), INT), dtype=BOOL)
                    within.enter_context(b.when(b.op("and", low, high, dtype=BOOL)))
                index[line] = first + within.enter_context(b.loop(size, "vector"))
                there = {**index, dimension: index[dimension] - begin} if line != dimension else index
                here = {**index, line: index[line] + begin} if line == dimension else index
                axes = range(len(out.shape))
                out.store([here[a] for a in axes], x[[there[a] for a in axes]])
            begin = end


def layers(b, outs, *operands, axis, **_):
    """A stack, operand by operand."""
    (out,) = outs
    line = line_of(out.shape, axis)
    outer = [a for a in range(len(out.shape)) if a not in (line, axis)]
    with b.tasks([out.shape[a] for a in outer]) as mine:
        index = dict(zip(outer, mine, strict=True))
        for number, x in enumerate(operands):
            with b.loop(const(1) if line is None else out.shape[line], "vector") as i:
                at = [index.get(a, i) for a in range(len(out.shape)) if a != axis]
                out.store([*at[:axis], const(number), *at[axis:]], x[at])


def stack(b, out, index, *operands, axis, **_):
    rest = [*index[:axis], *index[axis + 1 :]]
    result = operands[-1][rest]
    for k in range(len(operands) - 2, -1, -1):
        here = b.op("le", b.position(index[axis], INT), b.position(const(k), INT), dtype=BOOL)
        result = b.op("select", here, operands[k][rest], result, dtype=out.dtype)
    return result


def unstack(b, out, index, x, *, axis, **_):
    return x[[*index[:axis], const(out.number), *index[axis:]]]


def tile(b, out, index, x, **_):
    pad_ = len(index) - len(x.shape)
    return x[[b.simplify(mod(i, size)) for i, size in zip(index[pad_:], x.shape, strict=True)]]


def split(b, out, index, x, *, sizes, axis, **_):
    source = list(index)
    for size in sizes[: out.number]:
        source[axis] = source[axis] + expr_of(size)
    return x[source]


def moves(prim, mapping, pull, name, forward=None, affine=False, nest=None):
    defop(
        OpDef(
            prim, Dyn.ISDOS, mapping, pull=pull, nest=nest, forward=forward, cost=0.0, moves=True, affine=affine,
            values=values.SHAPE.get(name), solve=values.SOLVE.get(name),
        )
    )  # fmt: skip


moves(p.reshape_p, Mapping.REORGANIZE, reshape, "reshape", reshape_forward, affine=True)
moves(p.transpose_p, Mapping.SHUFFLE, transpose, "transpose", transpose_forward, affine=True)
moves(p.broadcast_in_dim_p, Mapping.ONE_TO_MANY, broadcast_in_dim, "broadcast_in_dim", affine=True)
moves(p.squeeze_p, Mapping.REORGANIZE, squeeze, "squeeze", squeeze_forward, affine=True)
moves(p.slice_p, Mapping.ONE_TO_ONE, slice_, "slice", affine=True)
moves(p.rev_p, Mapping.SHUFFLE, rev, "rev", affine=True)
moves(p.pad_p, Mapping.ONE_TO_ONE, pad, "pad")
moves(p.concatenate_p, Mapping.ONE_TO_ONE, concatenate, "concatenate", nest=pieces)
moves(compat.primitive("split"), Mapping.ONE_TO_ONE, split, "split", affine=True)
moves(compat.primitive("stack"), Mapping.ONE_TO_ONE, stack, "stack", nest=layers)
moves(compat.primitive("unstack"), Mapping.ONE_TO_ONE, unstack, "unstack", affine=True)
moves(compat.primitive("tile"), Mapping.ONE_TO_MANY, tile, "tile")
