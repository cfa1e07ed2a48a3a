"""trace -> lower -> compile, as `jax.stages`, and the analyses in formulas."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import sod2jax as sod2
from sod2jax import errors
from sod2jax.ir import program as ir
from sod2jax.ir.expr import const, sym
from sod2jax.stages import KINDS, cost_analysis


def test_explain():
    f = sod2.jit(lambda w, x: jax.nn.softmax(x @ w), shapes=(None, "b, s, 16"), constraints=("s <= 512",))
    report = f.explain(np.ones((16, 8), np.float32), np.ones((2, 5, 16), np.float32))
    text = str(report)
    for expected in ("s in 0..512", "ISDOS", "contract: s <= 512", "of 3 kernels", "temporary memory (arena)", "alive at once"):
        assert expected in text
    assert report.html().startswith("<!doctype html>")


def fun(w, x):
    return {"y": jnp.tanh(x @ w)}


def ones(*shape, dtype=np.float32):
    return jnp.ones(shape, dtype)


@pytest.fixture(scope="module")
def compiled():
    return sod2.jit(fun, shapes=(None, "b, k"), constraints=("b <= 4096",)).trace(ones(4, 3), ones(5, 4)).lower().compile()


def test_stages_know_their_arguments_and_results():
    g = sod2.jit(fun, shapes=(None, "b, _"), donate_argnums=1)
    traced = g.trace(ones(4, 3), ones(5, 4))
    lowered = traced.lower()
    for stage in (traced, lowered, lowered.compile()):
        assert stage.fun_name == "fun"
        assert stage.dims == ("b",)
        assert stage.guards == ()
        assert stage.in_tree == jax.tree.structure(((0, 0), {}))
        assert stage.out_tree == jax.tree.structure({"y": 0})
        assert stage.donate_argnums == (1,)
        assert str(stage.out_info["y"].shape) == "(b, 3)"
        assert stage.out_info["y"].dtype == np.float32
        assert [str(i.shape) for i in stage.args_info[0]] == ["(4, 3)", "(b, 4)"]
        assert stage.args_info[0][1].donated
        assert [str(a.shape) for a in stage.in_avals[0]] == ["(4, 3)", "(b, 4)"]
    assert traced.jaxpr.jaxpr.eqns
    assert g.eval_shape(ones(4, 3), ones(5, 4))["y"].shape[1] == 3
    assert g.cache_info().compiles == 0


def test_as_text():
    lowered = sod2.jit(fun, shapes=(None, "b, _")).lower(ones(4, 3), ones(5, 4))
    assert "dot_general" in lowered.as_text("jaxpr")
    assert "f32[b,3]" in lowered.as_text("jaxpr")
    for kind in KINDS:
        assert lowered.as_text(kind)
    assert lowered.as_text() == lowered.as_text("plan")
    assert lowered.compile().as_text() == lowered.as_text("asm")
    for kind in ("opencl", "stablehlo"):
        with pytest.raises(errors.UnsupportedError, match=f"{kind}.*not supported yet"):
            lowered.as_text(kind)
    with pytest.raises(ValueError, match="unknown kind of text: 'poem'"):
        lowered.as_text("poem")


def test_compiled_serves_every_size(compiled):
    w = ones(4, 3)
    for b in (5, 1, 0, 64):
        x = ones(b, 4) * 0.1
        np.testing.assert_allclose(compiled(w, x)["y"], fun(w, x)["y"], rtol=1e-5)
    np.testing.assert_allclose(
        compiled(np.ones((4, 3), np.float32), np.ones((2, 4), np.float32))["y"], jnp.tanh(ones(2, 3) * 4), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((ones(4, 3), ones(5, 4, dtype=np.int32)), ["Argument 'x' compiled with float32[b,k] and called with int32[5,4]"]),
        ((ones(4, 3), ones(5)), ["Argument 'x' compiled with float32[b,k] and called with float32[5]"]),
        ((ones(4, 2), ones(5, 4)), ["Argument 'w' compiled with float32[4,3] and called with float32[4,2]"]),
        ((ones(4, 3), ones(5000, 4)), ["b <= 4096", "b = 5000"]),
        ((ones(4, 3), ones(5, 6)), ["k == 4", "k = 6"]),
        ((ones(4, 3),), ["input pytree does not match"]),
    ],
)
def test_compiled_refuses_other_types_in_jax_words(compiled, args, words):
    with pytest.raises(TypeError) as e:
        compiled(*args)
    for w in words:
        assert w in str(e.value), str(e.value)


def test_compiled_cannot_be_transformed(compiled):
    with pytest.raises(TypeError, match="Cannot apply JAX transformations"):
        jax.jit(lambda x: compiled(ones(4, 3), x))(ones(5, 4))


def test_structs_concrete_and_symbolic():
    s = jax.ShapeDtypeStruct
    c = sod2.jit(fun).lower(s((4, 3), np.float32), s((5, 4), np.float32)).compile()
    np.testing.assert_allclose(c(ones(4, 3), ones(5, 4))["y"], jnp.tanh(ones(5, 3) * 4), rtol=1e-5)
    with pytest.raises(TypeError, match=r"compiled with float32.5,4. and called with float32.6,4."):
        c(ones(4, 3), ones(6, 4))
    b = export.symbolic_shape("b, 4", constraints=["b <= 8"])
    c = sod2.jit(fun).lower(s((4, 3), np.float32), s(b, np.float32)).compile()
    assert c.dims == ("b",)
    for n in (1, 8):
        np.testing.assert_allclose(c(ones(4, 3), ones(n, 4))["y"], jnp.tanh(ones(n, 3) * 4), rtol=1e-5)
    with pytest.raises(TypeError, match=r"b <= 8.*b = 9"):
        c(ones(4, 3), ones(9, 4))
    with pytest.raises(ValueError, match="give a size for b"):
        c.memory_analysis()
    assert c.memory_analysis(b=2).argument_size_in_bytes == (12 + 8) * 4


def test_static_arguments_are_left_out_of_compiled_calls():
    c = sod2.jit(lambda x, n: x * n, static_argnums=1, shapes=("b",)).lower(ones(3), 2).compile()
    np.testing.assert_allclose(c(ones(5)), 2 * ones(5))


def test_memory_and_cost_analysis(compiled):
    m = compiled.memory_analysis()
    assert m.argument_size_in_bytes == (12 + 20) * 4
    assert m.output_size_in_bytes == 15 * 4
    assert compiled.memory_analysis(b=10).output_size_in_bytes == 30 * 4
    formula = compiled.memory_formula()
    for b in (0, 1, 7, 1000):
        assert (
            formula.subs("b", b) == 0
            or int(formula.subs(dict.fromkeys(formula.free_symbols, b))) == compiled.memory_analysis(b=b).temp_size_in_bytes
        )
    assert compiled.cost_analysis(b=100)["flops"] > compiled.cost_analysis(b=10)["flops"] > 0
    assert compiled.cost_analysis()["bytes accessed"] > 0
    with pytest.raises(ValueError, match="no dim 'q'; its dims are b, k"):
        compiled.memory_analysis(q=1)


def test_cost_of_control_flow():
    b = sym("b")
    step = ir.Step(0, (0,), (), b, b, const(0))
    steps = (
        ir.Loop((step, step), b),
        ir.Branch(0, ((step,), (step, step))),
        ir.Loop((step,), None, pred=0),
        ir.HostCall(0, (0,), (0,)),
    )
    slots = (ir.Slot("input", 0, np.dtype("f4"), (b,), 4 * b),)
    program = ir.Program("p", (ir.SymbolDef("b", 0, 0),), (), (), slots, steps, ())
    trace = SimpleNamespace(name="p", symbols=program.symbols, hints={})
    costs = cost_analysis(trace, SimpleNamespace(program=program), {"b": 10})
    assert costs == {"flops": 2 * 100 + 2 * 10 + 10, "bytes accessed": 40 * (20 + 2 + 1 + 2)}


def attention(q, k):
    return jax.nn.softmax(q @ k.T, axis=-1) @ k


def test_max_dim():
    c = sod2.jit(attention, shapes=("b, 8", "s, 8"), constraints=("b % 4 == 0",)).lower(ones(4, 8), ones(6, 8)).compile()
    limit = c.memory_analysis(b=64, s=32).temp_size_in_bytes
    if not limit:
        pytest.skip("nothing is kept in the arena")
    b = c.max_dim("b", bytes=limit, s=32)
    assert b % 4 == 0
    assert b >= 64
    assert c.memory_analysis(b=b, s=32).temp_size_in_bytes <= limit < c.memory_analysis(b=2 * b, s=32).temp_size_in_bytes
    with pytest.raises(ValueError, match="no dim 'q'"):
        c.max_dim("q", bytes=1)


def test_max_dim_within_bounds(compiled):
    assert compiled.max_dim("b", bytes=1 << 40) == 4096
