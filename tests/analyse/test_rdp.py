"""RDP against JAX: every shape and every known value is what JAX computes at random sizes; and the paper's worked examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.extend.core import ClosedJaxpr, DropVar, jaxpr_as_fun
from jax.extend.core.primitives import cond_p

from sod2jax.analyse.rdp import analyse
from sod2jax.errors import ShapeError
from sod2jax.ir.box import Box
from sod2jax.ir.expr import const, minimum, parse, sym
from sod2jax.ir.facts import UNDEF
from sod2jax.ir.scope import Scope
from sod2jax.ops import Dyn, of
from sod2jax.rewrite.at_sizes import at_sizes


def trace(fun, *shapes, dtype=np.float32):
    return jax.make_jaxpr(fun)(*(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes))


def evaluate(closed, env):
    """What JAX computes for every variable at the sizes `env`; operands are ones."""
    wanted = [v for eqn in closed.jaxpr.eqns for v in eqn.outvars if not isinstance(v, DropVar)]
    concrete = at_sizes(ClosedJaxpr(closed.jaxpr.replace(outvars=wanted), closed.consts), env)
    operands = [np.ones(v.aval.shape, v.aval.dtype) for v in concrete.jaxpr.invars]
    return dict(zip(wanted, map(np.asarray, jax.jit(jaxpr_as_fun(concrete))(*operands)), strict=True))


def holds(cond, env):
    a, b = cond.lhs.eval(env), cond.rhs.eval(env)
    return {"==": a == b, "!=": a != b, "<=": a <= b, "<": a < b}[cond.op]


def check(closed, facts, env):
    """Asserts that the facts are true at `env`; gives the number of known elements."""
    compared = 0
    for var, array in evaluate(closed, env).items():
        assert tuple(size.eval(env) for size in facts.shape(var)) == array.shape, (facts.shape(var), env)
        value = facts.value(var)
        if value is None or not all(holds(cond, env) for cond in facts.needs(var)):
            continue
        for index, e in np.ndenumerate(value):
            if e is not None:
                assert e.eval(env) == array[index], f"{var} at {index} is {array[index]}, not {e}, at {env}\n{facts}"
                compared += 1
    return compared


def sizes(*names, lo=0, hi=None):
    scope = Scope()
    return scope, *(scope.symbol(name, lo, hi) for name in names)


def outputs(closed, facts):
    """The values of the outputs, as text."""
    return [str(facts.values[v]) if v in facts.values else None for v in closed.jaxpr.outvars]


# -- values


def shape_arithmetic(x):
    b, s = jnp.asarray(x.shape[0]), jnp.asarray(x.shape[1])
    v = jnp.stack([b, s, b * s, s // 2, s % 3, -s // 4, jnp.minimum(b, s), jnp.maximum(s - 7, 0)])
    return v, v[::-1], v[2:5], jnp.sum(v), jnp.cumsum(v), jnp.max(v), v[jnp.array([0, -1])], jnp.clip(s, 1, 9)


def positions(x):
    s = jnp.asarray(x.shape[1])
    last = jnp.where(s > 0, s - 1, 0)
    return last, (s + 7) // 8 * 8, lax.div(s, 3), lax.rem(s - 10, 4), jnp.sign(s - 5), jnp.abs(s - 5), (s - 5) // 2, (s - 5) % 3


def comparisons(x):
    b, s = jnp.asarray(x.shape[0]), jnp.asarray(x.shape[1])
    return s >= 0, s < 0, b == b, b > s, jnp.where(s < 0, b, s), jnp.logical_and(s < 0, b > s), ~(s >= 0), jnp.where(s > 3, s, 3)


def large_tensors(x):
    i = jnp.arange(x.shape[1])
    return x + i, jnp.sin(i * 0.5), i[:1] if isinstance(x.shape[1], int) else i, jnp.float32(x.shape[1]), x.mean(axis=1)


def narrow(x):
    s = jnp.asarray(x.shape[1])
    return s.astype(jnp.int8), s.astype(jnp.uint32), (s % 100).astype(jnp.int8), (s - 1).astype(jnp.uint32), s.astype(bool)


def wrapping(x):
    n = jnp.int32(2**31 - 1) + jnp.int32(1)
    return n, jnp.uint32(0) - jnp.uint32(1), jnp.int8(100) * jnp.int8(3), jnp.asarray(x.shape[0]) * 0 + n


@pytest.mark.parametrize("fun", [shape_arithmetic, positions, comparisons, large_tensors, narrow, wrapping])
@pytest.mark.parametrize("hi", [None, 50])
def test_facts_are_what_jax_computes(fun, hi):
    scope, b, s = sizes("b", "s", hi=hi)
    closed = trace(fun, (b, s))
    facts = analyse(closed, scope.box)
    for env in ({"b": 1, "s": 1}, {"b": 3, "s": 50}, {"b": 7, "s": 0}, {"b": 0, "s": 13}):
        assert check(closed, facts, env) > (0 if fun is large_tensors else 2)


def test_shape_arithmetic_is_known_symbolically():
    scope, b, s = sizes("b", "s")
    closed = trace(shape_arithmetic, (b, s))
    v, back, middle, total, _, _, ends, clipped = outputs(closed, analyse(closed, scope.box))
    assert v.startswith("[b, s, b*s, s // 2, s % 3, ")
    assert back.endswith(", b*s, s, b]")
    assert middle == "[b*s, s // 2, s % 3]"
    assert "s // 2" in total and "b*s" in total  # noqa: PT018
    assert ends == "[b, max(s - 7, 0)]" or ends == "[b, max(0, s - 7)]"
    assert clipped in ("min(max(s, 1), 9)", "max(min(s, 9), 1)", "min(9, max(1, s))", "min(max(1, s), 9)", "min(9, max(s, 1))")


def test_numpys_floor_division_is_one_quotient():
    scope, s = sizes("s")
    closed = trace(lambda x: jnp.asarray(x.shape[0]) // 2, (s,))
    assert outputs(closed, analyse(closed, scope.box)) == ["s // 2"]


def test_comparisons_are_decided_by_ranges():
    scope, s = sizes("s", lo=1, hi=512)
    closed = trace(lambda x: (jnp.where(jnp.asarray(x.shape[0]) > 0, jnp.asarray(x.shape[0]), 0),), (s,))
    assert outputs(closed, analyse(closed, scope.box)) == ["s"]


def test_overflow_is_a_condition():
    scope, b, s = sizes("b", "s")
    closed = trace(lambda x: jnp.asarray(x.shape[0]) * jnp.asarray(x.shape[1]), (b, s))
    facts = analyse(closed, scope.box)
    (product,) = closed.jaxpr.outvars
    assert str(facts.integer(product)) == "b*s"
    assert "b*s <= 2147483647" in {str(need) for need in facts.needs(product)}
    scope, b, s = sizes("b", "s", hi=512)
    closed = trace(lambda x: jnp.asarray(x.shape[0]) * jnp.asarray(x.shape[1]), (b, s))
    assert not analyse(closed, scope.box).needs(closed.jaxpr.outvars[0])


def test_a_narrow_dtype_that_cannot_hold_a_size_says_nothing():
    scope, s = sizes("s")
    closed = trace(narrow, (1, s))
    int8, uint32, fits, minus_one, positive = outputs(closed, analyse(closed, scope.box))
    assert int8 is None and minus_one is None  # noqa: PT018
    assert (uint32, fits, positive) == ("s", "s % 100", "min(1, s)")


@st.composite
def integer_programs(draw):
    """Random straight-line programs over integers from two sizes and constants, as lists of (function, operand numbers)."""
    functions = [
        (jnp.add, 2), (jnp.subtract, 2), (jnp.multiply, 2), (jnp.minimum, 2), (jnp.maximum, 2), (jnp.negative, 1), (jnp.abs, 1),
        (jnp.sign, 1), (lambda a: a // 3, 1), (lambda a: a % 4, 1), (lambda a: lax.div(a, np.int32(-5)), 1),
        (lambda a: lax.rem(a, np.int32(6)), 1), (lambda a, b: jnp.where(a < b, a, b + 1), 2),
        (lambda a, b: jnp.where(a == b, 1, b), 2),
        (lambda a, b: jnp.stack([a, b, a + 1])[::-1][1], 2), (lambda a, b: jnp.sum(jnp.array([a, b])), 2), (lambda a: a & 7, 1),
        (lambda a: a << 2, 1), (lambda a: a >> 1, 1), (lambda a, b: (a >= b).astype(np.int32), 2), (lambda a: ~a, 1),
        (lambda a, b: jnp.concatenate([jnp.atleast_1d(a), jnp.atleast_1d(b)]).max(), 2), (lambda a: jnp.clip(a, -3, 11), 1),
    ]  # fmt: skip
    program = []
    for n in range(draw(st.integers(1, 7))):
        function, arity = draw(st.sampled_from(functions))
        program.append((function, [draw(st.integers(0, n + 3)) for _ in range(arity)]))
    return program


@settings(max_examples=25, deadline=None)
@given(integer_programs(), st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_random_integer_programs(program, s, t, bounded):
    def fun(x):
        values = [jnp.asarray(x.shape[0]), jnp.asarray(x.shape[1]), jnp.int32(5), jnp.int32(-2)]
        for function, operands in program:
            values.append(function(*(values[k] for k in operands)))
        return values[-1]

    scope, *dims = sizes("s", "t", hi=40 if bounded else None)
    closed = trace(fun, tuple(dims))
    check(closed, analyse(closed, scope.box), {"s": s, "t": t})


# -- shapes


def model(x, w):
    """Reshape, split and merge, contraction, pad, concatenate, strided slice, softmax."""
    b, s, d = x.shape
    y = (x.reshape(b * s, d) @ w).reshape(b, s, 4, 2).transpose(0, 2, 1, 3)
    scores = jax.nn.softmax(jnp.einsum("bhqd,bhkd->bhqk", y, y))
    z = jnp.concatenate([lax.slice_in_dim(scores, 0, s // 2, axis=2), scores], axis=2)
    z = jnp.pad(z, ((0, 0), (0, 0), (1, 2), (0, 0)))
    return lax.slice_in_dim(z, 0, z.shape[2], 2, axis=2), jnp.tile(x, (1, 2, 1)), x.max(axis=1, keepdims=True)


def test_shapes_are_what_jax_computes():
    scope, b, s = sizes("b", "s", lo=1)
    closed = trace(model, (b, s, 8), (8, 8))
    facts = analyse(closed, scope.box)
    assert not facts.constraints
    for env in ({"b": 2, "s": 5}, {"b": 1, "s": 1}, {"b": 3, "s": 8}):
        check(closed, facts, env)


def test_paper_figure_3_forward():
    """Softmax [a, b]; Shape gives [a, b]; Min gives min(a, b), ISDO; TopK, here a slice of that size, has it in its shape."""
    scope, a, b = sizes("a", "b")

    def fun(x):
        y = jax.nn.softmax(x)
        shape = jnp.stack([jnp.asarray(n) for n in y.shape])
        return y, shape, jnp.min(shape), lax.slice_in_dim(y, 0, y.shape[0].min(y.shape[1]), axis=1)

    closed = trace(fun, (a, b))
    facts = analyse(closed, scope.box)
    softmax, shape, least, top = closed.jaxpr.outvars
    assert facts.shape(softmax) == (sym("a"), sym("b"))
    assert str(facts.values[shape]) == "[a, b]"
    assert facts.integer(least) is minimum(sym("a"), sym("b"))
    assert facts.shape(top) == (sym("a"), minimum(sym("a"), sym("b")))
    assert facts.value(top) is None
    classes = {v: facts.klass(n) for n, eqn in enumerate(closed.jaxpr.eqns) for v in eqn.outvars}
    assert [classes[v] for v in (shape, least, top)] == [Dyn.ISDO, Dyn.ISDO, Dyn.ISDOS]


def test_paper_figure_3_backward():
    """MatMul gives [2a, 4b] from [2a, 2c] and S1, which Transpose makes of S0: so S1 = [2c, 4b] and S0 = [4b, 2c]."""
    scope, a, b, c = sizes("a", "b", "c", lo=1)
    closed = trace(lambda x, y: lax.dot(x, lax.transpose(y, (1, 0))), (2 * a, 2 * c), (4 * b, 2 * c))
    (_, s0), (transposed,) = closed.jaxpr.invars, closed.jaxpr.eqns[0].outvars
    facts = analyse(closed, scope.box, unknown={s0: (0, 1), transposed: (0, 1)})
    assert facts.shape(s0) == (parse("4*b"), parse("2*c"))
    assert facts.shape(transposed) == (parse("2*c"), parse("4*b"))
    assert not facts.constraints


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: jnp.exp(x) + 1,
        lambda x: x.sum(axis=-1),
        lambda x: x.reshape(-1, 4),
        lambda x: lax.concatenate([x, x], 0),
        lambda x: jnp.pad(x, ((1, 2), (0, 0))),
        lambda x: lax.squeeze(lax.broadcast_in_dim(x, (*x.shape, 1), (0, 1)), (2,)),
        lambda x: lax.rev(x, (0,)),
        lambda x: jnp.einsum("nd,nd->d", x, jnp.ones(x.shape)),
    ],
)
def test_backward_solves_an_unknown_operand(fun):
    """One axis of the input is not believed; the rest of the program gives it back."""
    scope, n = sizes("n", lo=1)
    closed = trace(fun, (n, 8))
    if not all(of(eqn.primitive).solve or eqn.primitive.name == "jit" for eqn in closed.jaxpr.eqns):
        pytest.skip("no equations yet")
    (x,) = closed.jaxpr.invars
    assert analyse(closed, scope.box, unknown={x: (0,)}).shape(x) == (sym("n"), const(8))


def test_what_nothing_determines_stays_undef():
    scope, n = sizes("n", lo=2)
    closed = trace(lambda x: lax.slice_in_dim(x, 0, 2), (n,))
    (x,) = closed.jaxpr.invars
    assert analyse(closed, scope.box, unknown={x: (0,)}).shape(x) == (UNDEF,)


# -- constraints


def test_equalities_that_the_program_demands_are_found():
    scope = Scope(hints={"a": 4, "b": 4})
    a, b = scope.symbol("a", hint=4), scope.symbol("b", hint=4)
    closed = trace(lambda x, y: jnp.exp(y) * 2 + x, (a,), (b,))
    facts = analyse(closed, Box({"a": (0, None), "b": (0, None)}))
    assert [str(c.cond) for c in facts.constraints] == ["a == b"]
    assert {facts.shape(v) for eqn in closed.jaxpr.eqns for v in eqn.outvars} == {(sym("a"),)}
    assert "demands a == b" in str(facts)
    # Known already: nothing new, and still one name for both.
    facts = analyse(closed, Box({"a": (0, None), "b": (0, None)}, ["a == b"]))
    assert not facts.constraints
    assert {facts.shape(v) for v in closed.jaxpr.invars} == {(sym("a"),)}


def test_the_callers_box_is_left_alone():
    scope = Scope(hints={"a": 4, "b": 4})
    a, b = scope.symbol("a", hint=4), scope.symbol("b", hint=4)
    closed = trace(lambda x, y: x @ y, (3, a), (b, 5))
    box = Box({"a": (0, None), "b": (0, None)})
    facts = analyse(closed, box)
    assert facts.box.known_eq(sym("a"), sym("b"))
    assert not box.known_eq(sym("a"), sym("b"))


def test_sizes_that_cannot_be_equal_are_an_error():
    scope = Scope(hints={"a": 4, "b": 4})
    a, b = scope.symbol("a", hint=4), scope.symbol("b", hint=4)
    closed = trace(lambda x, y: x + y, (a,), (b,))
    with pytest.raises(ShapeError, match=r"add at .*test_rdp\.py.* needs equal sizes, and [ab] is never [ab]"):
        analyse(closed, Box({"a": (0, 3), "b": (4, None)}))


# -- control flow


def test_branches_meet():
    scope, s = sizes("s", lo=1)

    def fun(x):
        n = jnp.asarray(x.shape[0])
        same = lax.cond(x[0] > 0, lambda n: n + 1 + n, lambda n: 2 * n + 1, n)
        other = lax.cond(x[0] > 0, lambda n: jnp.stack([n, n]), lambda n: jnp.stack([n, n + 1]), n)
        chosen = lax.switch(n * 0 + 1, [lambda n: n, lambda n: n + 3], n)
        return same, other, chosen

    closed = trace(fun, (s,))
    facts = analyse(closed, scope.box)
    assert outputs(closed, facts) == ["2*s + 1", "[s, nac]", "s + 3"]
    for n in (1, 6):
        check(closed, facts, {"s": n})
    conds = [facts.klass(n) for n, eqn in enumerate(closed.jaxpr.eqns) if eqn.primitive is cond_p]
    assert conds == [Dyn.EDO, Dyn.EDO, Dyn.ISDO]


def test_bodies_of_calls_are_entered():
    scope, s = sizes("s")
    closed = trace(lambda x: jax.jit(lambda n: jax.jit(lambda k: k + 1)(n) * 2)(jnp.asarray(x.shape[0])), (s,))
    assert outputs(closed, analyse(closed, scope.box)) == ["2*s + 2"]
