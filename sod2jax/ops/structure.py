"""Calls that only structure a jaxpr: their body is inlined before any pass looks at it. So is what only says where arrays lie."""

from jax.extend.core.primitives import (
    call_p,
    closed_call_p,
    custom_jvp_call_p,
    custom_vjp_call_p,
    device_put_p,
    jit_p,
    remat_p,
)

from sod2jax.ops._base import Dyn, Mapping, OpDef, defop, defops

# primitive: the param that holds the body
BODIES = {
    jit_p: "jaxpr",
    closed_call_p: "call_jaxpr",
    call_p: "call_jaxpr",
    custom_jvp_call_p: "call_jaxpr",
    custom_vjp_call_p: "call_jaxpr",
    remat_p: "jaxpr",
}

defops(OpDef(prim, Dyn.ISDOS, Mapping.ONE_TO_ONE, inner=param) for prim, param in BODIES.items())
defop(OpDef(device_put_p, Dyn.ISDOS, Mapping.ONE_TO_ONE, decompose=lambda *xs, **_: xs))
