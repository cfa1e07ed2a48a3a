"""Each simplification fires where it may, not where it may not, and keeps every bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from sod2jax.ir.scope import Scope
from sod2jax.ops.rewrites import simplify
from sod2jax.rewrite import oracle
from sod2jax.rewrite.dce import dce
from sod2jax.rewrite.inline import inline
from sod2jax.rewrite.interpreter import rewrite

SIZES = {"s": 5, "t": 4}
f32 = np.float32


def simplified(fun):
    """The names of the eqns left of `fun(f32[s, t, 6])`."""
    scope = Scope()
    s, t = scope.symbol("s", 3), scope.symbol("t", 1)
    before = inline(jax.make_jaxpr(fun)(jax.ShapeDtypeStruct((s, t, 6), f32)))
    after = dce(rewrite(before, simplify.RULES, scope.box))
    for sizes in (SIZES, {"s": 3, "t": 1}):
        assert (found := oracle.difference(before, after, sizes)) is None, found
    assert not scope.guards
    return [eqn.primitive.name for eqn in after.jaxpr.eqns]


VANISHES = {
    "x * 1": lambda x: x * 1.0,
    "1 * x": lambda x: 1.0 * x,
    "x / 1": lambda x: x / 1.0,
    "x - 0": lambda x: x - 0.0,
    "x + -0.0": lambda x: x + f32(-0.0),
    "x * ones": lambda x: x * jnp.ones_like(x),
    "max(x, -inf)": lambda x: lax.max(x, f32(-np.inf)),
    "max(-inf, x)": lambda x: lax.max(f32(-np.inf), x),
    "min(x, inf)": lambda x: lax.min(x, f32(np.inf)),
    "--x": lambda x: jnp.negative(-x),
    "x ** 1": lambda x: lax.integer_pow(x, 1),
    "copies": lambda x: checkpoint_name(lax.stop_gradient(jnp.copy(x)), "here"),
    "there and back": lambda x: x.T.T,
    "reshape back": lambda x: x.reshape(-1, 3).reshape(x.shape),
    "expand and squeeze": lambda x: jnp.squeeze(x[:, None, :, None], (1, 3)),
    "flip flip": lambda x: lax.rev(lax.rev(x, (0, 2)), (2, 0)),
    "all of it": lambda x: lax.slice(x, (0, 0, 0), x.shape),
    "pad by nothing": lambda x: lax.pad(x, f32(0), [(0, 0, 0)] * 3),
    "one operand": lambda x: lax.concatenate([x, x[:0]], 0),
    "select a known case": lambda x: lax.select_n(np.bool_(True), -x, x),
    "select the same": lambda x: lax.select_n(x > 0, x, x),
    "sum over nothing": lambda x: lax.reduce_sum(x, axes=()),
    "split in one": lambda x: lax.transpose(x, (0, 1, 2)),
}


@pytest.mark.parametrize("fun", VANISHES.values(), ids=VANISHES)
def test_vanishes(fun):
    assert simplified(fun) == []


BECOMES = {
    "x / 8": (lambda x: x / 8.0, ["mul"]),
    "x / -0.25": (lambda x: x / f32(-0.25), ["mul"]),
    "x / 3": (lambda x: x / 3.0, ["div"]),
    "x / 2**127": (lambda x: x / f32(2.0**127), ["div"]),  # its reciprocal is a denormal
    "x + 0.0": (lambda x: x + 0.0, ["add"]),
    "x * 0": (lambda x: x * 0.0, ["mul"]),
    "max(x, 0)": (lambda x: lax.max(x, f32(0)), ["max"]),
    "new axes": (lambda x: x[:, None, :, None], ["reshape"]),
    "a row of axes of size 1": (lambda x: x.reshape(x.shape[0], -1)[:, None, None].transpose(1, 0, 2, 3), ["reshape"]),
    "transposes compose": (lambda x: x.transpose(1, 0, 2).transpose(2, 1, 0), ["transpose"]),
    "slices compose": (lambda x: lax.slice(lax.slice(x, (1, 0, 1), x.shape), (1, 0, 0), (2, x.shape[1], 4)), ["slice"]),
    "strided slices compose": (
        lambda x: lax.slice_in_dim(lax.slice(x, (0, 0, 1), x.shape, (1, 1, 2)), 1, None, axis=2), ["slice"]),
    "pads compose": (
        lambda x: lax.pad(lax.pad(x, f32(0), [(1, 0, 0), (0, 2, 0), (0, 0, 0)]), f32(0), [(0, 0, 0), (1, 1, 0), (3, 0, 0)]),
        ["pad"]),
    "pads of other values do not": (
        lambda x: lax.pad(lax.pad(x, f32(0), [(1, 1, 0)] * 3), f32(1), [(1, 1, 0)] * 3), ["pad", "pad"]),
    "pads after crops do not": (
        lambda x: lax.pad(lax.pad(x, f32(0), [(-1, 0, 0)] * 3), f32(0), [(1, 0, 0)] * 3), ["pad", "pad"]),
    "concatenations join": (lambda x: jnp.concatenate([jnp.concatenate([x, -x]), x]), ["neg", "concatenate"]),
    "other axes do not": (
        lambda x: jnp.concatenate([jnp.concatenate([x, x]), jnp.concatenate([x, x])], 2), ["concatenate"] * 3),
    "a slice of a piece": (lambda x: lax.slice_in_dim(lax.concatenate([x, -x], 2), 7, 9, axis=2), ["neg", "slice"]),
    "a slice across pieces": (
        lambda x: lax.slice_in_dim(lax.concatenate([x, -x], 2), 5, 9, axis=2), ["neg", "concatenate", "slice"]),
    "broadcasts compose": (
        lambda x: lax.broadcast_in_dim(lax.broadcast_in_dim(x, (2, *x.shape), (1, 2, 3)), (3, 2, *x.shape), (1, 2, 3, 4)),
        ["broadcast_in_dim"]),
    "wide and back": (lambda x: x.astype(jnp.bfloat16).astype(f32).astype(jnp.bfloat16), ["convert_element_type"]),
    "narrow and back stays": (lambda x: x.astype(jnp.bfloat16).astype(f32), ["convert_element_type"] * 2),
    "integers through floats stay": (
        lambda x: x.astype(jnp.int32).astype(f32).astype(jnp.int32), ["convert_element_type"] * 3),
    "bool widens once": (lambda x: (x > 0).astype(jnp.int8).astype(f32), ["gt", "convert_element_type"]),
    "reduce_precision stays": (lambda x: lax.reduce_precision(x, 8, 23), ["reduce_precision"]),
    "where(True)": (lambda x: lax.select_n(np.bool_(False), -x, x), ["neg"]),
}  # fmt: skip


@pytest.mark.parametrize(("fun", "names"), BECOMES.values(), ids=BECOMES)
def test_becomes(fun, names):
    assert simplified(fun) == names


def test_integers_know_their_neutral_elements():
    def fun(x):
        n = x.astype(jnp.int32)
        return (n + 0) * 1 | 0, lax.max(n, np.int32(-(2**31))) & -1, n ^ 0

    assert simplified(fun) == ["convert_element_type"]
