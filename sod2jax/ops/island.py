"""Islands: eqns that no rule covers, computed by XLA at the sizes of the call. Which eqns are that, and which nobody can compute.

* `reason(eqn)` is asked of each eqn once all rewriting is done: what no rule covers, in words, or "".
* Not even an island helps where a value is no array (a reference, a token, a key): its `obstacle`.
* `calling` is the eqn that calls a function of the process instead; `rewrite.islands` makes these functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Primitive, Var, new_jaxpr_eqn, no_effects

from sod2jax.compat import ShapedArray, dim_value_aval
from sod2jax.ir.dims import Dim, dim_as_value_p
from sod2jax.ir.program import Host
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop, of

call_host_p = Primitive("call_host")
call_host_p.multiple_results = True

defop(OpDef(call_host_p, Dyn.ISDOS, Mapping.MANY_TO_MANY, host=lambda *, host: host))


def reason(eqn: JaxprEqn) -> str:
    """Why our own rules do not serve an eqn; "" if they do."""
    record = of(eqn.primitive)
    if record is None:
        return f"no rule for {eqn.primitive}"
    if record.lacks is not None and (lack := record.lacks(*(v.aval for v in eqn.invars), **eqn.params)):
        return lack
    if record.pull is None and not record.whole:
        return f"no rule for these parameters of {eqn.primitive}"
    return ""


def obstacle(eqn: JaxprEqn) -> str:
    """Why an eqn cannot be an island; "" if it can."""
    for v in (*eqn.invars, *eqn.outvars):
        if not isinstance(v.aval, ShapedArray) or jax.dtypes.issubdtype(v.aval.dtype, jax.dtypes.extended):
            return f"{v.aval} is no plain array"
        if bits(v.aval.dtype) < 8:
            return f"{v.aval.str_short()} has less than a byte per element, and JAX packs those"
    return ""


def bits(dtype) -> int:
    """Of one element of an array of numbers."""
    info = jnp.iinfo if jnp.issubdtype(dtype, jnp.integer) else jnp.finfo
    return 8 if dtype == np.bool_ else info(dtype).bits


def calling(eqn: JaxprEqn, host: Host, invars: Sequence[Var]) -> JaxprEqn:
    """`eqn` computed by `host` from `invars`."""
    return eqn.replace(primitive=call_host_p, params={"host": host}, invars=list(invars))


def value_of(size: Dim) -> JaxprEqn:
    """The eqn that makes a value of a size."""
    return new_jaxpr_eqn([], [Var(dim_value_aval())], dim_as_value_p, {"dim": size}, no_effects)
