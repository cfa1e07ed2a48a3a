"""Who asks: memos are told apart from sets and dicts, and each call site of `SITES` is right with a "no" where "yes" is true."""

import contextlib
import dis
import functools
import itertools
import sys
import textwrap
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ir import call_sites
from sod2jax.ir.call_sites import SITES, in_memo, place_of
from sod2jax.ir.scope import Scope


class Twin(int):
    """A number with the hash of a Dim: they meet in hash tables."""

    def __hash__(self):
        return self.hash


@functools.lru_cache
def remembered(*args, **kwargs):
    return 0


class Holder:
    memo = staticmethod(remembered)

    def by_class(self, d):
        return self.memo(d)


jitted = jax.jit(lambda d: 0, static_argnums=0)
holder = Holder()

MEMOS = ["remembered(d)", "remembered(1, k=(d, 2))", "remembered(*(d,))", "holder.memo(d)", "holder.by_class(d)", "jitted(d)"]
NO_MEMOS = [
    *("{d: 1}", "{d}", "{x for x in (d, d)}", "{1: 2}.get(d)", "(lambda t: t[d])({5: 2})", "set([d])", "hash(d)", "hash((d, 1))"),
    *("d in {5, 6}", "dict.fromkeys([d])", "frozenset((d,))", "(lambda f: f(d))(hash)", "[*map(hash, [d])]", "{(d, 1): 2}"),
]


def run(code: str, d, **names):
    """`code` as a function of a user's file, called with a size."""
    namespace = {"remembered": remembered, "holder": holder, "jitted": jitted, **names}
    exec(compile(textwrap.dedent(f"def f(d):\n  return {code}"), "model.py", "exec"), namespace)
    return namespace["f"](d)


@pytest.mark.parametrize("code", MEMOS + NO_MEMOS)
def test_a_hash_fixes_a_size_unless_a_memo_asks(code):
    scope = Scope()
    d = scope.symbol("n", hint=5)
    remembered.cache_clear()
    for _ in range(20):  # Python specialises its bytecode on the way
        run(code, d)
    assert [str(g.cond) for g in scope.guards] == ([] if code in MEMOS else ["n == 5"])


@pytest.mark.parametrize("code", MEMOS[:3])
def test_keys_of_a_memo_are_compared_without_a_guard(code):
    scope = Scope()
    d = scope.symbol("n", hint=5)
    twin = Twin(5)
    twin.hash = d._hash
    remembered.cache_clear()
    run(code, twin)
    run(code, d)
    assert scope.guards == []


QUESTIONS = [
    *("d == 5", "d != 5", "not d != 5", "d in (5, 3)", "d not in [5, 3]", "(d, 2) == (5, 2)", "[5].count(d) == 1"),
    *("d == 5.0", "d == 5 + 0j", "d == np.int64(5)", "np.equal(d, 5)", "np.array_equal([d, 2], [5, 2])", "5 in [d]"),
    *("f'{d}' == '5'", "str(d) == '5'", "'%s' % d == '5'", "'{}'.format(d) == '5'"),
    *("repr((d,)) == '(5,)'", "f'{d:03d}' == '005'", "f'{(d, 2)}' == '(5, 2)'"),
    *("len({d, 5}) == 1", "{5: 2}.get(d) == 2", "range(5)[-1] + 1 == d", "min(d, 5) == max(d, 5)", "sorted([d, 5]) == [5, 5]"),
    *("(d,) + (1,) == (5, 1)", "int(d) == 5", "[0] * d == [0] * 5", "list(range(d)) == [0, 1, 2, 3, 4]", "round(d) == 5"),
    *("d == __import__('fractions').Fraction(5)", "d == __import__('decimal').Decimal(5)", "{d: 1} == {5: 1}"),
]


@pytest.mark.filterwarnings("ignore::sod2jax.errors.StaticSizeWarning")
@pytest.mark.parametrize("code", QUESTIONS)
def test_whatever_a_program_asks_is_right_at_other_sizes_too(code):
    """Compiled at 5 and at 7: each call gets what Python says of its size."""
    namespace = {"np": np}
    exec(compile(f"def f(x):\n  d = x.shape[0]\n  return x * (2.0 if {code} else 3.0)", "model.py", "exec"), namespace)
    for sizes in itertools.permutations((5, 7, 1)):
        compiled = sod2.jit(namespace["f"], shapes=("n",))
        for n in sizes:
            want = 2.0 if eval(code, {"np": np}, {"d": n}) else 3.0
            np.testing.assert_array_equal(compiled(np.ones(n, np.float32)), np.full(n, want, np.float32), err_msg=str(sizes))


def test_numbers_that_no_size_can_be():
    scope = Scope()
    d = scope.symbol("n", hint=5)
    nan, inf = float("nan"), float("inf")
    assert [d == nan, d != nan, d < nan, d <= nan, d > nan, d >= nan] == [False, True, False, False, False, False]
    assert [d == inf, d < inf, d <= inf, d > inf, d >= inf] == [False, True, True, False, False]
    assert [d < -inf, d <= -inf, d > -inf, d >= -inf] == [False, False, True, True]
    assert [d == 5.5, d == 1j, d == "5", d is None] == [False] * 4
    assert scope.guards == []
    assert [d < 5.5, d <= 5.5, d > 4.5, d >= 4.5, d > 5.5, d >= 5.5] == [True] * 4 + [False] * 2
    with pytest.raises(TypeError, match="complex"):
        d < 1j  # noqa: B015


def test_code_without_a_file_is_a_users():
    f = eval("lambda x, y: x.sum() * (2.0 if x.shape == y.shape else 3.0)")
    g = sod2.jit(f, shapes=("n", "m"))
    ones = lambda n: np.ones(n, np.float32)
    assert (g(ones(3), ones(5)), g(ones(4), ones(4))) == (9.0, 8.0)


@pytest.mark.parametrize("is_row", [jnp.iterable, np.iterable, lambda x: bool(tuple(x)), lambda x: _length(x) == 5])
def test_an_error_that_somebody_catches_is_no_answer(is_row):
    """JAX asks for an integer and gets an error; where that is caught, it must not pass for what JAX would have said."""
    compiled = sod2.jit(lambda x: x * (2.0 if is_row(x) else 3.0), shapes=("n",))
    with pytest.warns(sod2.errors.StaticSizeWarning):
        np.testing.assert_array_equal(compiled(np.ones(5, np.float32)), np.full(5, 2.0))
    np.testing.assert_array_equal(compiled(np.ones(4, np.float32)), np.full(4, 3.0 if is_row(np.ones(4)) is False else 2.0))


def _length(x):
    try:
        return sum(1 for _ in x)
    except TypeError:
        return 0


def test_a_size_of_another_trace_is_refused():
    kept = []
    sod2.jit(lambda x: kept.append(x.shape[0]) or x, shapes=("n",))(np.ones(3, np.float32))
    with pytest.raises((ValueError, jax.errors.InconclusiveDimensionOperation), match=r"must not leave its function|is over"):
        sod2.jit(lambda x: x if x.shape[0] == kept[0] else -x, shapes=("m",))(np.ones(3, np.float32))
    with pytest.raises(jax.errors.InconclusiveDimensionOperation, match="is over"):
        kept[0] == 3  # noqa: B015


# -- the call sites: (function, shapes, sizes). At the first size the answer is no; at another one yes would be true.

class Cell(nn.Module):
    @nn.compact
    def __call__(self, carry, row):
        return carry + row, carry


def sine(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")


@jax.custom_batching.custom_vmap
def own_rule(x):
    return jnp.sin(x)


@own_rule.def_vmap
def _(size, batched, x):
    return jnp.sin(x), True


ROWS = (5, 1, 0, 4, 10)
PROGRAMS = {
    "is_constant_dim": (lambda x: x[1:], ("n, 4",), ROWS),
    "_canonicalize_dimension": (lambda x: jnp.zeros((x.shape[0], 2)) + x[:, None], ("n",), ROWS),
    "canonicalize_slice": (lambda x: x[:, x.shape[0] // 2 :], ("n, 12",), (5, 1, 4)),
    "fori_loop": (lambda x: lax.fori_loop(0, x.shape[0], lambda i, c: c + i, 0.0) + x, ("n",), ROWS),
    "to_dynamic_slice": (lambda x, i: x[i, :], ("n, 4", ""), (5, 1, 4)),
    "to_static_slice": (lambda x, y: y[: x.shape[0]] + x, ("n", "12"), (5, 1, 12)),
    "divide_shape_sizes": (lambda x: x.reshape(x.shape[0] * 2, -1), ("n, 4",), (5, 1, 4)),
    "broadcast_batcher": (lambda x: jax.vmap(jnp.add, (0, 1))(x, jnp.ones((10, x.shape[0]))), ("n, 10",), ROWS),
    "_infer_scan_length": (lambda x, y: lax.scan(lambda c, r: (c + r[0] * r[1], c), 0.0, (x, y)), ("n", "n"), ROWS),
    "_broadcast_in_dim_shape_rule": (lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], 4)), ("n",), ROWS),
    "diag_indices_from": (lambda x: jnp.diag_indices_from(x)[1], ("n, n",), ROWS),
    "lexsort": (lambda x, y: jnp.lexsort((x, y)), ("n", "n"), ROWS),
    "_stack_shape_rule": (lambda x, y: jnp.stack([x, y]), ("n", "n"), ROWS),
    "_try_broadcast_shapes": (lambda x, y: x * y + x[:1] * y, ("n, 4", "n, 4"), (5, 1, 4)),
    "broadcast_in_dim": (lambda x: lax.broadcast(x, (10,)), ("n, 10",), ROWS),
    "_broadcast_shapes_uncached": (lambda x, y: jnp.where(x > 0, x, y), ("n, 4", "1, 4"), ROWS),
    "broadcast_to": (lambda x: jnp.broadcast_to(x, (3, x.shape[0])), ("n",), ROWS),
    "reshape": (lambda x: lax.reshape(x, (4, x.shape[0])), ("n, 4",), ROWS),
    "_get_sharding_for_varying_out_shape": (
        lambda x: lax.reduce_window(x, 1.0, lax.mul, (3,), (1,), ((2, -1),), base_dilation=(2,), window_dilation=(3,)),
        ("n",), (5, 6, 3, 0, 10),
    ),
    "_gather_shape_rule": (lambda x, i: x[i], ("4, 3", "n"), ROWS),
    "_einsum": (lambda x, y: jnp.einsum("bi,bj->bij", x, y), ("n, 3", "n, 2"), ROWS),
    "_broadcast_in_dim_fwd_rule": (
        lambda x: jnp.where(jnp.tril(jnp.ones((x.shape[0],) * 2, bool)), x[:, None], 0.0), ("n",), ROWS
    ),
    "_take": (lambda x, i: jnp.take(x, i, axis=0), ("4, 3", "n"), ROWS),
    "_gather": (lambda x, i: x[:, i], ("n, 4", "2"), ROWS),
    "_index_to_gather": (lambda x, i: x[0:4, i], ("n, 4", "2"), (5, 4, 10)),
    "take_along_axis": (lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1), ("n, 4",), (5, 1, 4)),
    "vectorize": (lambda x: jnp.linalg.inv(x + 3 * jnp.eye(3)), ("n, 3, 3",), (5, 4)),
    "custom_vmap_batching": (lambda x: jax.vmap(own_rule)(x), ("n, 3",), (5, 1, 4)),
    "ffi_batching_rule": (lambda x: jax.vmap(sine)(x), ("n, 3",), (5, 1, 4)),
    "expand_dims_batcher": (lambda x: jnp.linalg.inv(x + 3 * jnp.eye(3)), ("n, 3, 3",), (5, 4)),
    "matmul": (lambda x, y: x @ y, ("n, 2, 3", "n, 3, 2"), ROWS),
    "_broadcast_arrays": (lambda x, y: jnp.where(x > 0, x, y), ("n, 4", "1, 4"), ROWS),
    "_where": (lambda x, y: jnp.where(x > 0, x, y), ("n, 4", "n, 4"), ROWS),
    "_scatter_impl": (lambda x, y: x.at[:, jnp.array([2, 0])].set(y), ("n, 4", "n, 2"), ROWS),
    "HashableWrapper": (lambda x: jax.vmap(jnp.add, (0, 1))(x, jnp.ones((10, x.shape[0]))), ("n, 10",), ROWS),
    "scan": (lambda x: nn.scan(Cell, {}, {})().apply({}, jnp.zeros(4), x), ("n, 4",), ROWS),
}


def key_of(name: str) -> str:
    (key,) = [k for k in SITES if name in k.rpartition(":")[2].split(".")]
    return key


def arguments(shapes, size):
    rng = np.random.default_rng(0)
    for text in shapes:
        shape = tuple(eval(d, {}, {"n": size}) for d in text.split(",") if d.strip())
        whole = text in ("", "2") or (text == "n" and shapes[0] == "4, 3")
        yield rng.integers(0, 2, shape).astype(np.int32) if whole else rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_is_right_where_yes_is_true(name, monkeypatch):
    fun, shapes, sizes = PROGRAMS[name]
    asked = set()
    monkeypatch.setattr(call_sites, "site_of", lambda frame: asked.add(where := place_at(frame)) or SITES.get(where))
    for first in sizes:  # each size in turn is the one that is compiled for
        compiled = sod2.jit(fun, shapes=shapes)
        for n in (first, *sizes):
            args = tuple(arguments(shapes, n))
            for found, wanted in zip(jax.tree.leaves(compiled(*args)), jax.tree.leaves(jax.jit(fun)(*args)), strict=True):
                np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6, err_msg=f"{n}, compiled at {first}")
        if first > 1:
            assert compiled.cache_info().compiles == 1, compiled.cache_info()
    assert key_of(name) in asked


# -- errors that the program catches

CAUGHT = {
    "multiply": lambda x, y: x * y,
    "where": lambda x, y: jnp.where(x > 0, x, y),
    "broadcast_to": lambda x, y: jnp.broadcast_to(x, y.shape),
    "matmul": lambda x, y: x[:, None, None] @ y[:, None, None],
    "take_along_axis": lambda x, y: jnp.take_along_axis(x[:, None], jnp.zeros((y.shape[0], 2), int), 1),
    "einsum": lambda x, y: jnp.einsum("i,i->i", x, y),
    "stack": lambda x, y: jnp.stack([x, y]),
    "solve": lambda x, y: jnp.linalg.solve(jnp.eye(2) * jnp.ones((x.shape[0], 1, 1)), jnp.ones((y.shape[0], 2, 1))),
    "reshape": lambda x, y: x.reshape(3, -1),
    "reshape to numbers": lambda x, y: jnp.outer(x, y).reshape(5, 6),
    "reshape to sizes": lambda x, y: x.reshape(y.shape),
    "an int too large": lambda x, y: x * (y.shape[0] * 10**9),
    "an int too small": lambda x, y: jnp.maximum(x, -y.shape[0] * 10**9),
}
PAIRS = [(5, 6), (5, 1), (1, 5), (5, 5), (3, 3), (1, 1), (1, 7)]


@pytest.mark.filterwarnings("ignore::sod2jax.errors.StaticSizeWarning")
@pytest.mark.parametrize("shapes", [("n", "m"), None])
@pytest.mark.parametrize("name", CAUGHT)
def test_an_error_that_the_program_catches_is_jaxs_at_all_sizes(name, shapes):
    """What JAX is told without a guard, since it raises an error otherwise, needs one where the error is caught."""

    def fun(x, y):
        try:
            return CAUGHT[name](x, y)
        except (TypeError, ValueError, OverflowError):
            return x.sum()

    for k in (0, 2, 6):
        compiled = sod2.jit(fun, shapes=shapes) if shapes else sod2.jit(fun)
        for sizes in PAIRS[k:] + PAIRS[:k]:
            args = [np.ones(n, np.float32) for n in sizes]
            np.testing.assert_allclose(compiled(*args), jax.jit(fun)(*args), rtol=1e-6, err_msg=str((k, sizes)))


def test_who_catches():
    def nothing():
        with contextlib.nullcontext():
            return None

    def finally_():
        try:
            return nothing()
        finally:
            PAIRS.copy()

    def everything():
        try:
            return finally_()
        except BaseException:
            return None

    source = "def bare():\n  try:\n    return finally_()\n  except:\n    return None"
    exec(source, written := {"finally_": finally_})

    def inner_block():
        try:
            with contextlib.nullcontext():
                return nothing()
        except KeyError:
            return None

    def suppressed():
        with contextlib.suppress(TypeError):
            return nothing()

    own = lambda f: any(a <= i.offset < b for a, b in call_sites.catching(f.__code__) for i in dis.get_instructions(f))
    assert [own(f) for f in (nothing, finally_, inner_block)] == [False, False, True]
    assert all(map(own, (everything, written["bare"], suppressed)))


def test_a_size_with_a_number_is_that_numbers_twin_in_a_set():
    draw = lambda k, x: (jax.random.gamma(k, 1.5, x.shape), jax.random.dirichlet(k, jnp.ones(3), x.shape))
    f = sod2.jit(draw, shapes=(None, "n"))
    for n in (5, 3):
        for found, wanted in zip(f(jax.random.key(5), jnp.ones(n)), jax.jit(draw)(jax.random.key(5), jnp.ones(n)), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4)


def place_at(frame) -> str:
    frame = call_sites.asking(frame)
    return "" if frame is None else place_of(frame.f_code)


def test_every_call_site_has_a_program():
    assert sorted(map(key_of, PROGRAMS)) == sorted(SITES)


def test_every_call_site_is_on_the_page_about_soundness():
    page = (Path(__file__).parents[2] / "docs" / "soundness.md").read_text()
    functions = {key: key.rpartition(":")[2].replace(".__init__", "").rpartition(".")[2] for key in SITES}
    assert not [key for key, name in functions.items() if f"`{name}`" not in page]


def test_a_frame_that_calls_no_memo():
    assert not in_memo(sys._getframe())
