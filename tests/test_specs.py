"""Reading the contract, and what a call that breaks it is told."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax.errors import ShapeError, SpecError
from sod2jax.ir.expr import const, parse, sym
from sod2jax.specs import Contract, Leaf, holds, parse_constraint, parse_shape, symbol_defs

b, s, k = map(sym, "bsk")


@pytest.mark.parametrize(
    ("text", "dims", "rest"),
    [
        ("b, s, 64", (b, s, const(64)), None),
        ("(b, s)", (b, s), None),
        ("b,", (b,), None),
        ("", (), None),
        ("()", (), None),
        ("b, ...", (b,), 1),
        ("..., s", (s,), 0),
        ("2*k, _", (2 * k, None), None),
        ("max(b, 2), (b + 1)*s", (parse("max(b, 2)"), b * s + s), None),
        ("(b)", (b,), None),
        ("b^2", (b * b,), None),
    ],
)
def test_parse_shape(text, dims, rest):
    spec = parse_shape(text)
    assert spec.dims == dims
    assert spec.rest == rest


@pytest.mark.parametrize(
    ("text", "dtype"),
    [("f32[b, s]", "float32"), ("i32[]", "int32"), ("bool[b]", "bool"), ("bf16[b]", "bfloat16"), ("int8[2]", "int8")],
)
def test_parse_shape_with_dtype(text, dtype):
    assert parse_shape(text).dtype == jnp.dtype(dtype)


@pytest.mark.parametrize("text", ["b, , s", "b..., s", "1.5", "b, 'x'", "..., ...", "q99[b]", "-1", "b +"])
def test_what_cannot_be_read_is_named(text):
    with pytest.raises(SpecError) as e:
        parse_shape(text)
    assert repr(text) in str(e.value)


def test_rest_and_static_dims_take_any_size():
    assert parse_shape("b, ...").over(3) == (b, None, None)
    assert parse_shape("b, ..., s").over(2) == (b, s)
    assert parse_shape("b, ..., s").over(1) is None
    assert parse_shape("b, s").over(3) is None


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("s <= 512", {"s": 512}, {"s": 513}),
        ("s > 3", {"s": 4}, {"s": 3}),
        ("h % 32 == 0", {"h": 64}, {"h": 65}),
        ("a == 2*b", {"a": 4, "b": 2}, {"a": 4, "b": 3}),
        ("1 <= b < c", {"b": 1, "c": 2}, {"b": 1, "c": 1}),
        ("s != 1", {"s": 0}, {"s": 1}),
    ],
)
def test_constraints(text, yes, no):
    conds = parse_constraint(text)
    assert all(holds(c, yes) for c in conds)
    assert not all(holds(c, no) for c in conds)


@pytest.mark.parametrize("text", ["s", "s = 3", "s in t", "s <=", "s <= 1.5"])
def test_bad_constraints_are_named(text):
    with pytest.raises(SpecError) as e:
        parse_constraint(text)
    assert repr(text) in str(e.value)


def test_symbols_are_solved_from_the_plainest_axis():
    defs = symbol_defs([(2 * k + 1, b), (const(3), k, b * s), (s - 1,)])
    assert [(d.name, d.input, d.axis, d.scale, d.offset) for d in defs] == [
        ("b", 0, 1, 1, 0),
        ("k", 1, 1, 1, 0),
        ("s", 2, 0, 1, -1),
    ]


def test_a_symbol_that_no_axis_gives_is_refused_when_decorating():
    with pytest.raises(SpecError, match="symbol 's' in 'b, b\\*s'"):
        Contract(("b, b*s",))
    with pytest.raises(SpecError, match="shapes= has no 'q'"):
        Contract(("b",), ("q <= 4",))


def test_contradicting_options():
    with pytest.raises(SpecError, match="not both"):
        Contract(("b",), abstracted_axes={0: "b"})
    with pytest.raises(SpecError, match="without shapes="):
        Contract(None, ("b <= 4",))
    with pytest.raises(SpecError, match="None and strings"):
        Contract((3,))


def signature(fun):
    return inspect.signature(fun)


def test_prefix_over_pytrees_keywords_and_names():
    def f(params, x, *, y=None):
        pass

    c = Contract((None, "b, s"), signature=signature(f))
    p = {"w": np.ones(3), "v": [np.ones(2), None]}
    texts = lambda specs: [x and x.text for x in specs]
    assert texts(c.leaf_specs((p, np.ones((1, 2))), {})) == [None, None, "b, s"]
    assert texts(c.leaf_specs((p,), {"x": np.ones((1, 2)), "y": 1})) == [None, None, "b, s", None]
    c = Contract({"y": {"a": "b"}, "x": "s"}, signature=signature(f))
    assert texts(c.leaf_specs((p, np.ones(2)), {"y": {"a": np.ones(1)}})) == [None, None, "s", "b"]
    c = Contract(({"w": "k", "v": None}, None), signature=signature(f))
    assert texts(c.leaf_specs((p, 1.0), {})) == [None, "k", None]
    c = Contract("b, ...", signature=signature(f))
    assert texts(c.leaf_specs((p, 1.0), {})) == ["b, ..."] * 3


def test_prefix_mistakes():
    def f(x):
        pass

    with pytest.raises(SpecError, match="2 entries"):
        Contract(("b", "s"), signature=signature(f)).leaf_specs((1.0,), {})
    with pytest.raises(ShapeError, match="argument 'x'"):
        Contract((("b", "s"),), signature=signature(f)).leaf_specs((np.ones(2),), {})


@pytest.mark.parametrize(
    ("axes", "expected"),
    [({0: "n"}, ["n, ..."]), (({1: "n"},), ["_, n, ..."]), ((("n", None),), ["n, _"]), ({}, [None])],
)
def test_abstracted_axes(axes, expected):
    c = Contract(abstracted_axes=axes)
    assert [x and x.text for x in c.leaf_specs((np.ones((2, 3)),), {})] == expected


def solve(shapes, *arrays, constraints=()):
    c = Contract(shapes, constraints)
    leaves = [Leaf(f"x{i}", a.dtype, a.shape) for i, a in enumerate(arrays)]
    return c.solve("f", c.leaf_specs(arrays, {}), leaves)


def z(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_solve():
    assert solve(("b, s, 64", "2*k + 1, _"), z(0, 7, 64), z(9, 5)) == {"b": 0, "s": 7, "k": 4}


@pytest.mark.parametrize(
    ("shapes", "arrays", "constraints", "words"),
    [
        (("b, s, 64",), (z(3, 5),), (), ["f: argument 'x0' (float32[3,5]) has rank 2", "'b, s, 64'", "wants rank 3"]),
        (("b, ...",), (z(),), (), ["rank 0", "at least rank 1"]),
        (("b, 64",), (z(3, 60),), (), ["'x0'", "axis 1", "'b, 64'", "wants size 64", "got 60"]),
        (("b", "b"), (z(3), z(5)), (), ["'x1'", "axis 0", "b = 3", "got 5", "axis 0 of argument 'x0'"]),
        (("2*k",), (z(7),), (), ["'x0'", "axis 0", "no integer k >= 0 makes 2*k equal to 7"]),
        (("s + 3",), (z(2),), (), ["no integer s >= 0"]),
        (("b, s",), (z(8, 600),), ("s <= 512",), ["'s <= 512'", "s = 600", "axis 1 of argument 'x0'"]),
        (("i32[b]",), (z(3),), (), ["'x0'", "has dtype float32", "'i32[b]'", "wants int32"]),
    ],
)
def test_what_a_bad_call_is_told(shapes, arrays, constraints, words):
    with pytest.raises(ShapeError) as e:
        solve(shapes, *arrays, constraints=constraints)
    for w in words:
        assert w in str(e.value), str(e.value)


def test_guards_are_in_the_users_words():
    c = Contract(("b, s",), ("s <= 512", "b % 8 == 0"))
    assert [(g.kind, str(g.cond)) for g in c.guards(frozenset("bs"))] == [("contract", "s <= 512"), ("contract", "b % 8 == 0")]
    assert [str(g.cond) for g in c.guards(frozenset("b"))] == ["b % 8 == 0"]


@pytest.mark.parametrize(
    ("constraints", "named"),
    [
        (["n <= 3", "n >= 5"], "'n <= 3', 'n >= 5' together"),
        (["m <= 9", "n % 32 == 0", "1 <= n <= 31"], "'n % 32 == 0', '1 <= n <= 31' together"),
        (["n == 2*m", "n % 2 == 1"], "'n == 2[*]m', 'n % 2 == 1' together"),
        (["n < 0"], "'n < 0'$"),
    ],
)
def test_constraints_that_cannot_be_met(constraints, named):
    with pytest.raises(SpecError, match=named):
        Contract(("n, m",), constraints)
    Contract(("n, m",), ["n*m == 7", "n % 2 == 0"])  # not proved to be impossible


@pytest.mark.parametrize("text", ["n <= 99999999999999999999999999", "n // (10**20) == 0", "n != 2**63"])
def test_integers_beyond_63_bits(text):
    with pytest.raises(SpecError, match="63 bits"):
        Contract(("n",), text)
    with pytest.raises(SpecError, match="63 bits"):
        Contract(("n + 9223372036854775808",))
    Contract(("n",), f"n <= {2**63 - 1}")


def test_a_condition_that_divides_by_zero_does_not_hold():
    (cond,) = parse_constraint("6 // n == 0")
    assert [holds(cond, {"n": n}) for n in (0, 3, 7)] == [False, False, True]


def test_a_parameter_that_is_not_there_is_named():
    with pytest.raises(SpecError, match="shapes= names 'X', but the function has no such parameter; its parameters are x, w"):
        sod2.jit(lambda x, w: x @ w, shapes={"X": "b, 16", "w": None})
    assert sod2.jit(lambda x, **rest: x + rest["y"], shapes={"x": "n", "y": "n"})(np.ones(3), y=np.ones(3)).shape == (3,)


@pytest.mark.parametrize(
    ("shapes", "constraints", "text"),
    [
        ("b +, c", (), "cannot read 'b \\+' as a size: it ends too early|it is no expression"),
        ("b c", (), "it is no expression from 'c' on"),
        ("b", 5, "constraints= must be a string"),
        ("b", [5], "constraints= must be a string"),
        ("b", "t <= 4", "shapes= has no 't'; its symbols are \\['b'\\]"),
        ("b", "b < < 4", "cannot read 'b < < 4' as a constraint: it is no expression from '< 4' on"),
    ],
)
def test_what_cannot_be_read_is_said_in_plain_words(shapes, constraints, text):
    with pytest.raises(SpecError, match=text) as error:
        Contract(shapes, constraints)
    assert "<unknown>" not in str(error.value)
