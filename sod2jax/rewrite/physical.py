"""Replace typed keys by the uint32 words that they are made of.

* Each variable of a key type becomes one with the words as further axes at the end: inputs, constants and outputs, too.
* What becomes of the eqns that move keys says `ops.keys`. Bodies of loops and branches have their own run of the passes.
* It comes after inlining, which turns the primitives of jax.random into code over words.
"""

from __future__ import annotations

from functools import partial

import jax
from jax.extend.core import ClosedJaxpr, DropVar, Jaxpr, JaxprEqn, Literal, Var

from sod2jax import compat, state_compat
from sod2jax.errors import unsupported_primitive
from sod2jax.ops import keys
from sod2jax.rewrite.inline import splice
from sod2jax.rewrite.interpreter import close


def physical(closed: ClosedJaxpr) -> ClosedJaxpr:
    """`closed` without typed keys."""
    jaxpr = closed.jaxpr
    variables = [*jaxpr.invars, *jaxpr.constvars, *(v for eqn in jaxpr.eqns for v in eqn.outvars)]
    if not any(words(v) is not None for v in variables):
        return closed
    env: dict[Var, Var | Literal] = {v: _of_words(v) for v in (*jaxpr.invars, *jaxpr.constvars) if words(v) is not None}
    read = lambda v: env.get(v, v) if isinstance(v, Var) else v
    eqns: list[JaxprEqn] = []
    for eqn in jaxpr.eqns:
        shape = next((s for v in (*eqn.invars, *eqn.outvars) if (s := words(v)) is not None), None)
        eqn = eqn.replace(invars=list(map(read, eqn.invars)))
        if shape is None:
            eqns.append(eqn)
        elif eqn.primitive in keys.AS_THEY_ARE:
            env.update((v, _of_words(v)) for v in eqn.outvars if words(v) is not None)
            eqns.append(eqn.replace(outvars=list(map(read, eqn.outvars))))
        elif eqn.primitive in keys.RULES:
            with state_compat.context_of(eqn):
                moved = jax.make_jaxpr(partial(keys.RULES[eqn.primitive], shape, **eqn.params))(*(v.aval for v in eqn.invars))
            env.update(zip(eqn.outvars, splice(moved, eqn, eqns), strict=True))
        else:
            raise unsupported_primitive(eqn.primitive.name, compat.user_line(eqn), detail="of typed keys")
    invars, constvars = list(map(read, jaxpr.invars)), list(map(read, jaxpr.constvars))
    old = Jaxpr(constvars, invars, jaxpr.outvars, jaxpr.eqns, jaxpr.effects, jaxpr.debug_info)
    return close(old, constvars, list(map(compat.key_words, closed.consts)), eqns, list(map(read, jaxpr.outvars)))


def words(v) -> tuple[int, ...] | None:
    """The shape of one key's words, if `v` is of a key type."""
    return compat.element_shape(v.aval.dtype) if hasattr(v.aval, "dtype") else None


def _of_words(v: Var) -> Var:
    return (DropVar if isinstance(v, DropVar) else Var)(compat.words_of(v.aval))
