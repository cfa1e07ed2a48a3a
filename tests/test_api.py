"""`sod2.jit` against `jax.jit`: spellings, arguments, transformations, the automatic mode, the cache and its limits."""

import functools
import gc
import inspect
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive

import sod2jax as sod2
from sod2jax import errors


def ones(*shape, dtype=np.float32):
    return jnp.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 7 + 1, dtype)


def same(got, want):
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert isinstance(g, jax.Array)
        assert (g.shape, g.dtype, g.weak_type) == (w.shape, w.dtype, w.weak_type)
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-6)


def f(x, y=2.0):
    """The doc."""
    return x * y + 1


# -- spellings


def test_three_spellings():
    @sod2.jit
    def bare(x):
        return x + 1

    @sod2.jit(shapes=("n",))
    def factory(x):
        return x + 1

    call = sod2.jit(lambda x: x + 1, shapes=("n",))
    for g in (bare, factory, call):
        same(g(ones(3)), ones(3) + 1)


def test_wrapped_name_doc():
    g = sod2.jit(f)
    assert g.__wrapped__ is f
    assert g.__name__ == "f"
    assert g.__doc__ == "The doc."
    assert g.__module__ == __name__
    assert inspect.signature(g) == inspect.signature(f)
    assert isinstance(g, jax.stages.Wrapped)
    assert isinstance(g, sod2.JitFunction)
    assert "f" in repr(g)


def test_what_is_not_callable_is_refused_as_by_jax():
    with pytest.raises(TypeError, match="Expected a callable value"):
        sod2.jit(3)
    with pytest.raises(TypeError, match="Expected a callable value"):
        sod2.jit(None)
    with pytest.raises(TypeError, match="unexpected keyword"):
        sod2.jit(f, no_such_option=1)


def test_partial_and_callable_objects():
    class Scale:
        def __call__(self, x):
            return 3 * x

    same(sod2.jit(functools.partial(f, y=3.0))(ones(2)), f(ones(2), 3.0))
    same(sod2.jit(Scale())(ones(2)), 3 * ones(2))


def test_methods():
    class Model:
        scale = 2.0

        @sod2.jit(static_argnums=0)
        def apply(self, x):
            return self.scale * x

    m = Model()
    same(m.apply(ones(3)), 2 * ones(3))
    same(m.apply(ones(4)), 2 * ones(4))
    assert Model.apply.cache_info().compiles == 2
    assert Model.apply.lower(m, ones(3)).fun_name == "apply"


# -- arguments


def test_pytrees_in_and_out():
    def g(params, xs):
        return {"y": params["w"] * xs[0], "n": None, "z": (xs[1], [params["w"] + 1])}

    args = {"w": ones(3), "none": None}, [ones(3), ones(2, 2)]
    out = sod2.jit(g)(*args)
    assert jax.tree.structure(out) == jax.tree.structure(g(*args))
    same(out, g(*args))


def test_dataclass_pytrees():
    @jax.tree_util.register_dataclass
    @functools.partial(__import__("dataclasses").dataclass)
    class Point:
        x: jax.Array
        y: jax.Array

    out = sod2.jit(lambda p: Point(p.y, p.x + 1))(Point(ones(2), ones(3)))
    assert isinstance(out, Point)
    same((out.x, out.y), (ones(3), ones(2) + 1))


def test_keywords_and_defaults():
    g = sod2.jit(f)
    same(g(ones(3)), f(ones(3)))
    same(g(ones(3), 3.0), jax.jit(f)(ones(3), 3.0))
    same(g(x=ones(3), y=4.0), jax.jit(f)(x=ones(3), y=4.0))
    same(g(ones(3), y=ones(1)), f(ones(3), ones(1)))


@pytest.mark.parametrize("how", [{"static_argnums": 1}, {"static_argnames": "n"}, {"static_argnums": (-1,)}])
def test_static_arguments(how):
    def g(x, n):
        assert isinstance(n, int)
        return x * n

    h = sod2.jit(g, **how)
    same(h(ones(3), 2), ones(3) * 2)
    same(h(ones(3), 3), ones(3) * 3)
    same(h(ones(3), 2), ones(3) * 2)
    assert h.cache_info().compiles == 2
    if how != {"static_argnums": (-1,)}:
        same(h(ones(3), n=2), ones(3) * 2)


def test_static_mistakes_are_jax_jits():
    g = sod2.jit(lambda x, n: x, static_argnums=1)
    with pytest.raises(ValueError, match="Non-hashable static arguments"):
        g(ones(2), [1])
    for options in ({"static_argnums": 5}, {"static_argnames": "zz"}, {"donate_argnums": 1, "static_argnums": 1}):
        with pytest.raises(ValueError, match="arg") as mine:
            sod2.jit(f, **options)
        with pytest.raises(ValueError, match="arg") as theirs:
            jax.jit(f, **options)
        assert str(mine.value) == str(theirs.value)


def test_numpy_and_python_scalars_as_jax_jit():
    for x in (3, 2.5, True, np.float64(3), np.int64(3), np.ones(3), np.ones(3, np.int64), np.float32(2)):
        same(sod2.jit(lambda x: x + x)(x), jax.jit(lambda x: x + x)(x))


def test_weak_types():
    g = sod2.jit(lambda x: x * 2)
    assert g(3.0).weak_type
    assert not g(jnp.float32(3)).weak_type
    assert g.cache_info().compiles == 2
    assert g(ones(2, dtype=jnp.bfloat16)).dtype == jnp.bfloat16


def test_x64():
    g = sod2.jit(lambda x: x + 1)
    assert g(np.ones(2)).dtype == np.float32
    with jax.enable_x64(True):
        assert g(np.ones(2)).dtype == np.float64
        assert g(1).dtype == np.int64
    assert g(np.ones(2)).dtype == np.float32
    assert g.cache_info().compiles == 3


def test_non_array_is_refused_in_jax_words():
    for bad in ("text", object()):
        with pytest.raises(TypeError) as mine:
            sod2.jit(f)(bad)
        with pytest.raises(TypeError) as theirs:
            jax.jit(f)(bad)
        assert str(mine.value) == str(theirs.value)


def test_deleted_array_is_refused_in_jax_words():
    x = ones(3)
    g = sod2.jit(f)
    g(x)
    x.delete()
    with pytest.raises(RuntimeError, match="Array has been deleted"):
        g(x)


def test_leaked_tracer_is_refused_in_jax_words():
    leak = []
    jax.jit(lambda x: leak.append(x) or x)(ones(2))
    with pytest.raises(jax.errors.UnexpectedTracerError):
        sod2.jit(lambda x: x + leak[0])(ones(2))


def test_donation():
    x = ones(8)
    g = sod2.jit(lambda x: x + 1, donate_argnums=0)
    same(g(x), ones(8) + 1)
    assert x.is_deleted()
    with pytest.raises(RuntimeError, match="deleted"):
        g(x)


def test_unused_arguments_may_vary_and_still_give_sizes():
    g = sod2.jit(lambda x, like: x + like.shape[0], shapes=("n", "k, ..."))
    same(g(ones(3), np.zeros((5, 0))), ones(3) + 5)
    same(g(ones(4), np.zeros((6, 0))), ones(4) + 6)
    assert g.cache_info().compiles == 1


def test_leaves_that_no_call_can_read():
    with pytest.raises(TypeError, match=r"ShapeDtypeStruct.*not a valid JAX type"):
        sod2.jit(f)(jax.ShapeDtypeStruct((3,), np.float32))


KEY = jax.random.key(5)


def draws(key, x):
    first, second = jax.random.split(key)
    return {"keys": (first, KEY), "x": x + jax.random.bits(second, x.shape), "n": jax.random.fold_in(KEY, x.shape[0])}


def rows(keys):
    step = lambda key, row: (jax.random.split(key)[1], (row, jax.random.uniform(row)))
    last, rest = jax.lax.scan(step, keys[0], keys)
    last = jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jax.random.split(c[1])[0]), (0, last))[1]
    return jax.lax.cond(rest[1][0] > 0.5, lambda k: k, lambda k: jax.random.split(k)[0], last), rest


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_typed_keys_come_and_go(impl):
    g, h = sod2.jit(draws, shapes=(None, "n")), sod2.jit(rows, shapes="n")
    for n in (3, 1, 8):
        key, x = jax.random.key(n, impl=impl), np.arange(n, dtype=np.uint32)
        keys = jax.random.split(key, n)
        for found, expected in ((g(key, x), jax.jit(draws)(key, x)), (h(keys), jax.jit(rows)(keys))):
            assert jax.tree.structure(found) == jax.tree.structure(expected)
            for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
                assert (type(a), a.dtype, a.shape) == (type(b), b.dtype, b.shape)
                assert jnp.all(a == b)
    assert g.cache_info().compiles == h.cache_info().compiles == 1


def test_keys_of_another_type_are_another_version():
    g = sod2.jit(lambda key: jax.random.bits(jax.random.wrap_key_data(key) if key.dtype == np.uint32 else key))
    for key in (jax.random.PRNGKey(1), jax.random.key(1), jax.random.key(1, impl="rbg"), jax.random.key(2)):
        g(key)
    assert g.cache_info().compiles == 3
    compiled = g.lower(jax.random.key(0)).compile()
    assert compiled(jax.random.key(2)) == g(jax.random.key(2))
    with pytest.raises(errors.ShapeError, match=r"compiled with key<fry>\[\] and called with key<rbg>\[\]"):
        compiled(jax.random.key(2, impl="rbg"))
    assert compiled.memory_analysis().argument_size_in_bytes == 8


def test_a_shuffle_compiles_once():
    g = sod2.jit(jax.random.permutation, shapes=(None, "n"))
    for n in (5, 3, 5):
        same(g(KEY, np.arange(n)), jax.random.permutation(KEY, np.arange(n)))
    assert g.cache_info().compiles == 1


def test_donated_keys_are_gone():
    key = jax.random.key(1)
    sod2.jit(lambda key: jax.random.split(key)[0], donate_argnums=0)(key)
    assert key.is_deleted()


def test_constants_are_closed_over():
    w = ones(3)
    same(sod2.jit(lambda x: x @ w)(ones(2, 3)), ones(2, 3) @ w)


def test_nothing_to_compute():
    assert sod2.jit(lambda: ())() == ()
    same(sod2.jit(lambda: jnp.zeros(2))(), jnp.zeros(2))
    x = ones(3)
    same(sod2.jit(lambda x: x)(x), x)


# -- shapes=


def test_one_compilation_serves_every_size():
    g = sod2.jit(lambda x, y: (x @ y).sum(0), shapes=("m, k", "k, n"))
    for m, k, n in ((3, 4, 5), (1, 1, 1), (0, 3, 2), (17, 64, 33)):
        same(g(ones(m, k), ones(k, n)), (ones(m, k) @ ones(k, n)).sum(0))
    info = g.cache_info()
    assert info.compiles == 1
    assert info.hits == 3


def test_static_dims_of_a_contract_compile_another_version():
    g = sod2.jit(lambda x: x + 1, shapes=("b, _",))
    for shape in ((3, 4), (5, 4), (3, 6)):
        same(g(ones(*shape)), ones(*shape) + 1)
    assert g.cache_info().compiles == 2


def test_contract_errors_come_before_and_after_compiling():
    g = sod2.jit(lambda tokens: tokens + 1, shapes=("b, s",), constraints=("s <= 16",))
    for _ in range(2):
        with pytest.raises(errors.ShapeError, match=r"'s <= 16'.*s = 17 .axis 1 of argument 'tokens'"):
            g(ones(2, 17))
        with pytest.raises(TypeError, match=r"argument 'tokens' .float32.2.. has rank 1, but shapes= has 'b, s'"):
            g(ones(2))
        same(g(ones(2, 16)), ones(2, 16) + 1)
    assert g.cache_info().compiles == 1


def test_paths_in_errors():
    g = sod2.jit(lambda params, x: x @ params["layer"]["kernel"], shapes=({"layer": {"kernel": "k, n"}}, "b, k"))
    with pytest.raises(errors.ShapeError, match=r"'x'.*axis 1.*wants size k = 3 here, got 4.*params\['layer'\]\['kernel'\]"):
        g({"layer": {"kernel": ones(3, 2)}}, ones(2, 4))


def test_abstracted_axes():
    g = sod2.jit(lambda x: x.sum(), abstracted_axes={0: "n"})
    same([g(ones(n)) for n in (3, 4, 5)], [ones(n).sum() for n in (3, 4, 5)])
    assert g.cache_info().compiles == 1


def test_size_read_as_a_value():
    g = sod2.jit(lambda x: x.sum() / x.shape[0], shapes=("n",))
    same([g(ones(n)) for n in (3, 8)], [ones(n).sum() / n for n in (3, 8)])


def test_python_decisions_on_sizes_compile_another_version():
    @sod2.jit(shapes=("n",))
    def g(x):
        return x + 1 if x.shape[0] > 4 else x - 1

    for n in (3, 2, 5, 9, 4):
        same(g(ones(n)), ones(n) + 1 if n > 4 else ones(n) - 1)
    info = g.cache_info()
    assert info.compiles == 2
    assert all(v.guards for v in info.versions)


# -- automatic mode


def test_automatic_mode_needs_two_compilations():
    g = sod2.jit(lambda w, x: x @ w)
    w = ones(4, 3)
    for b in (2, 5, 7, 1, 0, 2):
        same(g(w, ones(b, 4)), ones(b, 4) @ w)
    info = g.cache_info()
    assert info.compiles == 2
    assert info.hits == 4
    assert info.versions[0].why == "it is the first call"
    assert "axis 0 of x was 2 and is now 5: it becomes the symbol x_0" in info.versions[1].why
    assert "x float32[x_0,4]" in info.versions[1].arguments
    assert "w float32[4,3]" in info.versions[1].arguments


def test_automatic_mode_ties_dims_that_vary_together_and_unties_them():
    g = sod2.jit(lambda x, y: x.sum() + y.sum())
    for a, b in ((3, 3), (4, 4), (5, 6), (7, 9), (8, 8)):
        same(g(ones(a), ones(b)), ones(a).sum() + ones(b).sum())
    info = g.cache_info()
    assert info.compiles == 3
    assert "axis 0 of y is no longer always equal to x_0" in info.versions[2].why


def test_automatic_mode_with_another_dtype_or_rank():
    g = sod2.jit(lambda x: x + 1)
    for x in (ones(3), ones(3, dtype=np.int32), ones(3, 1)):
        same(g(x), x + 1)
    info = g.cache_info()
    assert info.compiles == 3
    assert info.versions[1].why
    assert info.versions[2].why
    assert info.versions[1].why != "it is the first call"


# -- the cache


def test_max_compiles_names_the_reasons():
    g = sod2.jit(lambda x: x + 1, max_compiles=2)
    g(ones(2)), g(ones(3)), g(ones(4))
    with pytest.raises(errors.CompileLimitError) as e:
        g(ones(2, 2))
    for words in (
        "max_compiles=2",
        "1. x float32[2], because it is the first call",
        "2. x float32[x_0], because axis 0",
        "float32[2,2]",
    ):
        assert words in str(e.value), str(e.value)
    same(g(ones(9)), ones(9) + 1)  # what is compiled goes on working
    with pytest.raises(ValueError, match="max_compiles=0"):
        sod2.jit(f, max_compiles=0)


def test_cache_info_prints_and_clear_cache_forgets():
    g = sod2.jit(lambda x: x + 1)
    g(ones(2)), g(ones(2)), g(ones(3))
    text = str(g.cache_info())
    assert text.startswith("2 compilations, 1 hit\n1. x float32[2]: 1 hit, compiled in")
    g.clear_cache()
    assert g.cache_info().compiles == 0
    same(g(ones(2)), ones(2) + 1)
    assert g.cache_info().versions[0].why == "it is the first call"


def test_log_compiles(caplog):
    with jax.log_compiles(), caplog.at_level(logging.WARNING, "sod2jax"):
        sod2.jit(f)(ones(2))
    text = "\n".join(r.getMessage() for r in caplog.records if r.name == "sod2jax")
    assert "Compiling f for x float32[2] because it is the first call" in text
    assert "Finished compiling f in" in text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "sod2jax"):
        sod2.jit(f)(ones(2))
    assert not [r for r in caplog.records if r.name == "sod2jax"]


def test_a_dropped_function_is_freed():
    g = sod2.jit(lambda x: x + 1)
    g(ones(2))
    ref = weakref.ref(g)
    del g
    gc.collect()
    assert ref() is None


# -- transformations


def test_inside_transformations():
    g = sod2.jit(lambda x: jnp.sin(x).sum() * 2, shapes=("n",))
    h = lambda x: jnp.sin(x).sum() * 2
    x = ones(4)
    same(jax.jit(g)(x), h(x))
    same(jax.grad(g)(x), jax.grad(h)(x))
    same(jax.vmap(g)(ones(3, 4)), jax.vmap(h)(ones(3, 4)))
    same(
        jax.lax.scan(lambda c, x: (c + g(x), g(x)), 0.0, ones(3, 4)), jax.lax.scan(lambda c, x: (c + h(x), h(x)), 0.0, ones(3, 4))
    )
    same(jax.jacfwd(g)(x), jax.jacfwd(h)(x))
    assert g.cache_info().compiles == 0
    assert jax.make_jaxpr(g)(x).out_avals[0].shape == ()


def test_around_transformations():
    loss = lambda w, x: ((x @ w) ** 2).mean()
    g = sod2.jit(jax.value_and_grad(loss), shapes=(None, "b, ..."))
    w = ones(3)
    for b in (2, 5):
        same(g(w, ones(b, 3)), jax.value_and_grad(loss)(w, ones(b, 3)))
    v = sod2.jit(jax.vmap(lambda x: x.sum()), shapes=("b, n",))
    for shape in ((2, 3), (4, 1)):
        same(v(ones(*shape)), ones(*shape).sum(1))
    assert g.cache_info().compiles == v.cache_info().compiles == 1


def test_one_compiled_function_in_another():
    inner = sod2.jit(lambda x: x * 2, shapes=("n",))
    outer = sod2.jit(lambda x: inner(x) + 1, shapes=("n",))
    same([outer(ones(3)), outer(ones(5))], [ones(3) * 2 + 1, ones(5) * 2 + 1])
    assert outer.cache_info().compiles == 1
    assert inner.cache_info().compiles == 0


def test_no_tracers_but_under_a_trace():
    g = sod2.jit(lambda x: x + 1)
    same(jax.jit(lambda y: y + g(np.ones(3, np.float32)))(ones(3)), ones(3) + 2)

    def closes_over(y):
        return sod2.jit(lambda x: x + y)(np.ones(3, np.float32))

    same(jax.jit(closes_over)(ones(3)), ones(3) + 1)


def test_disable_jit_runs_op_by_op():
    seen = []
    g = sod2.jit(lambda x: seen.append(x) or x + 1)
    with jax.disable_jit():
        same(g(ones(2)), ones(2) + 1)
    assert not isinstance(seen[0], jax.core.Tracer)
    assert g.cache_info().compiles == 0


def test_the_contract_holds_inside_of_transformations():
    g = sod2.jit(lambda x: x + 1, shapes=("n, 4",))
    with pytest.raises(errors.ShapeError, match="wants size 4 here, got 5"):
        jax.jit(g)(ones(3, 5))
    same(jax.vmap(g)(ones(2, 3, 4)), ones(2, 3, 4) + 1)


def test_wrapping_wrapped_functions():
    same(sod2.jit(jax.jit(f))(ones(3)), f(ones(3)))
    inner = sod2.jit(f, shapes=("n", None))
    same(jax.grad(lambda x: inner(x).sum())(ones(3)), jnp.full(3, 2.0, np.float32))
    outer = sod2.jit(inner)
    same(outer(ones(3)), f(ones(3)))
    assert inner.cache_info().compiles == 0
    assert outer.cache_info().compiles == 1


def test_threads_share_one_compilation():
    g = sod2.jit(lambda x: x * 2 + 1, shapes=("n",))
    start = threading.Barrier(8)

    def work(n):
        start.wait()
        return [g(ones(n + k)) for k in range(20)]

    with ThreadPoolExecutor(8) as pool:
        for n, outs in enumerate(pool.map(work, range(8))):
            for k, out in enumerate(outs):
                same(out, ones(n + k) * 2 + 1)
    assert g.cache_info().compiles == 1


# -- what is not there


def test_unsupported_primitive_names_line_and_way_out():
    mystery = Primitive("mystery")
    mystery.def_abstract_eval(lambda x: x)

    def solve(x):
        return mystery.bind(x)

    with pytest.raises(errors.UnsupportedError, match=r"`mystery`.*test_api.py:\d+ .*solve.*jax.jit"):
        sod2.jit(solve, compiler_options={"islands": False})(ones(2, 2))


def test_options_are_checked_when_decorating():
    with pytest.raises(errors.UnsupportedError, match=r"buckets=.*not supported yet"):
        sod2.jit(f, buckets="auto")
    with pytest.raises(errors.SpecError, match="None and strings"):
        sod2.jit(f, shapes=(3,))


def test_precision_is_that_of_the_trace():
    for p in ("highest", "default", "float32", jax.lax.Precision.HIGHEST):
        g = sod2.jit(lambda x: x @ x, precision=p)
        same(g(ones(2, 2)), ones(2, 2) @ ones(2, 2))
    text = sod2.jit(lambda x: x @ x, precision="highest").lower(ones(2, 2)).as_text("jaxpr")
    assert "precision=(Precision.HIGHEST, Precision.HIGHEST)" in text


def test_parts_of_the_compiler_can_be_disabled():
    g = sod2.jit(lambda x: jnp.tanh(x) + 1, compiler_options={"disable": ["fusion", "memory"]})
    same(g(ones(5)), jnp.tanh(ones(5)) + 1)
