"""Calls that only structure a jaxpr, inlined before any pass looks at it; and what only says where arrays lie, or when."""

import numpy as np
from jax.extend.core.primitives import (
    call_p,
    closed_call_p,
    custom_jvp_call_p,
    custom_vjp_call_p,
    device_put_p,
    jit_p,
    remat_p,
)

from sod2jax import compat
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop, defops

# primitive: the param that holds the body
BODIES = {
    jit_p: "jaxpr",
    closed_call_p: "call_jaxpr",
    call_p: "call_jaxpr",
    custom_jvp_call_p: "call_jaxpr",
    custom_vjp_call_p: "call_jaxpr",
    remat_p: "jaxpr",
    compat.primitive("remat_opt"): "fwd_jaxpr",
    compat.primitive("composite"): "jaxpr",
    compat.primitive("linear_call"): "callee",
    compat.primitive("custom_vmap"): "call",
}

defops(OpDef(prim, Dyn.ISDOS, Mapping.ONE_TO_ONE, inner=param) for prim, param in BODIES.items())

# primitive: its results among its operands
SAME = {
    device_put_p: lambda *xs, **_: xs,
    compat.primitive("optimization_barrier"): lambda *xs, **_: xs,
    compat.primitive("tie"): lambda first, then: then,
    compat.primitive("reshard"): lambda x, **_: x,
    compat.primitive("layout_constraint"): lambda x, **_: x,
    compat.primitive("dce_sink"): lambda *_, **__: (),
}
defops(OpDef(prim, Dyn.ISDOS, Mapping.ONE_TO_ONE, decompose=same) for prim, same in SAME.items())


def platform(*, platforms):
    """The number of the branch for CPUs, else of the default; JAX says what is wrong if there is neither."""
    ours = [i for i, names in enumerate(platforms) if names is not None and "cpu" in names]
    default = [i for i, names in enumerate(platforms) if names is None]
    return np.int32((ours or default)[0]) if ours or default else NotImplemented


defop(OpDef(compat.primitive("platform_index"), Dyn.ISDO, Mapping.SOURCE, decompose=platform))
