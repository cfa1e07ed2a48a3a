"""Dims inside of JAX: what traces, what is decided without a guard, and that a trace is right wherever its guards hold."""

import functools
import itertools
import operator
import subprocess
import sys
import textwrap

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import core as jex

import sod2jax as sod2
from sod2jax.ir.dims import UndecidedDimension, dim_as_value_p, subs_dim, subs_dims
from sod2jax.ir.ratio import size_float_p
from sod2jax.ir.scope import Scope

HINTS = {"b": 3, "s": 37, "h": 97, "w": 131, "t": 5, "n": 12}
HOLDS = {"==": operator.eq, "!=": operator.ne, "<=": operator.le, "<": operator.lt}


def trace(f, *specs, hints=HINTS, facts=()):
    """(closed jaxpr, scope); a spec is "b s 64" with an optional dtype after a colon."""
    scope = Scope()
    dims = {}

    def size(word):
        if word.isdigit():
            return int(word)
        if word not in dims:
            dims[word] = scope.symbol(word, hint=(hints or {}).get(word))
        return dims[word]

    args = []
    for spec in specs:
        shape, _, dtype = spec.partition(":")
        args.append(jax.ShapeDtypeStruct(tuple(map(size, shape.split())), dtype or "float32"))
    for fact in facts:
        scope.box.add_fact(fact)
    return jax.jit(lambda *a: f(*a)).trace(*args).jaxpr, scope


def evaluate(closed, env, *args):
    """The jaxpr at the sizes `env`, by JAX itself."""

    def concrete(params):
        return subs_dims(params, lambda d: subs_dim(d, env))

    def run(jaxpr, consts, args):
        values = dict(zip(jaxpr.constvars, consts)) | dict(zip(jaxpr.invars, args))
        for eqn in jaxpr.eqns:
            inputs = [v.val if isinstance(v, jex.Literal) else values[v] for v in eqn.invars]
            inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
            if eqn.primitive is dim_as_value_p:
                outs = jnp.asarray(subs_dim(eqn.params["dim"], env), eqn.outvars[0].aval.dtype)
            elif eqn.primitive is size_float_p:
                outs = eqn.primitive.impl(**concrete(eqn.params))
            elif isinstance(inner, jex.ClosedJaxpr) and eqn.primitive.name != "scan":
                outs = run(inner.jaxpr, inner.consts, inputs)
            else:
                outs = eqn.primitive.bind(*inputs, **concrete(eqn.params))
            values.update(zip(eqn.outvars, outs if isinstance(outs, (list, tuple)) else [outs]))
        return [v.val if isinstance(v, jex.Literal) else values[v] for v in jaxpr.outvars]

    return run(closed.jaxpr, closed.consts, args)


def conds(guards):
    return [str(g.cond) for g in guards]


def holds(guards, env):
    return all(HOLDS[g.cond.op](g.cond.lhs.eval(env), g.cond.rhs.eval(env)) for g in guards)


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        _b, s = tokens.shape
        x = nn.Embed(50, 32)(tokens) + nn.Embed(512, 32)(jnp.arange(s))
        for _ in range(2):
            y = nn.MultiHeadDotProductAttention(4)(nn.LayerNorm()(x), mask=(tokens > 0)[:, None, None, :])
            x = x + y
            x = x + nn.Dense(32)(nn.gelu(nn.Dense(64)(nn.LayerNorm()(x))))
        return jnp.mean(x, axis=1)


class ResNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (7, 7), (2, 2))(x))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stride in (1, 2):
            y = nn.Conv(16, (3, 3), (stride, stride))(x)
            y = nn.BatchNorm(use_running_average=True)(y)
            y = nn.Conv(16, (3, 3))(nn.relu(y))
            x = nn.relu(y + nn.Conv(16, (1, 1), (stride, stride))(x))
        return nn.Dense(5)(nn.avg_pool(x, (2, 2), (1, 1), "SAME").mean((1, 2)))


def flax(module, x):
    params = module.init(jax.random.key(0), x)
    return lambda x: module.apply(params, x)


def dot(dims):
    return functools.partial(lax.dot_general, dimension_numbers=dims)


CASES = {
    "broadcast": (lambda x, y: x + y, "b s", "s"),
    "reshape": (lambda x: x.reshape(x.shape[0], -1), "b s 6"),
    "heads": (lambda x: x.reshape(*x.shape[:2], 2, 3).transpose(0, 2, 1, 3).reshape(-1, x.shape[1], 3), "b s 6"),
    "concatenate": (lambda x, y: jnp.concatenate([x, y, x]), "s 4", "t 4"),
    "stack_tile_repeat": (lambda x: (jnp.stack([x, x]), jnp.tile(x, (2, 1)), jnp.repeat(x, 3, axis=0)), "s 2"),
    "slices": (lambda x: (x[1:], x[:-1], x[:4], x[::2], x[::-1], x[2:-2:3], x[-3:]), "s 2"),
    "differences": (lambda x: x[1:] - x[:-1], "s"),
    "index": (lambda x: (x[0], x[-1], x[:, 0], x[:, None]), "s 4"),
    "pad": (lambda x: jnp.pad(x, ((1, 2), (0, 0))), "s 3"),
    "softmax": (jax.nn.softmax, "b s"),
    "moments": (lambda x: (x.mean(), x.var(-1), jnp.std(x, 0)), "b s"),
    "arange": (lambda x: x + jnp.arange(x.shape[1]) * x.shape[0], "b s"),
    "values": (lambda x: x * x.shape[0] / x.shape[1] + np.sqrt(x.shape[1]) + (x.shape[1] + 1) ** -0.5 + 2.5 * x.shape[0], "b s"),
    "numpy": (lambda x: x * np.prod(x.shape) + np.maximum(x.shape[0], 3) + np.int64(2) * x.shape[1], "b s"),
    "mask": (lambda x: jnp.where(jnp.tril(jnp.ones((x.shape[0],) * 2, bool)), x[:, None], 0.0), "s"),
    "matmul": (lambda x, y: x @ y, "b s 8", "8 t"),
    "attention": (lambda q, k: jnp.einsum("bshd,bthd->bhst", q, k), "b s 2 4", "b t 2 4"),
    "einsum_of_three": (lambda x, y, z: jnp.einsum("bs,st,tn->bn", x, y, z), "b s", "s t", "t 8"),
    "conv_same": (lambda x, w: lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
                  "b h w 3", "7 7 3 4"),
    "conv_valid": (lambda x, w: lax.conv_general_dilated(x, w, (2, 3), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")),
                   "b h w 3", "3 2 3 4"),
    "pools": (lambda x: (nn.max_pool(x, (3, 3), (2, 2), "SAME"), nn.avg_pool(x, (2, 2), (2, 2))), "b h w 3"),
    "resize": (lambda x: jax.image.resize(x, (x.shape[0], 2 * x.shape[1], 2 * x.shape[2], 3), "bilinear"), "b h w 3"),
    "order": (lambda x: (jnp.sort(x), jnp.cumsum(x), jnp.max(x, initial=0.0)), "s"),
    "grad": (lambda x: jax.grad(lambda x: jnp.sum(jnp.tanh(x[1:] * x[:-1])))(x), "s"),
    "vmap": (lambda x: jax.vmap(lambda y: y / (1 + y.sum()))(x), "b s"),
    "scan": (lambda x: lax.scan(lambda c, y: (c + y, c), jnp.zeros(4), x), "s 4"),
    "half": (lambda x: jnp.split(x, 2), "n 4"),
    "demand": (lambda x, y: x + y, "s", "t"),
    "branch": (lambda x: x * 2 if x.shape[0] > 4 else x, "s"),
    "unit_branch": (lambda x: x if x.shape[0] == 1 else x + 1, "s"),
    "unroll": (lambda x: functools.reduce(lambda a, i: a + i, range(x.shape[0]), x), "t"),
    "encoder": (flax(Encoder(), jnp.ones((2, 5), int)), "b s:int32"),
    "resnet": (flax(ResNet(), jnp.ones((1, 64, 64, 3))), "b h w 3"),
}  # fmt: skip


SLOW = ("encoder", "resnet", "resize")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CASES])
def test_a_trace_is_right_wherever_its_guards_hold(name):
    f, *specs = CASES[name]
    hints = {**HINTS, "s": 5} if name == "demand" else HINTS
    closed, scope = trace(f, *specs, hints=hints)
    guards = scope.minimal_guards()
    assert holds(guards, hints)
    rng = np.random.default_rng(0)
    names = scope.box.names
    big = "h" in names
    points = [hints] if not big else []
    points += [dict.fromkeys(names, v) for v in (1, 2, 4)] + [dict(zip(names, p)) for p in ((2, 7, 10), (1, 11, 5), (0, 8, 3))]
    points = points[2 if name in SLOW else 0 :]  # each point costs two compilations
    tried = 0
    for env in points:
        if not holds(guards, env):
            continue
        args = []
        for spec in specs:
            shape, _, dtype = spec.partition(":")
            shape = [int(x) if x.isdigit() else env[x] for x in shape.split()]
            args.append(rng.integers(0, 9, shape).astype(dtype) if dtype else rng.standard_normal(shape, np.float32))
        try:
            want = jax.tree.leaves(jax.jit(lambda *a: f(*a))(*args))
        except ZeroDivisionError:  # JAX cannot solve a -1 where the other sizes hold a 0
            continue
        got = jax.jit(functools.partial(evaluate, closed, env))(*args)
        for x, y, aval in zip(got, want, closed.out_avals, strict=True):
            assert x.shape == y.shape == tuple(subs_dim(d, env) for d in aval.shape)
            np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)
        tried += 1
    assert tried >= 1


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("broadcast", []),
        ("reshape", ["b != 0"]),  # JAX cannot solve a -1 where the other sizes hold a 0
        ("heads", ["s != 0"]),
        ("concatenate", []),
        ("differences", []),
        ("softmax", []),
        ("moments", []),
        ("arange", ["b <= 2147483647"]),  # as an int of 32 bits
        ("values", ["b <= 2147483647", "s <= 2147483647"]),
        ("mask", []),
        ("attention", []),
        ("einsum_of_three", []),
        ("conv_same", []),
        ("conv_valid", []),
        ("pools", []),
        ("resize", ["h != 2*h", "w != 2*w", "h != 0", "w != 0"]),  # JAX leaves out an axis whose size stays
        ("encoder", []),
        ("resnet", []),
        ("grad", []),
        ("index", ["s != 0"]),
        ("half", ["n % 2 == 0"]),
        ("branch", ["4 < s"]),
        ("unit_branch", ["s != 1"]),
        ("unroll", ["t == 5"]),
    ],
)
def test_guards(name, want):
    f, *specs = CASES[name]
    _, scope = trace(f, *specs)
    assert conds(scope.minimal_guards()) == want


def test_guards_say_where():
    def f(x):
        if x.shape[0] > 4:  # the line
            return x * 2
        return x

    _, scope = trace(f, "s")
    (guard,) = scope.guards
    assert guard.kind == "version"
    assert "test_scope.py" in guard.where
    assert "(f)" in guard.where
    assert guard.message.format(lhs=4, rhs=3) == "4 < s (decided here; now 4 and 3)"


def test_sizes_that_must_agree():
    _, scope = trace(lambda x, y: x + y, "s", "t", hints={"s": 5, "t": 5})
    assert conds(scope.guards) == ["s == t"]
    with pytest.raises(TypeError, match="incompatible shapes"):
        trace(lambda x, y: x + y, "s", "t", hints={"s": 5, "t": 6})
    with pytest.raises(TypeError, match="incompatible shapes"):
        trace(lambda x, y: x + y, "s", "t", hints=None)
    assert trace(lambda x, y: x + y, "s", "t", hints=None, facts=["s == t"])[1].guards == []


def test_a_unit_that_mattered_is_named():
    scope = Scope()
    b, t = scope.symbol("b", hint=1), scope.symbol("t", hint=5)
    with pytest.raises(TypeError):
        jax.jit(jnp.add).trace(*(jax.ShapeDtypeStruct((d,), "float32") for d in (b, t)))
    assert scope.units == {b.expr: 1}


def test_without_hints_only_what_is_known_is_decided():
    def f(x):
        return x if x.shape[0] > 4 else x + 1

    with pytest.raises(UndecidedDimension, match=r"4 < s is not known at .*test_scope.py.*constraints="):
        trace(f, "s", hints=None)
    assert trace(f, "s", hints=None, facts=["8 <= s"])[1].guards == []
    with pytest.raises(UndecidedDimension, match="an index"):
        trace(lambda x: [x for _ in range(x.shape[0])], "s", hints=None)


def test_guards_are_minimal():
    def f(x):
        n = x.shape[0]
        return x * sum([n > 2, n > 4, n >= 5, n != 9, n % 2 == 1, n % 4 == 1, n < 10**6])

    _, scope = trace(f, "s")
    assert set(conds(scope.minimal_guards())) == {"4 < s", "s != 9", "s % 4 == 1", "s < 1000000"}
    _, scope = trace(f, "s", facts=["s <= 512"])
    assert "s < 1000000" not in conds(scope.guards)


def test_fixing():
    scope = Scope()
    s, t = scope.symbol("s", hint=4), scope.symbol("t", hint=6)
    assert [*range(s)] == [0, 1, 2, 3]
    assert int(s) == 4
    assert float(t) == 6.0
    assert conds(scope.guards) == ["s == 4", "t == 6"]
    with pytest.raises(jax.errors.InconclusiveDimensionOperation):
        dim_as_value_p.bind(dim=scope.symbol("u"))


def test_require():
    scope = Scope()
    s, t = scope.symbol("s", hint=4), scope.symbol("t")
    scope.require(s, "<=", s + 1)
    scope.require(s % 2, "==", 0, "s must be even")
    scope.require(t, "<=", 100)
    assert conds(scope.guards) == ["s % 2 == 0", "t <= 100"]
    assert scope.box.upper(t.expr) == 100
    with pytest.raises(ValueError, match=r"no: rows \(now 4 and 5\) at here"):
        scope.require(s, "==", 5, "no: rows", "here")
    with pytest.raises(ValueError, match="must hold"):
        scope.require(t, "<", 0)


def test_fresh():
    scope = Scope()
    s = scope.symbol("s", hint=4)
    u, v = scope.fresh("u", 0, s.expr), scope.fresh("u", 1, 8)
    assert (str(u), str(v)) == ("u0", "u1")
    assert u <= s
    assert v.hint is None
    assert scope.guards == []


def test_caches_do_not_ask():
    """Thousands of cached shapes that share hash bits with a Dim: none of them may cost a guard."""
    scope = Scope()
    s = scope.symbol("s", hint=64)
    zeros = jax.jit(lambda x: jnp.zeros_like(x) + 1)
    for n in itertools.chain(range(60, 70)):
        jax.eval_shape(zeros, jax.ShapeDtypeStruct((n,), "float32"))
    jax.jit(lambda x: zeros(x) * x).trace(jax.ShapeDtypeStruct((s,), "float32"))
    assert scope.guards == []
    a, b = (jax.core.ShapedArray((d,), np.dtype("float32")) for d in (s, 64))
    assert a != b
    assert scope.guards == []


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: x[0:10, 2],  # is it all of the axis?
        lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], 3, 10)),
        lambda x: jax.lax.broadcast(x, (10,)),
        lambda x: x.reshape(10, x.shape[0]),
        lambda x: jax.vmap(lambda row: row + jnp.ones((10, 10)), out_axes=1)(x),  # [n, 10] against [10, 10]
    ],
)
def test_questions_that_would_only_save_an_eqn_cost_no_guard(fun):
    """The size is 10 as others are."""
    scope = Scope()
    n = scope.symbol("n", hint=10)
    jax.jit(lambda x: fun(x)).trace(jax.ShapeDtypeStruct((n, 10), "float32"))
    assert scope.guards == []


@pytest.mark.slow
def test_tracing_is_as_fast_as_with_numbers():
    """In a process of its own: a 6-layer encoder with Dims, against the same with numbers."""
    code = """
        import time, jax, jax.numpy as jnp, flax.linen as nn
        from sod2jax.ir.scope import Scope
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                for _ in range(6):
                    x = nn.LayerNorm()(x + nn.MultiHeadDotProductAttention(4)(x))
                    x = nn.LayerNorm()(x + nn.Dense(64)(nn.gelu(nn.Dense(256)(x))))
                return x
        struct = lambda *shape: jax.ShapeDtypeStruct(shape, "float32")
        params = jax.eval_shape(Net().init, jax.random.key(0), struct(2, 16, 64))
        def seconds(x):
            start = time.perf_counter()
            jax.jit(lambda p, x: Net().apply(p, x)).trace(params, x)
            return time.perf_counter() - start
        def dims():
            scope = Scope()
            return struct(scope.symbol("b", hint=2), scope.symbol("s", hint=16), 64)
        numbers = min(seconds(struct(2, 16, 64)) for _ in range(5))
        assert min(seconds(dims()) for _ in range(5)) < 2 * numbers + 0.1
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x, n: x * n,
        lambda x, n: n / x,
        lambda x, n: x < n,
        lambda x, n: jnp.maximum(x, n),
        lambda x, n: jnp.sum(x) / n,
        lambda x, n: jnp.stack([x[0], n]),
        lambda x, n: jnp.asarray(n),
        lambda x, n: jax.jit(lambda v: v * 1.0)(n),
        lambda x, n: jnp.asarray(n, jnp.float32),
        lambda x, n: jnp.full(3, n, jnp.float32),
        lambda x, n: lax.convert_element_type(n, jnp.float32),
        lambda x, n: jnp.mean(jnp.broadcast_to(x[:1], (50000, 10000 * x.shape[0]))),
        lambda x, n: x - n // 10**9,
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_ints_too_large_for_jax(fun, sign):
    """Where JAX makes an array of an int, it has an OverflowError; where it is told a dtype, it converts exactly."""
    whole = lambda x: fun(x, sign * x.shape[0] * 10**9)
    compiled = sod2.jit(whole, shapes="n")

    def outcome(f, x):
        try:
            return f(x)
        except OverflowError:
            return None

    for size in (2, 3, 1, 4):
        x = np.arange(1.0, size + 1, dtype=np.float32)
        found, wanted = outcome(compiled, x), outcome(jax.jit(whole), x)
        assert (found is None) == (wanted is None), size
        if found is not None:
            np.testing.assert_allclose(found, wanted)


@pytest.mark.filterwarnings("ignore::sod2jax.errors.StaticSizeWarning")
@pytest.mark.parametrize(
    "fun",
    [
        lambda x, n: x.sum() + (n << 100),
        lambda x, n: x.sum() * (n * 10**30),
        lambda x, n: x.sum() + (1 if n * 10**30 > 5 else 2),
        lambda x, n: x.sum() + jnp.asarray(n * 10**30, jnp.float32),
        lambda x, n: x[: n * 10**30],
        lambda x, n: x.sum() + (n * 10**30) // 10**29,
        lambda x, n: x.sum() + (n - 10**40) % 7,
    ],
)
def test_numbers_beyond_64_bits_are_pythons(fun):
    whole = lambda x: fun(x, x.shape[0])

    def outcome(f, x):
        try:
            return f(x)
        except OverflowError:
            return None

    for sizes in ((0, 3, 5), (3, 0)):
        compiled = sod2.jit(whole, shapes="n")
        for n in sizes:
            found, wanted = (outcome(f, np.ones(n, np.float32)) for f in (compiled, jax.jit(whole)))
            assert (found is None) == (wanted is None), n
            if wanted is not None:
                np.testing.assert_allclose(found, wanted, rtol=1e-6)
