"""Callbacks: functions of the user's in the middle of a computation, called as JAX calls them, in the order of the program.

* The function gets JAX arrays on the CPU. They are copies: what it keeps of them stays as it is.
* What it returns is checked as JAX does, and what it raises comes as JAX's error, with its traceback in the text.
* Effects keep an eqn where it is; a callback without effects may be left out or done once where nothing tells the difference.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence

import jax
import numpy as np

from sod2jax import compat
from sod2jax.ir.program import Host
from sod2jax.ops._base import Dyn, Mapping, OpDef, defops

PRINTING = ("debug_callback", "debug_print")
COMPUTING = ("pure_callback", "io_callback")


def callback(prim):
    """The `host` rule of a callback primitive."""
    function = compat.callback_function(prim)

    def host(*, result_avals: Sequence = (), **params) -> Host:
        if prim.name in COMPUTING:
            params["result_avals"] = result_avals

        def call(*operands):
            try:
                return checked(function(*map(np.array, operands), **params), result_avals)
            except Exception as error:
                text = "".join(traceback.format_exception(error))
                raise jax.errors.JaxRuntimeError(f"INTERNAL: CpuCallback error calling callback: {text}") from error

        return Host(prim.name, call, "callback")

    return host


def checked(results: Sequence, avals: Sequence) -> list[np.ndarray]:
    """`results` as arrays of the promised shapes and dtypes, or RuntimeError in JAX's words."""
    if len(results) != len(avals):
        raise RuntimeError(f"Mismatched number of outputs from callback. Expected: {len(avals)}, Actual: {len(results)}")
    arrays = [compat.canonicalize_value(np.asarray(x)) for x in results]
    for i, (x, aval) in enumerate(zip(arrays, avals, strict=True)):
        for what in ("shape", "dtype"):
            expected, actual = getattr(aval, what), getattr(x, what)
            if expected != actual:
                raise RuntimeError(f"Incorrect output {what} for return value #{i}: Expected: {expected}, Actual: {actual}")
    return arrays


PRIMITIVES = [compat.primitive(name) for name in (*PRINTING, *COMPUTING)]

defops(OpDef(prim, Dyn.ISDOS, Mapping.MANY_TO_MANY, host=callback(prim)) for prim in PRIMITIVES)
