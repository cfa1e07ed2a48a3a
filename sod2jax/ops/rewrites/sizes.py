"""Sizes as values of other dtypes: converted from the exact size, as JAX converts a Python int.

This is for jaxprs as they were traced, before calls are replaced by their bodies. JAX makes an int32 of what it hands to a jitted
function, so there a size that is too large is an OverflowError (`ops.demands`); what it converts where it stands is exact: the
mean of 50,000 x 50,000 elements divides by 2.5e9.
"""

from __future__ import annotations

import numpy as np
from jax.extend.core import primitives as p

from sod2jax.ir.dims import dim_as_value_p


def converted(cx, eqn):
    size, aval = cx.maker(eqn.invars[0], dim_as_value_p), eqn.outvars[0].aval
    if size is None or eqn.params["sharding"] is not None or size.params.get("dtype") is not None:
        return None
    if aval.dtype.kind != "c":
        params = {"dim": size.params["dim"], "dtype": aval.dtype, "weak_type": aval.weak_type}
        return cx.emit_many(dim_as_value_p, [], [aval], **params)
    real = np.zeros((), aval.dtype).real.dtype
    part = cx.emit(dim_as_value_p, [], (), real, dim=size.params["dim"], dtype=real, weak_type=False)
    return cx.emit_many(p.convert_element_type_p, [part], [aval], **eqn.params)


RULES = {p.convert_element_type_p: (converted,)}
