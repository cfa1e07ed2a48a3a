"""Operator classes in context: shape-determined operands move an eqn down."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sod2jax.analyse.classes import class_of, classify
from sod2jax.analyse.rdp import analyse
from sod2jax.ir.scope import Scope
from sod2jax.ops import Dyn, Mapping, OpDef, of


def classes(fun):
    """{primitive name: class} of `fun(f32[s])`; a primitive must not occur twice."""
    scope = Scope()
    closed = jax.make_jaxpr(fun)(jax.ShapeDtypeStruct((scope.symbol("s"),), np.float32))
    facts = analyse(closed, scope.box)
    assert len({eqn.primitive for eqn in closed.jaxpr.eqns}) == len(closed.jaxpr.eqns)
    return {eqn.primitive.name: facts.klass(n) for n, eqn in enumerate(closed.jaxpr.eqns)}, facts, closed


def test_data_keeps_the_class_of_the_primitive():
    found, facts, closed = classes(lambda x: jnp.sum(jnp.exp(x)))
    assert found == {"exp": Dyn.ISDOS, "reduce_sum": Dyn.ISDOS}
    assert not facts.determined.intersection(closed.jaxpr.invars)


def test_sizes_and_what_follows_from_them_are_isdo():
    found, facts, closed = classes(lambda x: lax.sin(lax.convert_element_type(lax.iota(np.int32, x.shape[0]), np.float32)) * x)
    assert found == {"iota": Dyn.ISDO, "convert_element_type": Dyn.ISDO, "sin": Dyn.ISDO, "mul": Dyn.ISDOS}
    angles = closed.jaxpr.eqns[2].outvars[0]
    assert angles in facts.determined
    assert facts.value(angles) is None


def test_constants_are_shape_determined():
    table = np.arange(3.0, dtype=np.float32)
    found, _, _ = classes(lambda x: (lax.exp(jnp.asarray(table)), x))
    assert found == {"exp": Dyn.ISDO}


def test_data_at_a_place_that_shapes_determine_is_data():
    found, _, _ = classes(lambda x: lax.dynamic_slice_p.bind(x, lax.neg(jnp.asarray(x.shape[0])), slice_sizes=(0,)))
    assert found == {"dim_as_value": Dyn.ISDO, "neg": Dyn.ISDO, "dynamic_slice": Dyn.ISDOS}


@dataclass(frozen=True)
class Sized(OpDef):
    sizes: tuple[int, ...] = ()


class Eqn:
    effects = frozenset()


def test_the_ladder():
    """EDO by its picker, ISVDOS by the operands that hold its sizes, ISDOS by all operands."""
    edo = OpDef(None, Dyn.EDO, Mapping.SOURCE)
    assert class_of(Eqn, edo, [False, False]) is Dyn.EDO
    assert class_of(Eqn, edo, [True, False]) is Dyn.ISVDOS
    assert class_of(Eqn, edo, [True, True]) is Dyn.ISDO
    range_ = Sized(None, Dyn.ISVDOS, Mapping.SOURCE, sizes=(1,))
    assert class_of(Eqn, range_, [True, False]) is Dyn.ISVDOS
    assert class_of(Eqn, range_, [False, True]) is Dyn.ISDOS
    assert class_of(Eqn, range_, [True, True]) is Dyn.ISDO
    assert class_of(Eqn, None, [True]) is Dyn.EDO


def test_effects_happen_at_run_time():
    class Effectful:
        effects = frozenset({"print"})

    assert class_of(Effectful, OpDef(None, Dyn.ISDOS, Mapping.SOURCE), [True]) is Dyn.ISDOS


def test_a_value_known_by_other_means_is_shape_determined():
    closed = jax.make_jaxpr(lambda x, y: x + y)(1, 2)
    x, y = closed.jaxpr.invars
    assert classify(closed.jaxpr, of, lambda v: v is x)[0] == (Dyn.ISDOS,)
    assert classify(closed.jaxpr, of, lambda v: v in (x, y))[0] == (Dyn.ISDO,)
