"""What primitives demand of sizes: programs that fulfil it where they are compiled, and are called where they break it.

JAX is the judge: at the sizes of each case the program runs, or raises while it is traced. Never may an answer come instead of an
error; in bodies of loops and in branches that are not taken as little as elsewhere.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax import ops
from sod2jax.ops import demands

INTS = np.int32


def conv(x, y, groups=1, batch_groups=1):
    return lax.conv_general_dilated(
        x, y, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=groups, batch_group_count=batch_groups
    )


def windows_of(x, y):
    dims = lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(), start_index_map=(0,))
    return lax.gather(x, jnp.zeros((y.shape[0], 1), INTS), dims, slice_sizes=(y.shape[1],))


def paired(x, y):
    dims = lax.GatherDimensionNumbers(
        offset_dims=(),
        collapsed_slice_dims=(1,),
        start_index_map=(1,),
        operand_batching_dims=(0,),
        start_indices_batching_dims=(0,),
    )
    return lax.gather(x, y.astype(INTS)[:, None], dims, slice_sizes=(1, 1))


def scattered(x, y):
    dims = lax.ScatterDimensionNumbers(update_window_dims=(1,), inserted_window_dims=(), scatter_dims_to_operand_dims=(0,))
    return lax.scatter_add(x, jnp.zeros((y.shape[0], 1), INTS), y, dims)


def halved(x):
    return x.reshape(x.shape[0] // 2, 2)


def pooled(x, y):
    return jax.vjp(lambda x: lax.reduce_window(x, -np.inf, lax.max, (2,), (1,), "VALID"), x)[1](y)[0]


def both(a, b):
    return a[0] + b[0], a[1] * b[1]


def pairs(x, y):
    return lax.reduce((x, y), (0.0, 0.0), both, (0,))[0]


def window_pairs(x, y):
    return lax.reduce_window((x, y), (0.0, 0.0), both, (2,), (1,), "VALID")[0]


def f32(*shape):
    return np.ones(shape, np.float32)


# primitive: program, shapes that fulfil its demand, shapes that break it
CASES = {
    "reshape": (halved, [(6,)], [(7,)]),
    "reshape to another's shape": (lambda x, y: x.reshape(y.shape), [(6,), (2, 3)], [(6,), (2, 4)]),
    "add": (lambda x, y: x + y, [(3,), (3,)], [(3,), (4,)]),
    "add of two axes": (lambda x, y: x + y, [(3, 5), (3, 5)], [(3, 5), (5, 3)]),
    "select_n": (lambda x, y, z: jnp.where(x > 0, y, z), [(3,), (3,), (3,)], [(3,), (4,), (3,)]),
    "clamp": (lambda x, y: lax.clamp(x, y, x), [(3,), (3,)], [(3,), (4,)]),
    "broadcast_in_dim": (lambda x, y: lax.broadcast_in_dim(x, y.shape, (1,)), [(3,), (2, 3)], [(3,), (2, 4)]),
    "squeeze": (lambda x, y: lax.squeeze(x.reshape(x.shape[0] - y.shape[0], 4), (0,)), [(4, 1), (3,)], [(4, 1), (2,)]),
    "concatenate": (lambda x, y: jnp.concatenate([x, y]), [(2, 3), (4, 3)], [(2, 3), (4, 5)]),
    "stack": (lambda x, y: jnp.stack([x, y]), [(3,), (3,)], [(3,), (5,)]),
    "split": (lambda x: jnp.split(x, 2)[0], [(6,)], [(7,)]),
    "split by sizes": (lambda x, y: lax.split(x, (y.shape[0], 2))[1], [(6,), (4,)], [(6,), (5,)]),
    "slice": (lambda x, y: lax.slice(x, (2,), (y.shape[0],)), [(6,), (4,)], [(6,), (7,)]),
    "slice backwards": (lambda x, y: lax.slice(x, (y.shape[0],), (3,)), [(6,), (2,)], [(6,), (4,)]),
    "pad": (lambda x, y: lax.pad(x, 0.0, [(0, -y.shape[0], 0)]), [(6,), (2,)], [(2,), (6,)]),
    "dynamic_slice": (lambda x, y: lax.dynamic_slice(x, (0,), y.shape), [(6,), (4,)], [(6,), (7,)]),
    "dynamic_update_slice": (lambda x, y: lax.dynamic_update_slice(x, y, (0,)), [(6,), (4,)], [(6,), (7,)]),
    "gather": (windows_of, [(6,), (2, 3)], [(6,), (2, 7)]),
    "gather of pairs": (paired, [(3, 4), (3,)], [(3, 4), (5,)]),
    "scatter_add": (scattered, [(6,), (2, 3)], [(6,), (2, 7)]),
    "scatter": (lambda x, y: x.at[: y.shape[0]].set(y), [(6,), (4,)], [(6,), (7,)]),
    "dot_general": (lambda x, y: x @ y, [(2, 3), (3, 4)], [(2, 3), (4, 4)]),
    "dot_general in batches": (lambda x, y: jnp.einsum("bij,bjk->bik", x, y), [(2, 3, 4), (2, 4, 5)], [(2, 3, 4), (3, 4, 5)]),
    "conv_general_dilated": (conv, [(1, 5, 3), (3, 3, 4)], [(1, 5, 3), (3, 4, 4)]),
    "conv_general_dilated in groups": (lambda x, y: conv(x, y, 2), [(1, 5, 4), (3, 2, 6)], [(1, 5, 4), (3, 2, 5)]),
    "conv_general_dilated in batch groups": (lambda x, y: conv(x, y, 1, 2), [(4, 5, 3), (3, 3, 6)], [(3, 5, 3), (3, 3, 6)]),
    "sort": (lambda x, y: lax.sort((x, y), num_keys=1)[1], [(4,), (4,)], [(4,), (5,)]),
    "top_k": (lambda x: lax.top_k(x, 3)[0], [(4,)], [(2,)]),
    "argmax": (lambda x: lax.argmax(x, 0, INTS), [(4,)], [(0,)]),
    "reduce": (pairs, [(4,), (4,)], [(4,), (5,)]),
    "reduce_window": (window_pairs, [(4,), (4,)], [(4,), (5,)]),
    "select_and_scatter_add": (pooled, [(4,), (3,)], [(4,), (4,)]),
    "while": (lambda x, y: lax.while_loop(lambda s: s.sum() < 9, lambda s: s + y, x), [(3,), (3,)], [(3,), (4,)]),
    "scan": (lambda x, y: lax.scan(lambda c, r: (c + r[0] * r[1], None), 0.0, (x, y))[0], [(3,), (3,)], [(3,), (4,)]),
    "cond": (lambda x, y: lax.cond(x.sum() > 0, lambda: x, lambda: x + y), [(3,), (3,)], [(3,), (4,)]),
    "irfft": (lambda x, y: lax.fft(x + 0j, "IRFFT", y.shape), [(4,), (6,)], [(4,), (8,)]),
    "fft": (lambda x, y: jnp.abs(lax.fft(x + 0j, "FFT", y.shape)), [(4,), (4,)], [(4,), (6,)]),
    "cholesky": (jnp.linalg.cholesky, [(3, 3)], [(3, 4)]),
    "eigh": (lambda x: jnp.linalg.eigh(x)[0], [(3, 3)], [(3, 4)]),
    "triangular_solve": (lambda x, y: jax.scipy.linalg.solve_triangular(x, y), [(3, 3), (3,)], [(3, 3), (4,)]),
    "negative size": (lambda x, y: jnp.zeros(x.shape[0] - y.shape[0]), [(4,), (3,)], [(3,), (4,)]),
    "custom_vjp": (lambda x, y: jax.nn.relu(x) + jax.nn.relu(y), [(3,), (3,)], [(3,), (4,)]),
    "cumsum": (lambda x, y: jnp.cumsum(x) * y, [(3,), (3,)], [(3,), (4,)]),
    "iota": (lambda x, y: jnp.arange(x.shape[0]) * y, [(3,), (3,)], [(3,), (4,)]),
    "meshgrid": (lambda x, y: jnp.outer(x, y) + y, [(3,), (4,)], None),
}  # fmt: skip


def total(tree):
    return sum(jnp.sum(jnp.abs(x)).astype(np.float32) for x in jax.tree.leaves(tree))


def in_cond(f):
    return lambda *xs: lax.cond(xs[0].sum() < -1, lambda *xs: total(f(*xs)), lambda *xs: jnp.float32(0), *xs)


def in_scan(f):
    return lambda *xs: lax.scan(lambda c, r: (c + total(f(*xs)), None), jnp.float32(0), jnp.arange(2))[0]


def in_while(f):
    return lambda *xs: lax.fori_loop(0, xs[0].shape[0] * 0, lambda i, c: c + total(f(*xs)), jnp.float32(0))


def in_vmap(f):
    return lambda *xs: jax.vmap(lambda *xs: total(f(*xs)))(*(jnp.broadcast_to(x, (2, *x.shape)) for x in xs))


def named(shapes):
    return tuple(", ".join(f"n{i}_{a}" for a in range(len(shape))) for i, shape in enumerate(shapes))


AROUND = (in_cond, in_scan, in_while, in_vmap)


def refused(name, around):
    """Right where the demand is met; an error where it is not, and right again."""
    f, good, bad = CASES[name]
    f = around(f) if around else f
    g = sod2.jit(f, shapes=named(good))
    wanted = np.asarray(jax.jit(f)(*(f32(*s) for s in good)))
    np.testing.assert_allclose(g(*(f32(*s) for s in good)), wanted, rtol=1e-5)
    if bad is None:
        return
    if around is None:
        with pytest.raises(Exception):  # noqa: B017, PT011  (whatever JAX raises, or XLA for it)
            jax.jit(f)(*(f32(*s) for s in bad))
    with pytest.raises((TypeError, ValueError, IndexError)) as ours:
        g(*(f32(*s) for s in bad))
    assert not isinstance(ours.value, sod2.errors.UnsupportedError)
    np.testing.assert_allclose(g(*(f32(*s) for s in good)), wanted, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_broken_demand_is_an_error(name):
    refused(name, None)


@pytest.mark.parametrize("name", CASES)
def test_in_a_body_too(name):
    """One way to hide it for each program; `test_in_every_body` takes all."""
    refused(name, AROUND[list(CASES).index(name) % len(AROUND)])


@pytest.mark.harness
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", CASES)
def test_in_every_body(name, around):
    refused(name, around)


def test_without_sizes_at_hand():
    """Lowered from symbolic structs, a demand is a check of the compiled function."""
    n, m = jax.export.symbolic_shape("n, m")
    struct = lambda *shape: jax.ShapeDtypeStruct(shape, np.float32)
    half = sod2.jit(halved).lower(struct(n)).compile()
    assert half(f32(6)).shape == (3, 2)
    with pytest.raises(sod2.errors.ShapeError, match=r"reshape needs 2\*\(n // 2\) == n.*test_demands.py"):
        half(f32(7))
    taken = sod2.jit(in_cond(lambda x, y: x.reshape(y.shape))).lower(struct(n), struct(m)).compile()
    assert taken(f32(3), f32(3)) == 0
    with pytest.raises(sod2.errors.ShapeError, match="m = 4, n = 3"):
        taken(f32(3), f32(4))


NOTHING = {
    # of nothing, or of any shape
    *("iota", "dim_as_value", "empty", "empty2", "rng_bit_generator", "iota_2x32_shape", "random_seed", "random_bits"),
    *("debug_callback", "debug_print", "pure_callback", "io_callback", "call_host"),
    *("lu", "geqrf", "geqp3", "qr", "svd"),
    *("read_row", "write_row", "fold_windows", "fold_chosen", "reduce_chosen"),  # made by rewriting, of what was checked
    # JAX's shape rule compares sizes, which leaves guards; then they are other primitives
    *("bitcast_convert_type", "ragged_dot_general", "scaled_dot", "ormqr", "symmetric_product", "custom_linear_solve"),
    *("approx_top_k", "random_split", "random_fold_in", "random_gamma", "igamma", "igammac", "igamma_grad_a"),
    *("regularized_incomplete_beta", "device_put", "optimization_barrier", "tie", "reshard", "layout_constraint", "dce_sink"),
    *("platform_index", "size_float"),
}  # fmt: skip


def test_every_primitive_says_what_it_demands_or_demands_nothing():
    stated = {p.name for p, record in ops.OPS.items() if record.solve or record.inner} | {p.name for p in demands.DEMANDS}
    assert {p.name for p in ops.OPS} - stated == NOTHING
