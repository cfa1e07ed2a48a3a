"""Slices, reversals and counted loops that symbolic sizes hide: static sizes give `slice` where symbolic ones give `gather`.

* `gather`: each operand axis is read at an expression in the output's position (`rewrite.positions`). Where all are affine, with
  a constant step and one position each, the read is slice + rev + transpose + broadcast.
* Bounds must be known. If the mode only promises them, the read begins where it stays inside, if there is room at all sizes.
* `dynamic_slice` with starts that are functions of sizes is a slice; its clamping is written into the start.
* An integer scalar that is a function of sizes becomes one `dim_as_value`, or a literal.
* A `while` that counts from a start to a bound by one is a `scan` over the counter, as `fori_loop` with a static bound writes it.
"""

from __future__ import annotations

import numpy as np
from jax import lax
from jax.extend.core import Literal
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ir.dims import dim_as_value_p, expr_of
from sod2jax.ir.expr import ceildiv, const, maximum, minimum
from sod2jax.ops.rewrites.simplify import broadcast_to, reshape_to, sliced, transposed


def gather(cx, eqn):
    (x, indices), params, out = eqn.invars, eqn.params, eqn.outvars[0].aval
    d = params["dimension_numbers"]
    if d.operand_batching_dims:
        return None
    reader = cx.reader(out.shape)
    batch = [i for axis, i in enumerate(reader.at) if axis not in d.offset_dims]
    offsets = iter([reader.at[axis] for axis in d.offset_dims])
    index = []
    for axis in range(len(x.aval.shape)):
        offset = const(0) if axis in d.collapsed_slice_dims else next(offsets)
        if axis not in d.start_index_map:
            index.append(offset)
            continue
        start = reader.read(indices, [*batch, const(d.start_index_map.index(axis))])
        if start is None:
            return None
        index.append(reader.box.simplify(start + offset))
    promised = lax.GatherScatterMode.from_any(params["mode"]) == lax.GatherScatterMode.PROMISE_IN_BOUNDS
    return affine_read(cx, reader, x, index, out, promised)


def affine_read(cx, reader, x, index, out, promised):
    """The array of aval `out` whose element at position `reader.at` is `x[index]`, by movement eqns; None if they cannot."""
    starts, limits, steps, sizes, reversed_, source = [], [], [], [], [], {}
    for axis, (at, size) in enumerate(zip(index, map(expr_of, x.aval.shape), strict=True)):
        affine = at.linear(reader.names)
        if affine is None:
            return None
        terms, low = affine
        terms = {name: step for name, step in terms.items() if step.value != 0}
        if len(terms) > 1 or any(step.value is None for step in terms.values()):
            return None
        n, step = const(1), 1
        for name, coefficient in terms.items():
            position = reader.names.index(name)
            if position in source:
                return None  # a diagonal
            source[position] = axis
            n, step = expr_of(out.shape[position]), coefficient.value
        if step < 0:
            reversed_.append(axis)
            low = low + (n - 1) * step
        step = abs(step)
        low, last = cx.box.simplify(low), cx.box.simplify(low + (n - 1) * step)
        if not (cx.box.known_le(0, low) and cx.box.known_lt(last, size)):
            room = cx.box.simplify(size - 1 - (last - low))  # the last place where the read can begin
            outside = cx.box.known_lt(low, 0) or cx.box.known_le(size, last)
            if not promised or outside or not cx.box.known_le(0, room):
                return None
            low = cx.box.simplify(maximum(0, minimum(low, room)))  # a broken promise reads something, but nothing outside
            last = cx.box.simplify(low + (n - 1) * step)
        starts.append(low)
        steps.append(step)
        sizes.append(n)
        # x[::2] ends at the end of x: an end after the last element would lie before the start where there is none.
        limits.append(size if step > 1 and cx.box.known_eq(ceildiv(size - low, step), n) else last + 1)
    return _moved(cx, sliced(cx, x, starts, limits, steps, list(map(cx.dim, sizes))), reversed_, source, out)


def _moved(cx, x, reversed_, source, out):
    """`x` reversed along axes, with its axis `source[a]` as axis `a` of the output; axes from nowhere repeat."""
    if reversed_:
        x = cx.emit(p.rev_p, [x], x.aval.shape, x.aval.dtype, dimensions=tuple(reversed_))
    placed = sorted(source)
    kept = [source[a] for a in placed]
    in_order = sorted(kept)
    x = reshape_to(cx, x, [x.aval.shape[axis] for axis in in_order])
    x = transposed(cx, x, [in_order.index(axis) for axis in kept])
    return broadcast_to(cx, x, out, placed)


def dynamic_slice(cx, eqn):
    (x, *starts), out = eqn.invars, eqn.outvars[0].aval
    begins, ends = [], []
    for start, size, extent in zip(starts, x.aval.shape, map(expr_of, out.shape), strict=True):
        last = cx.box.simplify(expr_of(size) - extent)
        begin = const(0) if last.value == 0 else cx.integer(start)
        if begin is None:
            return None
        begin = cx.box.simplify(maximum(0, minimum(begin, last)))
        begins.append(begin)
        ends.append(begin + extent)
    return sliced(cx, x, begins, ends, [1] * len(begins), out.shape)


READABLE = (np.dtype(bool), np.dtype(np.int32), np.dtype(np.int64))


def scalar_of_sizes(cx, eqn):
    """One eqn, not a chain, for an integer or a condition that only sizes decide."""
    out = eqn.outvars[0].aval
    is_final = eqn.primitive is p.convert_element_type_p and cx.maker(eqn.invars[0], dim_as_value_p) is not None
    if out.shape or out.dtype not in READABLE or is_final:
        return None
    value = cx.reader(()).outcome(eqn)
    if value is None:
        return None
    if value.value is not None:
        return cx.constant(np.asarray(value.value, out.dtype), out)
    size = cx.emit(dim_as_value_p, [], (), compat.canonical_dtype(np.int64), dim=cx.dim(value))
    return cx.emit(p.convert_element_type_p, [size], (), out.dtype, new_dtype=out.dtype, weak_type=False, sharding=None)


def counted_loop(cx, eqn):
    """`while i < n` with i from a known start, one more each time, and n that the loop leaves alone."""
    params = eqn.params
    n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
    body, cond = params["body_jaxpr"], params["cond_jaxpr"].jaxpr
    body_consts, init = eqn.invars[n_cond : n_cond + n_body], eqn.invars[n_cond + n_body :]
    test = cx.inside(params["cond_jaxpr"])
    less = test.maker(cond.outvars[0], p.lt_p)
    if less is None or any(eqn.effects for eqn in cond.eqns):
        return None
    counter, bound = less.invars
    carried = cond.invars[n_cond:]
    if isinstance(counter, Literal) or counter not in carried:
        return None
    k = carried.index(counter)
    if not _adds_one(body.jaxpr, n_body + k, k):
        return None
    stop = test.integer(bound)
    if stop is None and bound in cond.invars:
        m = cond.invars.index(bound) - n_cond
        if m >= 0 and body.jaxpr.outvars[m] is not body.jaxpr.invars[n_body + m]:
            return None  # a bound that moves
        stop = cx.integer(init[m] if m >= 0 else eqn.invars[n_cond + m])
    start = cx.integer(init[k])
    if start is None or stop is None:
        return None
    length = cx.dim(maximum(stop - start, 0))
    return cx.emit_many(
        p.scan_p, [*body_consts, *init], [v.aval for v in eqn.outvars], jaxpr=body, length=length, reverse=False,
        unroll=1, **compat.scan_signature(n_body, len(init)),
    )  # fmt: skip


def _adds_one(jaxpr, invar: int, outvar: int) -> bool:
    """Whether output number `outvar` is input number `invar` plus one."""
    for eqn in jaxpr.eqns:
        if eqn.outvars[0] is jaxpr.outvars[outvar]:
            x, *rest = eqn.invars
            one = rest[0] if eqn.primitive is p.add_p else None
            return x is jaxpr.invars[invar] and isinstance(one, Literal) and int(one.val) == 1
    return False


SCALARS = (
    p.add_p, p.sub_p, p.mul_p, p.div_p, p.rem_p, p.neg_p, p.max_p, p.min_p, p.clamp_p, p.select_n_p, p.convert_element_type_p,
    p.copy_p, p.reshape_p, p.squeeze_p, p.eq_p, p.ne_p, p.lt_p, p.le_p, p.gt_p, p.ge_p, p.and_p, p.or_p, p.not_p,
)  # fmt: skip

def reshape(cx, eqn):
    """A reshape that reads its axes in another order: a transposition of its own."""
    x, dimensions = eqn.invars[0], eqn.params["dimensions"]
    return None if dimensions is None else reshape_to(cx, transposed(cx, x, dimensions), eqn.outvars[0].aval.shape)


RULES = dict.fromkeys(SCALARS, (scalar_of_sizes,)) | {
    p.reshape_p: (reshape, scalar_of_sizes),
    p.gather_p: (gather,),
    p.dynamic_slice_p: (dynamic_slice,),
    p.while_p: (counted_loop,),
}
