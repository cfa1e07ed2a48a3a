"""The whole pipeline on models, on an indexing zoo and on random programs: same bits, nothing hidden, fast, no needless guard."""


import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from sod2jax.ir.box import Box
from sod2jax.ir.scope import Scope
from sod2jax.rewrite import oracle, run

f32 = np.float32


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(32, 16)(tokens) + self.param("positions", nn.initializers.normal(), (12, 16))[: tokens.shape[1]]
        for _ in range(2):
            x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
            x = x + nn.Dense(16)(nn.gelu(nn.Dense(32)(nn.LayerNorm()(x))))
        return nn.LayerNorm()(x)


class ResidualBlock(nn.Module):
    @nn.compact
    def __call__(self, image):
        norm = lambda: nn.BatchNorm(use_running_average=True)
        x = nn.max_pool(nn.relu(norm()(nn.Conv(4, (5, 5), (2, 2), padding=[(2, 2), (2, 2)])(image))), (3, 3), (2, 2), "SAME")
        y = norm()(nn.Conv(8, (3, 3), (2, 2))(x))
        return jnp.mean(nn.relu(y + nn.Conv(8, (1, 1), (2, 2))(x)), axis=(1, 2))


def traced(model, shape, dtype):
    """The jaxpr of a model with symbolic sizes for the strings in `shape`, its weights as arguments."""
    scope = Scope()
    example = jax.ShapeDtypeStruct(tuple(7 if isinstance(n, str) else n for n in shape), dtype)
    weights = jax.eval_shape(model.init, jax.random.key(0), example)
    sizes = tuple(scope.symbol(n, 1, 64, 7) if isinstance(n, str) else n for n in shape)
    return jax.make_jaxpr(model.apply)(weights, jax.ShapeDtypeStruct(sizes, dtype)), scope


def names(closed):
    return [eqn.primitive.name for eqn in closed.jaxpr.eqns]


def test_encoder():
    before, scope = traced(Encoder(), ("b", "s"), np.int32)
    guards = len(scope.guards)
    after = run(before, scope.box)
    assert len(scope.guards) == guards
    for sizes in ({"b": 2, "s": 5}, {"b": 1, "s": 9}):
        assert (found := oracle.difference(before, after, sizes)) is None, found
    left = names(after)
    assert left.count("gather") == 1
    assert not {"jit", "stop_gradient", "squeeze", "broadcast_in_dim", "custom_jvp_call"} & set(left)


def test_residual_block():
    before, scope = traced(ResidualBlock(), (2, "h", "w", 3), f32)
    after = run(before, scope.box)
    assert (found := oracle.difference(before, after, {"h": 9, "w": 12}, whole=True)) is None, found
    convolutions = [eqn for eqn in after.jaxpr.eqns if eqn.primitive.name == "conv_general_dilated"]
    assert len(convolutions) == 3
    assert names(after).count("pad") == 2


ZOO = {
    "softmax": lambda x: jax.nn.softmax(x),
    "log_softmax": lambda x: jax.nn.log_softmax(x, axis=0),
    "gelu": lambda x: jax.nn.gelu(x) + jax.nn.gelu(x, approximate=False),
    "var": lambda x: (jnp.var(x, 1), jnp.std(x, 0, ddof=1), jnp.mean(x)),
    "cumsum": lambda x: (jnp.cumsum(x, 0), lax.cummax(x, 1)),
    "where": lambda x: jnp.where(x > 0, x, jnp.where(jnp.isnan(x), 0, -x)),
    "indexing": lambda x: (x[::2], x[::-1], x[1:-1], x[..., None], x[:, 0], x[1, ::2, None]),
    "roll and flip": lambda x: (jnp.roll(x, 1, 0), jnp.flip(x), jnp.roll(x, (1, -1), (0, 1))),
    "pad": lambda x: [jnp.pad(x, 1, mode=mode) for mode in ("constant", "reflect", "edge")],
    "join and split": lambda x: (jnp.concatenate([x, x[:1]]), jnp.stack([x, -x]), jnp.split(x, 2, 1), jnp.tile(x, (2, 1))),
    "take": lambda x: (jnp.take(x, np.array([0, 2]), 0), jnp.take(x, jnp.argmax(x, 0), 0), x[jnp.array([-1, 0])]),
    "one_hot": lambda x: jax.nn.one_hot(jnp.argmax(x, -1), x.shape[1]),
    "tri": lambda x: (jnp.tril(x), jnp.triu(x, 1), jnp.eye(x.shape[0])),
    "einsum": lambda x: (jnp.einsum("ij,kj->ki", x, x), jnp.linalg.norm(x), x @ x.T),
    "integers": lambda x: (jnp.arange(x.shape[0]) // 2 % 3, x.shape[0] * 2 - 1, jnp.int32(x.shape[0]) > 2),
    "sort": lambda x: (jnp.sort(x, 0), jnp.argsort(x, 1), lax.top_k(x, 2)),
    "at": lambda x: (x.at[0].set(1.0), x.at[:, 1:].add(2.0), x.at[::2].mul(2.0)),
    "complex": lambda x: ((x + 1j) * 1.0).conj().imag,
    "random": lambda x: (
        jax.random.bernoulli(jax.random.key(0), 0.5, x.shape) * x,
        jax.random.key_data(jax.random.split(jax.random.key(1))[1]),
    ),
    "solve": lambda x: lax.custom_linear_solve(lambda v: v * 2, x, lambda matvec, b: b / 2),
    "vmap and grad": lambda x: (jax.vmap(jnp.dot)(x, x), jax.grad(lambda y: jnp.sum(jnp.tanh(y) ** 2))(x)),
}


@pytest.mark.parametrize("fun", ZOO.values(), ids=ZOO)
@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
def test_zoo(fun, symbolic):
    scope = Scope()
    shape = (scope.symbol("s", 3, None, 5), 4) if symbolic else (5, 4)
    before = jax.make_jaxpr(fun)(jax.ShapeDtypeStruct(shape, f32))
    guards = len(scope.guards)
    after = run(before, scope.box)
    assert all(g.cond.op == "<=" and g.cond.rhs.value > 2**28 for g in scope.guards[guards:])  # that nothing wraps
    assert (found := oracle.difference(before, after, {"s": 5})) is None, found


UNARY = {
    "neg": jnp.negative, "abs": jnp.abs, "relu": jax.nn.relu, "T": jnp.transpose, "flip": jnp.flip, "squeeze": jnp.squeeze,
    "one": lambda x: x * 1, "half": lambda x: x / 2, "third": lambda x: x / 3, "zero": lambda x: x - 0.0,
    "tail": lambda x: x[1:], "head": lambda x: x[:2], "last": lambda x: x[-1:], "evens": lambda x: x[:, ::2],
    "back": lambda x: x[::-2], "pad": lambda x: jnp.pad(x, ((0, 1), (1, 0))), "new": lambda x: x[:, None],
    "flat": lambda x: x.reshape(1, -1), "sum": lambda x: x.sum(-1, keepdims=True), "roll": lambda x: jnp.roll(x, 1, 0),
    "bf16": lambda x: x.astype(jnp.bfloat16).astype(f32), "twice": lambda x: jnp.concatenate([x, x]),
    "swap": lambda x: jnp.swapaxes(x, 0, -1),
}  # fmt: skip


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(sorted(UNARY)), st.integers(0, 3)), min_size=2, max_size=7))
def test_random_programs(steps):
    def fun(x):
        made = [x]
        for name, back in steps:
            y = made[-1 - back % len(made)]
            try:
                made.append(UNARY[name](y))
            except (TypeError, ValueError, IndexError):  # too few axes, or nothing left to slice
                made.append(y)
        return made[1:]

    scope = Scope()
    before = jax.make_jaxpr(fun)(jax.ShapeDtypeStruct((scope.symbol("s", 2, None, 4), 3), f32))
    after = run(before, scope.box)
    assert (found := oracle.difference(before, after, {"s": 4})) is None, found
    assert str(run(after, scope.box)) == str(after)  # a second time changes nothing


def test_trace_is_called_after_passes_that_changed_something(monkeypatch, capsys):
    before = jax.make_jaxpr(lambda x: jax.nn.relu(x) * 1)(jax.ShapeDtypeStruct((4,), f32))
    seen = []
    after = run(before, Box(), trace=lambda name, closed: seen.append(name))
    assert seen == ["inline", "simplify"]
    assert names(after) == ["max"]
    monkeypatch.setenv("SOD2_DEBUG", "plan,rewrite")
    run(before, Box())
    assert "--- simplify (1 eqns)" in capsys.readouterr().out


def test_nothing_to_do_is_the_same_object():
    before = jax.make_jaxpr(jnp.sin)(1.0)
    assert run(before, Box()) is before
