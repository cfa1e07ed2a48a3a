"""What a primitive demands of sizes, as JAX's shape rules do, besides the equalities of its `solve`: limits, and inner shapes.

* `demanded(eqn)` gives the conditions that must hold wherever the eqn stands, whether or not it runs: JAX checks a branch that is
  never taken. Most hold by the way the trace came about; what cannot be proved becomes a guard (`analyse.demands`).
* `demanded_late(eqn)` gives what only JAX's compiler looks at: of eqns that results need.
* Of all eqns: no size of a result is negative. Of calls, loops and branches: inner jaxprs have the shapes that they are given.
* A rule is `rule(outs, ins, **params)`, given tuples of shapes, and yields `Cond`s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ir.dims import dim_as_value_p, expr_of, shape_exprs
from sod2jax.ir.expr import Expr, const, floordiv, minimum, mod
from sod2jax.ir.program import Cond
from sod2jax.ops._base import of
from sod2jax.ops.equations import product

Shape = tuple[Expr, ...]
Conds = Iterator[Cond]
ZERO, ONE = const(0), const(1)


def demanded(eqn: JaxprEqn, simplify: Callable[[Expr], Expr] = lambda size: size) -> Conds:
    """The conditions on sizes without which `eqn` has no meaning. Those that hold by themselves are among them.

    `simplify` brings sizes to the form in which a 1 is seen to be one.
    """
    outs, ins = (tuple(tuple(map(simplify, _shape(v))) for v in atoms) for atoms in (eqn.outvars, eqn.invars))
    for out in outs:
        yield from (Cond(ZERO, "<=", size) for size in out)
    record = of(eqn.primitive)
    if record is not None and record.solve is not None:
        yield from (Cond(a, "==", b) for a, b in record.solve(outs, ins, **eqn.params))
    if record is not None and record.inner is not None:
        yield from _body(eqn.params[record.inner], ins, outs)
    if (rule := DEMANDS.get(eqn.primitive)) is not None:
        yield from rule(outs, ins, **eqn.params)


def demanded_late(eqn: JaxprEqn) -> Conds:
    """The conditions on sizes without which JAX's compiler refuses `eqn`, if a result needs it."""
    if (rule := LATE.get(eqn.primitive)) is not None:
        yield from rule(*(tuple(map(_shape, atoms)) for atoms in (eqn.outvars, eqn.invars)), **eqn.params)


def _shape(atom) -> Shape:
    return () if isinstance(atom, Literal) or not hasattr(atom.aval, "shape") else shape_exprs(atom.aval)


def numbers(jaxpr: Jaxpr) -> Iterator[tuple[JaxprEqn, Cond, np.dtype]]:
    """For each size that `jaxpr` uses as an integer: that it fits into its dtype, which JAX answers with an OverflowError.

    What is converted where it stands (`ops.rewrites.sizes`) is exact in a float, and wraps in an integer as in `astype`,
    unless JAX's array constructors convert.
    """
    sizes = {eqn.outvars[0]: eqn for eqn in jaxpr.eqns if eqn.primitive is dim_as_value_p}
    if not sizes:
        return
    used: dict[Var, dict[np.dtype, JaxprEqn]] = {v: {} for v in sizes}
    for eqn in jaxpr.eqns:
        for v in eqn.invars:
            if isinstance(v, Var) and v in sizes:
                dtype = v.aval.dtype
                if eqn.primitive is p.convert_element_type_p and dtype != eqn.params["new_dtype"]:
                    if not compat.made_by_array_constructor(eqn):
                        continue
                    dtype = np.dtype(eqn.params["new_dtype"])
                used[v].setdefault(dtype, eqn)
    for v in jaxpr.outvars:
        if isinstance(v, Var) and v in sizes:
            used[v].setdefault(v.aval.dtype, sizes[v])
    for v, eqn in sizes.items():
        for dtype in used[v]:
            if dtype.kind in "iu":
                info, size = np.iinfo(dtype), expr_of(eqn.params["dim"])
                if dtype != np.int64:
                    yield eqn, Cond(const(int(info.min)), "<=", size), dtype
                if dtype.itemsize < 8:
                    yield eqn, Cond(size, "<=", const(int(info.max))), dtype


def bodies(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """The jaxprs in the params of an eqn."""
    for value in eqn.params.values():
        for inner in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(inner, (ClosedJaxpr, Jaxpr)):
                yield getattr(inner, "jaxpr", inner)


def same(*shapes: Shape) -> Conds:
    """These shapes are equal."""
    first, *rest = shapes
    for other in rest:
        if len(other) == len(first):
            yield from (Cond(a, "==", b) for a, b in zip(first, other, strict=True))


def all_same(outs, ins, **_) -> Conds:
    yield from same(*ins)


def fits(inner: Sequence[Expr], outer: Sequence[Expr]) -> Conds:
    """A window of sizes `inner` fits into `outer`."""
    for size, limit in zip(inner, outer, strict=True):
        yield Cond(ZERO, "<=", size)
        yield Cond(size, "<=", limit)


# -- calls, loops, branches


def _body(body, ins: Sequence[Shape], outs: Sequence[Shape]) -> Conds:
    jaxpr = getattr(body, "jaxpr", body)
    for given, taken in ((ins, jaxpr.invars), (outs, jaxpr.outvars)):
        if len(given) == len(taken):
            for shape, inner in zip(given, taken, strict=True):
                if not isinstance(inner, Literal):
                    yield from same(shape, _shape(inner))


def cond(outs, ins, *, branches, **_) -> Conds:
    for branch in branches:
        yield from _body(branch, ins[1:], outs)


def while_(outs, ins, *, cond_nconsts, cond_jaxpr, body_nconsts, body_jaxpr, **_) -> Conds:
    n = cond_nconsts + body_nconsts
    yield from _body(body_jaxpr, ins[cond_nconsts:], outs)
    yield from _body(cond_jaxpr, (*ins[:cond_nconsts], *ins[n:]), ((),))
    yield from (c for out, init in zip(outs, ins[n:], strict=True) if init for c in same(out, init))


def scan(outs, ins, *, length, jaxpr, **params) -> Conds:
    """Rows of xs and of ys are the body's, and there are `length` of each."""
    n_consts, n_carry = compat.scan_counts(params)
    first, length = n_consts + n_carry, expr_of(length)
    rows, ys = ins[first:], outs[n_carry:]
    yield from (Cond(x[0], "==", length) for x in (*rows, *ys) if x)
    yield from _body(jaxpr, (*ins[:first], *(x[1:] for x in rows)), (*outs[:n_carry], *(y[1:] for y in ys)))
    yield from (c for out, init in zip(outs, ins[n_consts:first], strict=False) if init for c in same(out, init))


# -- windows


def slice_(outs, ins, *, start_indices, limit_indices, strides, **_) -> Conds:
    for size, start, limit in zip(ins[0], map(expr_of, start_indices), map(expr_of, limit_indices), strict=True):
        yield Cond(ZERO, "<=", start)
        yield Cond(start, "<=", limit)
        yield Cond(limit, "<=", size)
    yield from (Cond(ONE, "<=", expr_of(step)) for step in strides or ())


def dynamic_slice(outs, ins, *, slice_sizes, **_) -> Conds:
    yield from fits(tuple(map(expr_of, slice_sizes)), ins[0])
    yield from same(outs[0], tuple(map(expr_of, slice_sizes)))


def dynamic_update_slice(outs, ins, **_) -> Conds:
    yield from fits(ins[1], ins[0])


def gather(outs, ins, *, dimension_numbers, slice_sizes, **_) -> Conds:
    """Slices lie within the operand, unless there is no index at all."""
    d, (x, indices, *_), sizes = dimension_numbers, ins, tuple(map(expr_of, slice_sizes))
    some = minimum(ONE, product(indices[:-1]))
    for axis, (size, limit) in enumerate(zip(sizes, x, strict=True)):
        yield Cond(ZERO, "<=", size)
        yield Cond(some * size, "<=", limit)
        if axis in d.collapsed_slice_dims or axis in d.operand_batching_dims:
            yield Cond(size, "<=", ONE)
    yield from (
        Cond(x[a], "==", indices[b]) for a, b in zip(d.operand_batching_dims, d.start_indices_batching_dims, strict=True)
    )
    yield from same(tuple(size for k, size in enumerate(outs[0]) if k not in d.offset_dims), indices[:-1])
    gone = (*d.collapsed_slice_dims, *d.operand_batching_dims)
    yield from same(tuple(outs[0][k] for k in d.offset_dims), tuple(size for a, size in enumerate(sizes) if a not in gone))


def scatter(outs, ins, *, dimension_numbers, **_) -> Conds:
    d, (x, indices, updates) = dimension_numbers, ins
    gone = (*d.inserted_window_dims, *d.operand_batching_dims)
    limit = [size for a, size in enumerate(x) if a not in gone]
    yield from (Cond(updates[k], "<=", size) for k, size in zip(d.update_window_dims, limit, strict=True))
    yield from (
        Cond(x[a], "==", indices[b]) for a, b in zip(d.operand_batching_dims, d.scatter_indices_batching_dims, strict=True)
    )


def pad(outs, ins, *, padding_config, **_) -> Conds:
    yield from (Cond(ZERO, "<=", expr_of(interior)) for _, _, interior in padding_config)


def conv_general_dilated(outs, ins, *, dimension_numbers, feature_group_count, batch_group_count, **_) -> Conds:
    d, (x, y) = dimension_numbers, ins
    rows, features = x[d.lhs_spec[0]], y[d.rhs_spec[0]]
    for count, size in ((feature_group_count, features), (batch_group_count, features), (batch_group_count, rows)):
        if expr_of(count).value != 1:
            yield Cond(ONE, "<=", expr_of(count))
            yield Cond(mod(size, expr_of(count)), "==", ZERO)


def windows(size: Sequence[Expr], window_dimensions, window_strides, padding) -> Shape:
    """How many windows there are along each axis."""
    found = []
    for n, window, stride, pads in zip(size, window_dimensions, window_strides, padding, strict=True):
        low, high = map(expr_of, pads)
        found.append(floordiv(n + low + high - expr_of(window), expr_of(stride)) + 1)
    return tuple(found)


def reduce_window(outs, ins, *, window_dimensions, window_strides, **_) -> Conds:
    yield from same(*(x for x in ins if len(x) == len(ins[0])))
    yield from (Cond(ONE, "<=", expr_of(n)) for n in (*window_dimensions, *window_strides))


def select_and_gather_add(outs, ins, **params) -> Conds:
    yield from same(*ins)
    yield from reduce_window(outs, ins, **params)


def select_and_scatter(outs, ins, *, window_dimensions, window_strides, padding, **_) -> Conds:
    """A source element for each window, of the operand that comes first (`select_and_scatter`) or second (`..._add`)."""
    source, operand = (ins[1], ins[0]) if len(ins) == 3 else (ins[0], ins[1])
    yield from same(source, windows(operand, window_dimensions, window_strides, padding))


# -- rows


def top_k(outs, ins, *, k, axis=-1, **_) -> Conds:
    yield Cond(ZERO, "<=", expr_of(k))
    yield Cond(expr_of(k), "<=", ins[0][axis])


def arg_extreme(outs, ins, *, axes, **_) -> Conds:
    yield from (Cond(ONE, "<=", ins[0][axis]) for axis in axes)


def reduce(outs, ins, **_) -> Conds:
    yield from same(*ins[: len(ins) // 2])


def fft(outs, ins, *, fft_type, fft_lengths, **_) -> Conds:
    lengths = tuple(map(expr_of, fft_lengths))
    rows = ins[0][len(ins[0]) - len(lengths) :]
    yield from same(rows[:-1], lengths[:-1]) if fft_type.name == "IRFFT" else same(rows, lengths)


def real_fft(outs, ins, *, fft_type, fft_lengths, **_) -> Conds:
    if fft_type.name == "RFFT" and fft_lengths:
        yield Cond(ONE, "<=", expr_of(fft_lengths[-1]))
    if fft_type.name == "IRFFT" and fft_lengths:
        length = expr_of(fft_lengths[-1])
        some = minimum(length, ONE)  # for no elements, none are read
        yield Cond(some * ins[0][-1], "==", some * (floordiv(length, const(2)) + 1))


# -- linear algebra


def square(outs, ins, **_) -> Conds:
    yield Cond(ins[0][-2], "==", ins[0][-1])


def triangular_solve(outs, ins, *, left_side, **_) -> Conds:
    a, b = ins
    yield from square(outs, ins)
    yield Cond(a[-1], "==", b[-2] if left_side else b[-1])
    yield from same(a[:-2], b[:-2])


def tridiagonal_solve(outs, ins, **_) -> Conds:
    *diagonals, b = ins
    yield from same(*diagonals)
    yield from same(diagonals[0], b[:-1])


def householder_product(outs, ins, **_) -> Conds:
    a, taus = ins
    yield Cond(a[-1], "<=", a[-2])
    yield Cond(taus[-1], "<=", a[-1])
    yield from same(a[:-2], taus[:-1])


def lu_pivots_to_permutation(outs, ins, *, permutation_size, **_) -> Conds:
    yield Cond(ins[0][-1], "<=", expr_of(permutation_size))


def cholesky_update(outs, ins, **_) -> Conds:
    yield from square(outs, ins)
    yield from same(ins[0][:-1], ins[1])


DEMANDS: dict[object, Callable[..., Conds]] = {
    p.cond_p: cond,
    p.while_p: while_,
    p.scan_p: scan,
    p.slice_p: slice_,
    p.dynamic_slice_p: dynamic_slice,
    p.dynamic_update_slice_p: dynamic_update_slice,
    p.gather_p: gather,
    **dict.fromkeys((p.scatter_p, p.scatter_add_p, p.scatter_mul_p, p.scatter_min_p, p.scatter_max_p), scatter),
    compat.primitive("scatter_sub"): scatter,
    p.pad_p: pad,
    p.conv_general_dilated_p: conv_general_dilated,
    **dict.fromkeys((p.reduce_window_max_p, p.reduce_window_min_p, p.reduce_window_sum_p, p.reduce_window_p), reduce_window),
    p.select_and_gather_add_p: select_and_gather_add,
    **dict.fromkeys((p.select_and_scatter_add_p, p.select_and_scatter_p), select_and_scatter),
    p.sort_p: all_same,
    p.top_k_p: top_k,
    **dict.fromkeys((p.argmax_p, p.argmin_p), arg_extreme),
    p.reduce_p: reduce,
    p.fft_p: fft,
    **dict.fromkeys((p.cholesky_p, p.eigh_p, p.eig_p, p.schur_p, p.hessenberg_p, p.tridiagonal_p), square),
    p.triangular_solve_p: triangular_solve,
    p.tridiagonal_solve_p: tridiagonal_solve,
    p.householder_product_p: householder_product,
    compat.primitive("lu_pivots_to_permutation"): lu_pivots_to_permutation,
    compat.primitive("cholesky_update"): cholesky_update,
}
LATE: dict[object, Callable[..., Conds]] = {p.fft_p: real_fft}
