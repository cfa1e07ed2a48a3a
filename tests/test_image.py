"""Images: sizes come out of the C++ evaluator as Python computes them, and a damaged image is an error."""

import random

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sod2jax import _runtime, binding, image
from sod2jax.ir import program as ir
from sod2jax.ir.expr import as_expr, const, floordiv, maximum, minimum, mod, sym

F32 = np.dtype("float32")


def sizes_program(exprs, names=("a", "b")) -> ir.Program:
    """A program without steps whose slots have the sizes `exprs`, of an input `x[a, b]`."""
    dims = tuple(sym(n) for n in names)
    return ir.Program(
        name="sizes",
        symbols=tuple(ir.SymbolDef(n, 0, i) for i, n in enumerate(names)),
        inputs=(ir.Input("x", F32, dims),),
        outputs=(),
        slots=tuple(ir.Slot("cached", i, F32, (), as_expr(e)) for i, e in enumerate(exprs)),
        steps=(),
        kernels=(),
    )


def exprs():
    leaf = st.sampled_from([sym("a"), sym("b")]) | st.integers(-20, 20).map(const)

    def grow(inner):
        pair = st.tuples(inner, inner)
        positive = st.integers(1, 9)
        return st.one_of(
            pair.map(lambda p: p[0] + p[1]),
            pair.map(lambda p: p[0] - p[1]),
            pair.map(lambda p: p[0] * p[1]),
            pair.map(lambda p: minimum(*p)),
            pair.map(lambda p: maximum(*p)),
            st.tuples(inner, positive).map(lambda p: floordiv(*p)),
            st.tuples(inner, positive).map(lambda p: mod(*p)),
            st.tuples(inner, inner).map(lambda p: floordiv(p[0], maximum(p[1], 1))),
        )

    return st.recursive(leaf, grow, max_leaves=8)


@given(st.lists(exprs(), min_size=1, max_size=4), st.integers(0, 50), st.integers(0, 50))
def test_sizes_are_pythons(es, a, b):
    env = {"a": a, "b": b}
    es = [maximum(e, 0) for e in es]  # sizes of slots
    result = binding.load(sizes_program(es), []).bind([(a, b)])
    assert [nbytes for _, _, nbytes in result["slots"]] == [e.eval(env) for e in es]


def test_shared_subexpressions_are_computed_once():
    a, b = sym("a"), sym("b")
    e = a
    for _ in range(40):  # as a tree, 2**40 nodes
        e = floordiv(e * e + b, maximum(e, 1))
    image_bytes = image.encode(sizes_program([maximum(e, 0)]))
    assert len(image_bytes) < 40_000
    assert binding.load(sizes_program([maximum(minimum(e, 10**6), 0)]), []).bind([(1, 0)])["ok"]


def test_deep_formulas_need_no_recursion():
    e = sym("a")
    for i in range(3000):
        e = maximum(minimum(e, 2 * sym("b") + i), i)
    result = binding.load(sizes_program([e]), []).bind([(7, 9)])
    assert result["slots"][0][2] == 2999


def test_overflow_is_an_error():
    a = sym("a")
    program = binding.load(sizes_program([a * a * a]), [])
    assert program.bind([(1000, 0)])["ok"]
    with pytest.raises(OverflowError, match="63 bits"):
        program.bind([(1 << 40, 0)])


@pytest.mark.parametrize(
    "name", ["bool", "int8", "uint16", "int64", "float16", "float32", "complex64", "bfloat16", "float8_e4m3fn"]
)
def test_dtype_codes(name):
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    n = sym("n")
    program = ir.Program(
        "p", (ir.SymbolDef("n", 0, 0),), (ir.Input("x", dtype, (n,)),), (ir.Output(dtype, (n,), None, forward=0),), (), (), ()
    )
    loaded = binding.load(program, [])
    assert loaded.inputs == [("x", name, 1)]
    if dtype.itemsize < 8:
        x = jnp.arange(5).astype(dtype)
        (y,) = loaded.run([x])
        assert y.dtype == dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_dtypes_without_a_code():
    for dtype in ("U3", "datetime64[s]", [("a", "f4")]):
        with pytest.raises(TypeError, match="cannot be handed to the runtime"):
            image.dtype_code(np.dtype(dtype))


def test_unknown_size():
    with pytest.raises(ValueError, match="uses the size q, which none of its inputs defines"):
        image.encode(sizes_program([sym("q")]))


def test_damaged_images_are_refused():
    good = image.encode(sizes_program([sym("a") * 3 + floordiv(sym("b"), 2)]))
    with pytest.raises(ValueError, match="truncated"):
        _runtime.Program(good[:-8], [], [])
    with pytest.raises(ValueError, match="does not begin"):
        _runtime.Program(b"", [], [])
    rng = random.Random(3)
    for _ in range(200):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        with pytest.raises(ValueError, match="image"):
            _runtime.Program(bytes(bad), [], [])


def test_two_outputs_do_not_share_a_donor():
    n = sym("n")
    outputs = (ir.Output(F32, (n,), None, forward=0, donor=0),) * 2
    program = ir.Program("p", (ir.SymbolDef("n", 0, 0),), (ir.Input("x", F32, (n,)),), outputs, (), (), ())
    with pytest.raises(ValueError, match="two outputs in the memory of one input"):
        binding.load(program, [])


def test_wrong_number_of_kernels():
    with pytest.raises(ValueError, match="wants 0 kernels and 0 constants, given 1 and 0"):
        _runtime.Program(image.encode(sizes_program([])), [1], [])
