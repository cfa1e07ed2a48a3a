"""The private names of JAX do what sod2jax takes them for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from sod2jax import compat


def test_lines_are_the_users():
    def model(x):
        return jnp.where(x > 0, x, 0.0)

    jaxpr = jax.make_jaxpr(model)(1.0).jaxpr
    for eqn in jaxpr.eqns:
        assert "test_compat.py" in compat.user_line(eqn)
        assert "model" in compat.user_line(eqn)


def test_trace_context_holds_what_changes_a_trace():
    base = compat.trace_context()
    assert hash(base) == hash(compat.trace_context())
    for change in (jax.enable_x64(True), jax.default_matmul_precision("highest"), jax.numpy_dtype_promotion("strict")):
        with change:
            assert compat.trace_context() != base
    assert compat.trace_context() == base


def test_abstractify_as_jit():
    for x in (1, 2.0, True, np.float64(1), np.ones((2, 3), np.int64), jax.ShapeDtypeStruct((4,), np.int8)):
        assert compat.abstractify(x) == jax.jit(lambda x: x).trace(x).jaxpr.in_avals[0]


def test_canonical_dtype_follows_x64():
    assert compat.canonical_dtype(np.float64) == np.float32
    with jax.enable_x64(True):
        assert compat.canonical_dtype(np.float64) == np.float64


def test_lifted_values_are_leaked_tracers():
    leak = []
    jax.jit(lambda x: leak.append(x) or x)(1.0)
    (value,) = compat.lifted_values(jax.jit(lambda x: x + leak[0]).trace(1.0))
    assert isinstance(value, compat.Tracer)
    assert isinstance(compat.escaped_tracer_error(value), jax.errors.UnexpectedTracerError)


def test_export_constraints():
    b, _ = export.symbolic_shape("b, c", constraints=["b <= 5", "b >= c"])
    assert compat.export_constraints(b) == ("b <= 5", "b >= c")
    assert compat.export_constraints(3) == ()


def test_tree_mismatch_is_worded_as_by_compiled():
    compiled = jax.jit(lambda x, y: x).lower(1.0, {"a": 1.0}).compile()
    with pytest.raises(TypeError) as theirs:
        compiled(1.0, {"b": 1.0})
    given = jax.tree.structure(((1.0, {"b": 1.0}), {}))
    assert compat.tree_mismatch_message(given, compiled.in_tree) == str(theirs.value)


def test_primitives_without_a_public_name():
    assert {compat.primitive(name).name for name in ("split", "geqrf", "pure_callback", "linear_solve")} == {
        *("split", "geqrf", "pure_callback", "custom_linear_solve")
    }
    assert compat.primitive("stack") in compat.primitives()


def test_callback_functions_call_the_users_function():
    (eqn,) = jax.make_jaxpr(lambda x: jax.pure_callback(np.sin, x, x))(np.float32(1)).eqns
    (result,) = compat.callback_function(eqn.primitive)(np.float32(1), **eqn.params)
    assert result == np.sin(np.float32(1))


def test_references_are_discharged():
    def fun(x):
        ref = jax.new_ref(x)
        ref[...] *= 2
        return ref[...]

    closed = jax.make_jaxpr(fun)(np.ones(3, np.float32))
    assert "Ref" in str(closed)
    assert "Ref" not in str(compat.without_references(closed))
    plain = jax.make_jaxpr(lambda x: -x)(np.ones(3))
    assert compat.without_references(plain) is plain


def test_typed_keys_and_their_words():
    keys = jax.random.split(jax.random.key(1, impl="rbg"), 3)
    assert compat.element_shape(keys.dtype) == (4,)
    assert compat.element_shape(np.dtype(np.uint32)) is None
    assert compat.words_of(jax.typeof(keys)).shape == (3, 4)
    assert compat.key_dtype("key<rbg>") == keys.dtype
    assert compat.key_dtype("float32") is None
    assert bool((compat.key_array(keys.dtype, compat.key_words(keys)) == keys).all())
    assert compat.key_words(3.0) == 3.0
    rewrapped = jax.jit(lambda k: compat.wrap_keys(compat.unwrap_keys(k)[1], compat.unwrap_keys(k)[0]))(keys)
    assert bool((rewrapped == keys).all())


def test_hashes_and_functions_of_words():
    zero = np.zeros(3, np.uint32)
    for name, operands in {"threefry2x32": 4, "threefry4x32": 8, "philox2x32": 3, "philox4x32": 6}.items():
        hashed = compat.random_primitive(name).bind(*[zero] * operands)
        for mine, theirs in zip(compat.hash_function(name)(*[zero] * operands), hashed, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    split = compat.on_words("random_split")(jax.random.key(0).dtype._impl, np.zeros(2, np.uint32), 0, shape=(2,))
    np.testing.assert_array_equal(split, jax.random.key_data(jax.random.split(jax.random.key(0))))
    zeros = jnp.zeros(2)
    np.testing.assert_array_equal(compat.special_function("igamma")(zeros + 1, zeros), zeros)
