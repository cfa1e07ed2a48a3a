"""Donated arguments that are outputs of earlier calls: results lie over them where they may, and are right in any case."""

import random
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2

SHAPE = (257, 311)  # large enough for memory to be taken over
FUNCTIONS = {
    "elementwise": lambda a, b: a + b,
    "two": lambda a, b: (a + 1, b * 2),
    "both": lambda a, b: (a, b[::-1]),
    "exchanged": lambda a, b: (b, a),
    "reversed": lambda a, b: a[::-1] + b,
    "transposed": lambda a, b: a.T.reshape(a.shape) + b,
    "read later": lambda a, b: (b + a, jnp.cumsum(a, 0)),
    "slice": lambda a, b: lax.dynamic_update_slice(a, b[:3, :3], (2, 2)),
    "slice and sum": lambda a, b: (lax.dynamic_update_slice(a, b[:3, :3], (2, 2)), a.sum()),
    "updated twice": lambda a, b: (a.at[0].set(0.0), a.at[1].set(1.0), b),
    "scatter": lambda a, b: a.at[jnp.arange(5) * 3, 1].add(b[0, :5]),
    "loop": lambda a, b: lax.fori_loop(0, 3, lambda i, c: c * 0.5 + b, a),
    "loop over a constant": lambda a, b: lax.fori_loop(0, 3, lambda i, c: c * 0.5 + a, b),
    "loop that reverses": lambda a, b: lax.fori_loop(0, 5, lambda i, c: c[::-1] * 0.5 + a[0], b),
    "states change places": lambda a, b: lax.fori_loop(0, 5, lambda i, c: (c[1], c[0] + 1), (a, b)),
    "branches": lambda a, b: lax.cond(a[0, 0] > b[0, 0], lambda a, b: (a + 1, b), lambda a, b: (a * b, a), a, b),
    "scan": lambda a, b: lax.scan(lambda c, row: (c + row, c * 2), b[0], a),
    "while": lambda a, b: lax.while_loop(lambda c: c[1] < 4, lambda c: (c[0].at[c[1]].set(b[0]), c[1] + 1), (a, 0)),
    "product": lambda a, b: (a @ b.T) @ a / 1000,
    "softmax": lambda a, b: jax.nn.softmax(a, -1) * b,
    "concatenate": lambda a, b: jnp.concatenate([a[5:], b[:5]]),
}


@pytest.fixture(scope="module")
def own():
    """`own(x)`: an array that the runtime made, equal to `x`."""
    return sod2.jit(lambda x: x + 0.0, shapes="n, m")


def given_up_by_jax(fun, donated, *arrays):
    """Which arguments jax.jit deletes: it keeps those that no result could lie over."""
    arrays = [jax.device_put(x, may_alias=False) + 0 for x in arrays]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
        jax.block_until_ready(jax.jit(fun, donate_argnums=donated)(*arrays))
    return tuple(x.is_deleted() for x in arrays)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_right(name, own):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(SHAPE).astype(np.float32) for _ in "ab")
    wanted = FUNCTIONS[name](jnp.asarray(a), jnp.asarray(b))
    for donated in ((0,), (1,), (0, 1)):
        gone = given_up_by_jax(FUNCTIONS[name], donated, a, b)
        f = sod2.jit(FUNCTIONS[name], shapes=("n, m", "n, m"), donate_argnums=donated)
        for make in (own, jnp.asarray):
            x, y = make(a), make(b)
            got = f(x, y)
            assert (x.is_deleted(), y.is_deleted()) == gone
            jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=2e-4, atol=2e-4), got, wanted)


@pytest.mark.parametrize("name", ["elementwise", "slice", "scatter", "loop", "softmax", "while"])
def test_results_lie_over_what_was_donated(name, own):
    f = sod2.jit(FUNCTIONS[name], shapes=("n, m", "n, m"), donate_argnums=0)
    x = own(np.ones(SHAPE, np.float32))
    kept = x.unsafe_buffer_pointer()
    assert jax.tree.leaves(f(x, jnp.ones(SHAPE)))[0].unsafe_buffer_pointer() == kept


SHARED = {
    "both read": lambda a, b: a + b,
    "two results": lambda a, b: (a + b, a * b),
    "the first unused": lambda a, b: b + 1,
    "the second unused": lambda a, b: a + 1,
    "no result of its shape": lambda a, b: a.sum() + b.sum(),
    "nor a second one": lambda a, b: a.sum(),
    "of its shape, not its dtype": lambda a, b: (a + b).astype(jnp.int32),
}


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("donated", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("shared", [True, False])
def test_an_array_that_is_passed_twice(name, donated, shared):
    """JAX's result or error, and the same arguments are gone afterwards."""

    def outcome(f):
        a = jnp.arange(5.0) + 0
        b = a if shared else jnp.arange(5.0) + 0
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
                result = jax.tree.map(lambda x: np.asarray(x).tolist(), f(a, b))
        except RuntimeError as error:
            result = str(error)
        return result, a.is_deleted(), b.is_deleted()

    f = sod2.jit(SHARED[name], shapes=("n", "n"), donate_argnums=donated)
    for _ in range(2):
        assert outcome(f) == outcome(jax.jit(SHARED[name], donate_argnums=donated))


def test_two_arrays_over_one_buffer(own):
    """What is donated must not be written over while another argument reads the same memory."""
    f = sod2.jit(lambda a, b: lax.fori_loop(0, 3, lambda i, c: c[::-1] + b, a), shapes=("n, m", "n, m"), donate_argnums=0)
    values = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    wanted = f(jnp.asarray(values), jnp.asarray(values))
    for _ in range(3):
        a = own(values)
        b = jax.device_put(a, a.sharding, may_alias=True).addressable_data(0)
        view = jnp.from_dlpack(a)
        np.testing.assert_array_equal(f(a, view), wanted)
        np.testing.assert_array_equal(view, values)
        a = own(values)
        b = a.addressable_data(0)
        assert b.unsafe_buffer_pointer() == a.unsafe_buffer_pointer()
        np.testing.assert_array_equal(f(a, b), wanted)


@pytest.mark.parametrize(
    ("read_by_nothing", "deleted"),
    [
        (lambda a, b: a * 2, [True, False]),
        (lambda a, b: lax.scan(lambda c, row: (c * 2, None), a, (a, b))[0], [True, False]),
        (lambda a, b: lax.scan(lambda c, row: ((c[0] * 2, c[1] + 1), None), (a, b), length=3)[0][0], [True, False]),
        (lambda a, b: lax.cond(a[0, 0] > 0, lambda a, b: (a * 2, b), lambda a, b: (a, b), a, b)[0], [True, False]),
        (lambda a, b: jax.jit(lambda a, b: (a * 2, b + 1))(a, b)[0], [True, False]),
        (lambda a, b: lax.while_loop(lambda c: c[0][0, 0] < 5, lambda c: (c[0] * 2 + 9, c[1] * 2), (a, b))[0], [True, True]),
    ],
)
def test_what_no_result_needs_stays(read_by_nothing, deleted):
    """Also where a loop or branch takes it: `jax.jit` drops such an argument (not of a while loop), and does not delete it."""
    for compiled in (jax.jit, sod2.jit):
        arguments = [jnp.ones((3, 4)), jnp.full((3, 4), 2, np.uint32)]
        function = lambda a, b: (read_by_nothing(a, b), a.astype(int) * 3)  # a second result that b would fit
        compiled(function, donate_argnums=(0, 1))(*arguments)
        assert [x.is_deleted() for x in arguments] == deleted


DTYPES = [np.float32, np.int32, np.uint8, np.float16, bool, np.complex64, np.int8]
SHAPES = [(), (1,), (2,), (2, 2), (4,), (1, 4), (0,), (0, 3), (8,), (2, 4), (1, 1)]


def test_the_arguments_that_jit_deletes_are_deleted(pytestconfig):
    """Random shapes and dtypes: XLA lays results over arguments of as many bytes, where JAX finds as many elements."""
    rng = random.Random(pytestconfig.getoption("--seed"))
    for _ in range(40):
        arguments = [(rng.choice(SHAPES), rng.choice(DTYPES)) for _ in range(rng.randint(1, 4))]
        results = [(rng.choice(SHAPES), rng.choice(DTYPES)) for _ in range(rng.randint(1, 4))]
        donated = tuple(k for k in range(len(arguments)) if rng.random() < 0.8)
        read, returned = ([rng.random() < p for _ in arguments] for p in (0.9, 0.1))

        def fun(*xs, read=read, returned=returned, results=results):
            total = sum((x.real.sum().astype(np.float32) for x, r in zip(xs, read, strict=True) if r), jnp.float32(0))
            return [jnp.full(shape, total.astype(dtype)) for shape, dtype in results] + [x for x, r in zip(xs, returned) if r]

        deleted = []
        for compiled in (jax.jit, sod2.jit):
            given = [jnp.ones(shape, dtype) for shape, dtype in arguments]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compiled(fun, donate_argnums=donated)(*given)
            deleted.append([x.is_deleted() for x in given])
        assert deleted[0] == deleted[1], (arguments, results, donated, read, returned)
