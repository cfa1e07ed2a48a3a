"""Replace calls (`jit`, `custom_jvp_call`, `custom_vjp_call`, `remat`, ...) by their bodies.

* Which primitives are calls, and which param holds the body, is asked of `OpDef.inner`; what `OpDef.decompose` says in simpler
  primitives is traced here, and is a call of that.
* Each inlining binds fresh variables: JAX shares one body among all calls with equal shapes.
* Name stacks are joined. The source line is the call's where the body is a library function, for JAX caches traces of `jnp`
  functions across callers and the lines in them are those of whoever came first.
* Constants are shared by identity.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable

import jax
from jax.extend.core import ClosedJaxpr, DropVar, Jaxpr, JaxprEqn, Literal, Var

from sod2jax import ops, state_compat
from sod2jax.rewrite.interpreter import close

_LIBRARIES = tuple(os.path.dirname(module.__file__) + os.sep for module in (jax, ops))


def inline(closed: ClosedJaxpr) -> ClosedJaxpr:
    """`closed` without calls."""
    if not any(map(_may_call, closed.jaxpr.eqns)):
        return closed
    eqns: list[JaxprEqn] = []
    consts: dict[int, tuple[Var, object]] = {}
    env: dict[Var, Var | Literal] = {}
    for var, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
        env[var] = consts.setdefault(id(value), (var, value))[0]
    _walk(closed.jaxpr, env, None, eqns, consts)
    if len(eqns) == len(closed.jaxpr.eqns) and all(map(operator.is_, eqns, closed.jaxpr.eqns)):
        return closed
    outvars = [_read(env, v) for v in closed.jaxpr.outvars]
    constvars, values = zip(*consts.values(), strict=True) if consts else ((), ())
    return close(closed.jaxpr, constvars, values, eqns, outvars)


def splice(closed: ClosedJaxpr, call: JaxprEqn, eqns: list[JaxprEqn]) -> list[Var | Literal]:
    """Appends what `closed`, which has no constants, does to the operands of `call`; returns its results."""
    env = dict(zip(closed.jaxpr.invars, call.invars, strict=True))
    _walk(closed.jaxpr, env, call, eqns, {})
    return [_read(env, v) for v in closed.jaxpr.outvars]


def body(eqn: JaxprEqn) -> Jaxpr | ClosedJaxpr | None:
    """What `eqn` calls or decomposes into, or None if it does neither."""
    record = ops.of(eqn.primitive)
    if record is None:
        return None
    if record.inner is not None:
        return eqn.params[record.inner]
    return _decomposed(eqn, record.decompose) if record.decompose is not None else None


def _may_call(eqn: JaxprEqn) -> bool:
    record = ops.of(eqn.primitive)
    return record is not None and (record.inner is not None or record.decompose is not None)


class _Whole(Exception):
    """An eqn that its rule leaves as it is."""


def _decomposed(eqn: JaxprEqn, rule: Callable) -> ClosedJaxpr | None:
    def simpler(*operands):
        result = rule(*operands, **eqn.params)
        if result is NotImplemented:
            raise _Whole
        return result

    try:
        with state_compat.context_of(eqn):
            closed = jax.make_jaxpr(simpler)(*(v.aval for v in eqn.invars))
    except _Whole:
        return None
    for var, made in zip(eqn.outvars, closed.out_avals, strict=True):
        if made.dtype != var.aval.dtype or len(made.shape) != len(var.aval.shape):
            raise TypeError(f"the decomposition of {eqn.primitive} gives {made}, not {var.aval}")
    return closed


def _read(env, atom):
    return env.get(atom, atom) if isinstance(atom, Var) else atom


def _walk(jaxpr: Jaxpr, env: dict, call: JaxprEqn | None, eqns: list, consts: dict) -> None:
    """Appends the eqns of `jaxpr` with variables as in `env`; `call` is the eqn that called it."""
    own_lines = call is None or not (jaxpr.debug_info.func_filename or "").startswith(_LIBRARIES)
    for eqn in jaxpr.eqns:
        invars = [_read(env, v) for v in eqn.invars]
        source = eqn.source_info
        if call is not None:
            stack = call.source_info.name_stack + source.name_stack
            source = source.replace(name_stack=stack, traceback=None if own_lines else call.source_info.traceback)
        callee = body(eqn)
        if callee is None and call is None and all(map(operator.is_, invars, eqn.invars)):
            eqns.append(eqn)
            continue
        if callee is None:
            outvars = eqn.outvars if call is None else [_fresh(env, v) for v in eqn.outvars]
            eqns.append(eqn.replace(invars=invars, outvars=outvars, source_info=source))
            continue
        # JAX 0.11 has one class for both kinds: every jaxpr is closed, maybe over nothing.
        inner, values = (callee.jaxpr, callee.consts) if isinstance(callee, ClosedJaxpr) else (callee, ())
        inner_env = dict(zip(inner.invars, invars, strict=True))
        for var, value in zip(inner.constvars, values, strict=True):
            inner_env[var] = consts.setdefault(id(value), (Var(var.aval), value))[0]
        _walk(inner, inner_env, eqn.replace(source_info=source), eqns, consts)
        env.update((v, _read(inner_env, w)) for v, w in zip(eqn.outvars, inner.outvars, strict=True))


def _fresh(env: dict, var: Var) -> Var:
    new = DropVar(var.aval) if isinstance(var, DropVar) else Var(var.aval)
    env[var] = new
    return new
