"""NumPy indexing under symbolic sizes gives the slices that static sizes give; what is no slice stays a gather."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax import symbolic
from sod2jax.ir.scope import Scope
from sod2jax.rewrite import oracle, run

MOVES = {"slice", "rev", "reshape", "transpose", "broadcast_in_dim", "concatenate", "pad"}

symbolic.install()  # JAX lets sizes pass, as in every trace


def rewritten(fun, *dtypes, sizes=({"s": 7, "t": 3, "u": 4}, {"s": 4, "t": 2, "u": 0})):
    """The names of the eqns left of `fun(f32[s, t, 6], ...)`, checked at `sizes`."""
    scope = Scope()
    s, t, u = scope.symbol("s", 4), scope.symbol("t", 2), scope.symbol("u", 0)
    arrays = [jax.ShapeDtypeStruct((s, t, 6), np.float32), jax.ShapeDtypeStruct((u, 6), np.float32)]
    before = jax.make_jaxpr(fun)(*arrays, *(jax.ShapeDtypeStruct((), dtype) for dtype in dtypes))
    guards = len(scope.guards)
    after = run(before, scope.box)
    assert all(g.cond.op == "<=" and g.cond.rhs.value > 2**28 for g in scope.guards[guards:])  # that nothing wraps
    for numbers in sizes:
        assert (found := oracle.difference(before, after, numbers)) is None, found
    return [eqn.primitive.name for eqn in after.jaxpr.eqns]


# name: (function of f32[s, t, 6] and f32[u, 6], the eqns that remain)
SLICES = {
    "x[1:]": (lambda x, y: x[1:], ["slice"]),
    "x[:-1]": (lambda x, y: x[:-1], ["slice"]),
    "x[1:-1]": (lambda x, y: x[1:-1], ["slice"]),
    "x[-2:]": (lambda x, y: x[-2:], ["slice"]),
    "x[::2]": (lambda x, y: x[::2], ["slice"]),
    "x[1::3]": (lambda x, y: x[1::3], ["slice"]),
    "x[::-1]": (lambda x, y: x[::-1], ["rev"]),
    "x[::-2]": (lambda x, y: x[::-2], ["slice", "rev"]),
    "x[:, ::-1, ::2]": (lambda x, y: x[:, ::-1, ::2], ["slice", "rev"]),
    "x[..., :4]": (lambda x, y: x[..., :4], ["slice"]),
    "x[..., None]": (lambda x, y: x[..., None], ["reshape"]),
    "x[0]": (lambda x, y: x[0], ["slice", "reshape"]),
    "x[-1]": (lambda x, y: x[-1], ["slice", "reshape"]),
    "x[:, -1]": (lambda x, y: x[:, -1], ["slice", "reshape"]),
    "x[1:, ::2, None, 2]": (lambda x, y: x[1:, ::2, None, 2], ["slice"]),
    "x[2, :, 3]": (lambda x, y: x[2, :, 3], ["slice", "reshape"]),
    "x[:t]": (lambda x, y: x[: y.shape[0]], ["slice"]),
    "flip": (lambda x, y: jnp.flip(x, 1), ["rev"]),
    "flip all": (lambda x, y: jnp.flip(x), ["rev"]),
    "x[s // 2]": (lambda x, y: x[jnp.asarray(x.shape[0] // 2)], ["slice", "reshape"]),
    "x[[0, 2, 4], 1]": (lambda x, y: x[:, :, np.array([0, 2, 4])], ["slice"]),
    "x[..., [5, 3]]": (lambda x, y: x[..., np.array([5, 3])], ["slice", "rev"]),
    "x[arange(t)]": (lambda x, y: x[:, jnp.arange(x.shape[1])], []),
    "take": (lambda x, y: jnp.take(x, jnp.arange(x.shape[1])[::-1], axis=1), ["rev"]),
    "take a constant": (lambda x, y: jnp.take(x, np.array([1, 2]), axis=0), ["slice"]),
    "dynamic_slice": (lambda x, y: lax.dynamic_slice_in_dim(x, x.shape[0] - 2, 2), ["slice"]),
    "dynamic_slice that is clamped": (lambda x, y: lax.dynamic_slice_in_dim(x, x.shape[0] + 5, 2), ["slice"]),
    "dynamic_slice from a negative start": (lambda x, y: lax.dynamic_slice_in_dim(x, -3, 2), ["slice"]),
    "roll": (lambda x, y: jnp.roll(x, 2, 0), ["slice", "slice", "concatenate"]),
    "roll by a size": (lambda x, y: jnp.roll(x, x.shape[0] // 2, 0), ["slice", "slice", "concatenate"]),
    "split": (lambda x, y: jnp.split(x, 3, axis=2), ["slice"] * 3),
    "array_split": (lambda x, y: jnp.split(x, [1, 3]), ["slice"] * 3),
    "unstack": (lambda x, y: jnp.unstack(x, axis=2)[4], ["slice", "reshape"]),
    "pad reflect": (lambda x, y: jnp.pad(x, ((0, 0), (1, 1), (0, 0)), mode="reflect"), ["slice", "slice", "concatenate"]),
    "pad edge": (lambda x, y: jnp.pad(x, ((2, 1), (0, 0), (0, 0)), mode="edge"), None),
}


@pytest.mark.parametrize(("fun", "names"), SLICES.values(), ids=SLICES)
def test_becomes_movement(fun, names):
    found = rewritten(fun)
    assert set(found) <= MOVES
    assert names is None or found == names


GATHERS = {
    "an index that is data": (lambda x, y, i: x[i], (np.int32,)),
    "a crooked table": (lambda x, y: x[..., np.array([0, 1, 3])], ()),
    "every element twice": (lambda x, y: x[jnp.repeat(jnp.arange(x.shape[0]), 2, total_repeat_length=2 * x.shape[0])], ()),
    "a diagonal": (lambda x, y: x[:, jnp.arange(x.shape[1]), jnp.arange(x.shape[1])], ()),
    "a table of two axes": (lambda x, y: jnp.take(x, np.array([[0, 1], [2, 3]]), axis=2), ()),
    "out of bounds": (lambda x, y: jnp.take(x, jnp.arange(x.shape[0]) + 2, axis=0), ()),
    "maybe out of bounds": (lambda x, y: jnp.take(x, jnp.arange(y.shape[0]), axis=0), ()),
}


@pytest.mark.parametrize(("fun", "dtypes"), GATHERS.values(), ids=GATHERS)
def test_stays_a_gather(fun, dtypes):
    assert not set(rewritten(fun, *dtypes)) <= MOVES


def test_a_promise_that_is_known_to_be_broken_stays():
    fun = lambda x, y: x.at[0, 0, jnp.arange(3) + 5].get(mode="promise_in_bounds")
    assert "gather" in rewritten(fun, sizes=({"s": 9, "t": 2, "u": 1},))


def test_a_reshape_in_another_order_of_axes():
    assert rewritten(lambda x, y: lax.reshape(x, (x.size,), (2, 0, 1))) == ["transpose", "reshape"]


def test_an_integer_of_sizes_is_one_eqn():
    names = rewritten(lambda x, y: jnp.float32(jnp.maximum(x.shape[0] - 1, 0) * 2 + jnp.int32(x.shape[1])) * x)
    assert names.count("dim_as_value") == 1
    assert not {"add", "sub", "max", "select_n"} & set(names)


def test_conditions_that_sizes_decide():
    assert rewritten(lambda x, y: jnp.where(jnp.int32(x.shape[0]) > 2, x, -x)) == []


LOOPS = {
    "fori_loop": lambda x, y: lax.fori_loop(0, x.shape[0], lambda i, c: c + lax.dynamic_index_in_dim(x, i, 0, False), x[0]),
    "from a start": lambda x, y: lax.fori_loop(1, x.shape[0] - 1, lambda i, c: c * 2 + i, y),
    "that never runs": lambda x, y: lax.fori_loop(x.shape[0], 2, lambda i, c: c + 1, y),
    "a plain while": lambda x, y: lax.while_loop(lambda c: c[0] < y.shape[0], lambda c: (c[0] + 1, c[1] + c[0]), (0, y))[1],
}


@pytest.mark.parametrize("fun", LOOPS.values(), ids=LOOPS)
def test_counted_loops_become_scans(fun):
    names = rewritten(fun)
    assert "while" not in names
    assert names.count("scan") == 1


WHILES = {
    "steps of two": lambda x, y: lax.while_loop(lambda c: c[0] < y.shape[0], lambda c: (c[0] + 2, c[1] + 1), (0, y))[1],
    "a moving bound": lambda x, y: lax.while_loop(lambda c: c[0] < c[1], lambda c: (c[0] + 1, c[1] - 1, c[2] + 1), (0, 9, y))[2],
    "bounds that are data": lambda x, y: lax.while_loop(lambda c: c[0] < x[0, 0, 0], lambda c: (c[0] + 1, c[1] + 1), (0.0, y))[1],
}


@pytest.mark.parametrize("fun", WHILES.values(), ids=WHILES)
def test_other_loops_stay(fun):
    scope = Scope()
    s, u = scope.symbol("s", 4), scope.symbol("u", 0)
    specs = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((s, 2, 6), (u, 6))]
    assert "while" in str(run(jax.make_jaxpr(fun)(*specs), scope.box))


def repeated(h):
    for _ in range(6):
        h = h * 1103515245 + 12345
    return h


@pytest.mark.parametrize(
    "fun",
    [
        lambda x, n: repeated(n),
        lambda x, n: n ** jnp.arange(3),
        lambda x, n: (n * 715827883) // 3,
        lambda x, n: lax.div(n * 715827883, jnp.int32(3)),
        lambda x, n: (n * 715827883) % 1000,
        lambda x, n: jnp.maximum(n * 715827883, -5) - 1,
        lambda x, n: jnp.where(n * 715827883 > 0, 1, 2),
        lambda x, n: lax.cond(n * 715827883 > 0, lambda: 1, lambda: 2),
        lambda x, n: x[n * 715827883],
        lambda x, n: lax.dynamic_slice(x, (n * 715827883,), (2,)),
        lambda x, n: jnp.take(x, jnp.arange(5, dtype=jnp.int32) * 1000003 * n, mode="clip"),
        lambda x, n: (jnp.arange(5, dtype=jnp.int32) * 2**30 + n) // 7,
        lambda x, n: lax.fori_loop(0, n * 715827883 // 2**28, lambda i, s: s + i, 0),
        lambda x, n: (n * n * 500000000) // 7,
    ],
)
@pytest.mark.parametrize("x64", [False, True])
def test_integers_wrap_as_those_of_jax(fun, x64):
    """What was read as exact arithmetic of sizes was wrong where the int32 had wrapped."""
    with jax.enable_x64(x64):
        whole = lambda x: fun(x, jnp.asarray(x.shape[0], jnp.int32))
        compiled = sod2.jit(whole, shapes="n")
        for size in (4, 7, 100, 3, 5):
            x = np.arange(size, dtype=np.float32)
            np.testing.assert_array_equal(compiled(x), jax.jit(whole)(x), err_msg=str(size))


def test_integers_of_64_bits_wrap():
    with jax.enable_x64(True):
        whole = lambda x: jnp.asarray(x.shape[0]) * 6364136223846793005 // 3 + jnp.asarray(x.shape[0]) * 2**62
        compiled = sod2.jit(whole, shapes="n")
        for size in (4, 7, 100):
            x = np.arange(size, dtype=np.float32)
            np.testing.assert_array_equal(compiled(x), jax.jit(whole)(x), err_msg=str(size))


def test_indices_that_cannot_wrap_are_one_compilation():
    compiled = sod2.jit(lambda x: x[jnp.arange(x.shape[0]) // 2 * 2 + 1 - jnp.arange(x.shape[0]) % 2], shapes="n")
    for size in (4, 8, 2):
        np.testing.assert_array_equal(compiled(np.arange(size)), np.arange(size).reshape(-1, 2)[:, ::-1].ravel())
    assert compiled.cache_info().compiles == 1
