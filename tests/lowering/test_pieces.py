"""Pieces: what becomes a kernel, a call, a loop or a branch, and what is copied when planning starts again."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sod2jax import rewrite
from sod2jax.ir.box import Box
from sod2jax.lowering import targets
from sod2jax.lowering.pieces import BranchPiece, CallPiece, KernelPiece, LoopPiece, Lowerer, read_too_late
from sod2jax.ops.outputs import separate


def lowered(f, *shapes, disable=frozenset()):
    closed = separate(rewrite.run(jax.make_jaxpr(f)(*(np.ones(s, np.float32) for s in shapes)), Box()))
    return Lowerer(Box(), targets.host(), disable).lower(closed)


def kinds(f, *shapes):
    return [type(piece) for piece in lowered(f, *shapes).pieces]


def test_each_eqn_finds_its_kind():
    assert kinds(jnp.sin, (3,)) == [KernelPiece]
    assert kinds(jnp.fft.fft, (4,)).count(CallPiece) == 1
    assert kinds(lambda x: lax.fori_loop(0, 9, lambda i, c: c + x, x), (3,)).count(LoopPiece) == 1
    assert kinds(lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x), (3,)).count(BranchPiece) == 1


def test_bodies_are_lowered_too():
    f = lambda x: lax.scan(lambda c, a: (jnp.tanh(c + a), c * a), x[0], x)
    (loop,) = (p for p in lowered(f, (5, 3)).pieces if isinstance(p, LoopPiece))
    assert loop.cond is None
    assert all(isinstance(p, KernelPiece) for p in loop.body.pieces)
    assert len(loop.loop.init) == 2
    assert loop.loop.init[1] is None  # nothing reads the rows before they are written


def test_what_is_overwritten_must_have_been_read():
    piece = lambda reads, writes: SimpleNamespace(reads=reads, writes=writes)
    order = [piece(["x"], ["a"]), piece(["x", "y"], ["z"]), piece(["x"], ["b"])]
    assert read_too_late(order, {"x": "z"}) == {"x"}
    assert not read_too_late(order[:2], {"x": "z"})
    assert not read_too_late(order, {})


def test_what_is_overwritten_is_made_first(agrees):
    """The update of a row takes less memory than the matrix that it updates, and must wait for it all the same."""

    def f(i, y, x):
        row = jnp.tanh(y)
        return jnp.linalg.cholesky(x @ x.T / (x.shape[1] * 4 + 1) + 2 * jnp.eye(x.shape[0])).at[i].add(row, mode="drop")

    make = [lambda rng, shape: np.int32(1), *[lambda rng, shape: rng.standard_normal(shape).astype(np.float32)] * 2]
    agrees(f, ("", "a", "a, b"), [{"a": 33, "b": 2}, {"a": 5, "b": 3}], make=make)
