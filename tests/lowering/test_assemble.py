"""Whole programs: what is prepared, what is overwritten, what is handed back; and the checker's verdict at random sizes."""

import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import rewrite
from sod2jax.ir import check
from sod2jax.ir.dims import expr_of
from sod2jax.ir.program import Branch, Input, SymbolDef
from sod2jax.ir.scope import Scope
from sod2jax.lowering import assemble, targets
from sod2jax.lowering.pieces import Lowerer
from sod2jax.ops.outputs import separate


def program(f, *shapes, parameters=(), disable=frozenset()):
    """The Program of `f` over f32 arguments; "s" in a shape is symbolic."""
    scope = Scope()
    s = scope.symbol("s", lo=1, hint=37)
    structs = [jax.ShapeDtypeStruct(tuple(s if d == "s" else d for d in shape), np.float32) for shape in shapes]
    closed = separate(rewrite.run(jax.jit(f).trace(*structs).jaxpr, scope.box))
    where = next((SymbolDef("s", i, shape.index("s")) for i, shape in enumerate(shapes) if "s" in shape), None)
    inputs = [Input(f"x{i}", np.dtype(np.float32), tuple(map(expr_of, x.shape))) for i, x in enumerate(structs)]
    lowering = Lowerer(scope.box, targets.host(), disable).lower(closed, parameters)
    rest = {"symbols": (where,) if where else (), "bounds": {"s": (1, None)}}
    p = assemble.assemble("f", lowering, inputs, [{"s": 37}], disable, **rest)
    check.check(p, samples=200)
    return p


def mlp(x, v, w):
    return jax.nn.relu(jax.nn.relu(x @ v) @ w)


def test_weights_are_packed_when_they_change():
    p = program(mlp, ("s", 48), (48, 64), (64, 32), parameters={1, 2})
    assert [step.prepare for step in p.steps] == [(1,), (2,), (), ()]
    assert [slot.kind for slot in p.slots].count("cached") == 2
    without = program(mlp, ("s", 48), (48, 64), (64, 32))
    assert not any(step.prepare for step in without.steps)


def test_equal_kernels_are_kept_once():
    p = program(lambda x, v, w: ((x @ v) @ w) @ v, ("s", 48), (48, 48), (48, 48), parameters={1, 2})
    assert len(p.kernels) == 2
    assert len(p.steps) == 5


def test_an_operand_that_is_computed_is_packed_once():
    def twice(x, y, v):
        b = jnp.tanh(v)
        return x @ b, y @ b

    p = program(twice, ("s", 48), ("s", 48), (48, 64))
    assert len(p.steps) == 4, "tanh, one packing, two products"

    def in_branches(x, y, v, w):  # what one branch packed, the other does not see
        b = jnp.tanh(v)
        return jax.lax.cond(w.sum() > 0, lambda: (x @ b, y @ b), lambda: (y @ b, y @ b))

    p = program(in_branches, ("s", 48), ("s", 48), (48, 64), (3,))
    (branch,) = [s for s in p.steps if isinstance(s, Branch)]
    assert [len(b) for b in branch.branches] == [3, 3]


def test_an_output_overwrites_what_dies():
    p = program(lambda x: jax.nn.softmax(x @ x.T) @ x, ("s", 64))
    names = [(k.name.split("_")[0], k.buffers[-1].inplace) for k in p.kernels]
    assert ("loops", ("x0",)) in names
    plain = program(lambda x: jax.nn.softmax(x @ x.T) @ x, ("s", 64), disable=frozenset({"memory"}))
    assert p.arena.eval({"s": 100}) < plain.arena.eval({"s": 100})


def test_inputs_come_back_as_they_are():
    p = program(lambda x: (x, x + 1), ("s",))
    assert (p.outputs[0].forward, p.outputs[0].slot) == (0, None)
    assert p.outputs[1].forward is None


def test_constants_are_slots():
    p = program(lambda x: x + jnp.asarray(np.arange(48, dtype=np.float32) ** 2), ("s", 48))
    assert [c.size for c in p.constants] == [48]
