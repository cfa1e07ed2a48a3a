"""The stages in a row: texts of each, what is a parameter, refusals, code for other machines."""

import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive

import sod2jax as sod2
from sod2jax import pipeline

KINDS = ("jaxpr", "facts", "plan", "loops", "llvm", "asm")
EM_AARCH64 = 183


def layer(params, x):
    return jax.nn.softmax(jax.nn.gelu(x @ params["w"] + params["b"]))


PARAMS = {"w": np.ones((48, 64), np.float32), "b": np.zeros(64, np.float32)}


def lowered(fun=layer, shapes=(None, "b, s, 48"), x=(2, 5, 48), **options):
    return sod2.jit(fun, shapes=shapes, **options).trace(PARAMS, jnp.ones(x)).lower()


@pytest.mark.parametrize("kind", KINDS)
def test_every_stage_prints(kind):
    text = lowered().as_text(kind)
    assert len(text.splitlines()) > 3
    expected = {"jaxpr": "dot_general", "facts": "ISDOS", "plan": "b*s", "loops": "for", "llvm": "define", "asm": "ret"}[kind]
    assert expected in text


def test_weights_are_parameters_and_lone_arrays_of_static_functions_are_not():
    def of(fun, shapes, *args):
        traced = sod2.jit(fun, shapes=shapes).trace(*args)._trace
        return {traced.inputs[i].path for i in pipeline.parameters(traced)}

    x = np.ones((3, 48), np.float32)
    assert of(layer, (None, "s, 48"), PARAMS, x) == {"params['w']", "params['b']"}
    assert of(lambda w, x: x @ w, (None, "s, 48"), PARAMS["w"], x) == {"w"}
    assert of(layer, None, PARAMS, x) == {"params['w']", "params['b']"}
    assert of(lambda w, x: x @ w, None, PARAMS["w"], x) == set()


def test_unsupported_primitives_are_named_with_their_line():
    mine = Primitive("mine")
    mine.def_abstract_eval(lambda x: x)
    with pytest.raises(sod2.errors.UnsupportedError, match=r"`mine`.*islands are off.*test_pipeline\.py"):
        sod2.jit(lambda x: mine.bind(x) + 1, compiler_options={"islands": False})(jnp.ones(5))


def test_disabled_parts_change_the_plan_and_not_the_result():
    x = np.random.default_rng(0).standard_normal((3, 7, 48)).astype(np.float32)
    plain = sod2.jit(layer, shapes=(None, "b, s, 48"))
    slow = sod2.jit(layer, shapes=(None, "b, s, 48"), compiler_options={"disable": ("fusion", "memory")})
    np.testing.assert_allclose(plain(PARAMS, x), slow(PARAMS, x), rtol=1e-5, atol=1e-6)
    plans = [f.trace(PARAMS, x).lower().as_text("plan") for f in (plain, slow)]
    assert len(plans[0].splitlines()) < len(plans[1].splitlines())


def test_without_variants_a_contraction_has_one_kernel_for_all_sizes():
    product = lambda x: x @ x.T
    x = np.random.default_rng(0).standard_normal((37, 5)).astype(np.float32)
    plain = sod2.jit(product, shapes="s, 5")
    one = sod2.jit(product, shapes="s, 5", compiler_options={"disable": ("variants",)})
    np.testing.assert_allclose(plain(x), one(x), rtol=1e-5, atol=1e-5)
    loops = [f.trace(x).lower().as_text("loops") for f in (plain, one)]
    assert loops[0].count("gemm") > loops[1].count("gemm") > 0


def machine_of(code: bytes) -> int:
    assert code[:4] == b"\x7fELF"
    return struct.unpack_from("<H", code, 18)[0]


def test_code_for_a_phone_is_made_but_not_run():
    compiled = lowered(compiler_options={"cpu": "aarch64-linux-android"})
    assert machine_of(compiled._executable.object_code()) == EM_AARCH64
    with pytest.raises(sod2.errors.UnsupportedError, match="aarch64"):
        compiled.compile()


def test_the_quickstart_model_for_aarch64(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[1] / "examples")])
    from zoo.encoder import Encoder

    model = Encoder()
    params = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8), np.int32))
    forward = sod2.jit(
        model.apply, shapes=(None, "1, s"), constraints=("s <= 512",), compiler_options={"cpu": "aarch64-linux-android"}
    )
    executable = forward.trace(params, jax.ShapeDtypeStruct((1, 37), np.int32)).lower()._executable
    code = executable.object_code()
    assert machine_of(code) == EM_AARCH64
    symbols = [kernel.name for kernel in executable.program.kernels] + ["sod2_gemm_f32"]
    assert len(symbols) > 8
    assert all(name.encode() + b"\0" in code for name in symbols)


@pytest.mark.parametrize(("stage", "broken"), [("rewrite", "rewrite.run"), ("lower", "Lowerer.lower"), ("code", "jit.compile")])
def test_what_a_stage_should_not_raise(monkeypatch, stage, broken):
    """In the words of the user: which function, which stage; with the cause."""

    def fails(*_, **__):
        raise KeyError("some variable")

    monkeypatch.setattr(f"sod2jax.pipeline.{broken}", fails)

    def doubled(x):
        return x * 2

    with pytest.raises(sod2.errors.InternalError, match=f"failed to compile doubled.*{stage}.*KeyError.*report") as caught:
        sod2.jit(doubled)(np.ones(3, np.float32))
    assert isinstance(caught.value.__cause__, KeyError)


def test_branches_a_hundred_deep():
    def nested(depth):
        return lambda x: lax.cond(x.sum() > depth, nested(depth - 1), lambda x: x + 1, x) if depth else x * 2

    def both(x):
        return sod2.jit(nested(100))(x), jax.jit(nested(100))(x)

    limit = sys.getrecursionlimit()
    with ThreadPoolExecutor(1) as fresh:  # JAX traces 100 levels within Python's limit, but not below the frames of pytest
        np.testing.assert_array_equal(*fresh.submit(both, jnp.full(4, 40.0)).result())
    assert sys.getrecursionlimit() == limit
