"""Traces: symbols and their definitions, guards, hints, out avals; ShapeDtypeStructs with symbolic dims."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import sod2jax as sod2
from sod2jax.arguments import Arguments
from sod2jax.errors import ShapeError, SpecError, StaticSizeWarning
from sod2jax.ir.expr import parse, sym
from sod2jax.specs import Contract
from sod2jax.trace import automatic_signature, contract_signature, trace


def traced(fun, *args, shapes=None, constraints=(), **kwargs):
    arguments = Arguments(fun)
    call = arguments.read(args, kwargs)
    contract = Contract(shapes, constraints, signature=arguments.signature)
    return trace(arguments, args, kwargs, call, contract_signature(fun.__name__, contract, call))


def sds(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def fun(params, x):
    return x @ params["w"], x.shape[0]


def test_what_a_trace_knows():
    t = traced(fun, {"w": sds(4, 3), "b": sds(3)}, sds(5, 4), shapes=(None, "n, k"))
    assert t.name == "fun"
    assert t.hints == {"n": 5, "k": 4}
    assert [(x.path, x.used) for x in t.inputs] == [("params['b']", False), ("params['w']", True), ("x", True)]
    assert t.inputs[2].shape == (sym("n"), sym("k"))
    assert t.inputs[1].shape == (4, 3)
    assert [(d.name, d.input, d.axis, d.scale, d.offset) for d in t.symbols] == [("k", 2, 1, 1, 0), ("n", 2, 0, 1, 0)]
    assert t.out_shapes == ((sym("n"), parse("3")), ())
    assert [a.weak_type for a in t.out_avals] == [False, True]
    assert [str(g.cond) for g in t.guards()] == ["k == 4"]
    assert t.guards()[0].kind == "version"
    assert t.bounds == {"n": (0, None), "k": (4, 4)}
    assert len(t.closed_jaxpr.jaxpr.invars) == len(t.inputs)


def test_constraints_are_facts_and_contract_guards():
    t = traced(
        lambda x: x.reshape(-1, 32).sum() if x.shape[0] <= 512 else x,
        sds(64),
        shapes=("h",),
        constraints=("h % 32 == 0", "h <= 512"),
    )
    assert [(g.kind, str(g.cond)) for g in t.guards()] == [("contract", "h % 32 == 0"), ("contract", "h <= 512")]
    assert t.bounds == {"h": (0, 512)}


def test_decisions_of_the_trace_are_guards_with_the_users_line():
    def branch(x):
        return x + 1 if x.shape[0] > 10 else x

    (guard,) = traced(branch, sds(12), shapes=("n",)).guards()
    assert guard.kind == "version"
    assert str(guard.cond) == "10 < n"
    assert "test_trace.py" in guard.where
    assert "branch" in guard.where


def test_sizes_one_and_zero_are_not_special():
    for n in (0, 1):
        t = traced(lambda x, y: x + y, sds(n, 4), sds(4), shapes=("n, 4", "4"))
        assert t.guards() == ()
        assert t.out_shapes == ((sym("n"), parse("4")),)


def test_broadcasting_a_size_that_is_one_here_pins_it():
    t = traced(lambda x, y: x + y, sds(1), sds(5), shapes=("a", "b"))
    assert [str(g.cond) for g in t.guards()] == ["a == 1"]
    assert t.out_shapes == ((sym("b"),),)


def test_a_mistake_stays_the_users_even_where_sizes_are_one():
    with pytest.raises(TypeError, match="incompatible shapes"):
        traced(lambda x, y: x + y, sds(1, 3), sds(5, 4), shapes=("a, 3", "b, 4"))


def test_sizes_that_are_equal_here_and_added_are_guarded():
    t = traced(lambda x, y: x + y, sds(5), sds(5), shapes=("a", "b"))
    assert [set(str(g.cond).split(" == ")) for g in t.guards()] == [{"a", "b"}]


def test_multiples_are_solved():
    t = traced(lambda x: x.reshape(-1, 2).sum(1), sds(6), shapes=("2*k",))
    assert t.out_shapes == ((sym("k"),),)
    assert t.symbols[0].scale == 2
    assert t.guards() == ()


def test_every_trace_is_fresh():
    """A cached trace would lose its guards."""

    def branch(x):
        return jnp.where(x.shape[0] > 3, x, -x) if x.shape[0] > 4 else x

    assert [str(traced(branch, sds(n), shapes=("n",)).guards()[0].cond) for n in (5, 5, 3)] == ["4 < n", "4 < n", "n <= 4"]


def test_symbolic_structs():
    b, s = export.symbolic_shape("b, 2*s", constraints=["b <= 5"])
    t = traced(lambda x: x.reshape(-1), sds(b, s), shapes=None)
    assert t.hints == {}
    assert t.out_shapes == ((2 * sym("b") * sym("s"),),)
    assert t.bounds == {"b": (1, 5), "s": (1, None)}
    assert [(g.kind, str(g.cond)) for g in t.guards()][:1] == [("contract", "b <= 5")]
    (b,) = export.symbolic_shape("b")
    with pytest.raises(jax.errors.InconclusiveDimensionOperation, match="b"):
        traced(lambda x: x if x.shape[0] > 4 else -x, sds(b))
    with pytest.raises(ShapeError, match="axis 0 is given as b, but shapes= has 'n'"):
        traced(lambda x: x, sds(b), shapes=("n",))
    with pytest.raises(ShapeError, match="has rank 1, but shapes= has 'b, s'"):
        traced(lambda x: x, sds(b), shapes=("b, s",))
    (e,) = export.symbolic_shape("b*c")
    with pytest.raises(SpecError, match="symbol 'b' cannot be found"):
        traced(lambda x: x, sds(e))


def test_structs_of_another_trace():
    t = traced(lambda x: x[1:], sds(5), shapes=("n + 1",))
    shape = t.out_avals[0].shape
    u = traced(lambda y: y * 2, jax.ShapeDtypeStruct(shape, np.float32))
    assert u.out_shapes == ((sym("n"),),)
    assert u.bounds == {"n": (0, None)}


def test_automatic_signature():
    arguments = Arguments(lambda params, x: None)
    calls = [arguments.read(({"w": sds(4)}, sds(*shape)), {}) for shape in ((2, 2, 7), (3, 3, 7), (3, 4, 7))]
    history = [c.shapes for c in calls]
    two = automatic_signature(calls[1], history[:2])
    assert [str(s) for s in two.shapes] == ["(4,)", "(x_0, x_0, 7)"]
    assert two.hints == {"x_0": 3}
    three = automatic_signature(calls[2], history)
    assert [str(s) for s in three.shapes] == ["(4,)", "(x_0, x_1, 7)"]
    assert three.hints == {"x_0": 3, "x_1": 4}


def test_names_of_automatic_symbols_are_unique():
    arguments = Arguments(lambda a, a_0: None)
    calls = [arguments.read(([sds(n)], sds(m)), {}) for n, m in ((2, 3), (4, 5))]
    assert sorted(automatic_signature(calls[1], [c.shapes for c in calls]).hints) == ["a_0_0", "a_0_0_2"]


def test_a_trace_that_fails_at_size_zero_runs_with_zero_as_a_constant():
    f = sod2.jit(lambda x: x[::2] * 2, shapes=("a, b",))
    for rows in (0, 5, 0, 8):
        x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
        np.testing.assert_array_equal(f(x), x[::2] * 2)
    assert f.cache_info().compiles == 2


def test_a_size_whose_methods_are_called_has_a_version_per_size():
    f = sod2.jit(lambda x: x / np.sum([x.shape[0]]).item(), shapes=("n",))
    with pytest.warns(StaticSizeWarning, match="has no attribute 'item'"):
        f(np.ones(4, np.float32))
    for n in (4, 5, 4):
        np.testing.assert_array_equal(f(np.ones(n, np.float32)), np.ones(n, np.float32) / np.float32(n))
    assert f.cache_info().compiles == 2


def test_a_sum_of_sizes_has_a_dtype_as_numpys_sums_have():
    f = sod2.jit(lambda x: x / np.sum([x.shape[0]]).astype(x.dtype), shapes=("n",))
    for n in (4, 5, 4):
        np.testing.assert_array_equal(f(np.ones(n, np.float32)), np.ones(n, np.float32) / np.float32(n))
    assert f.cache_info().compiles == 1


def test_an_error_of_jax_says_which_sizes_this_call_has():
    f = sod2.jit(lambda x, rows: x + rows[0], shapes=("n", "m, _"))
    with pytest.raises(TypeError, match=r"incompatible shapes for broadcasting: \(n,\), \(3,\)") as error:
        f(np.ones(4, np.float32), np.ones((2, 3), np.float32))
    assert error.value.__notes__[0] == "In this call n = 4, from axis 0 of 'x'."
