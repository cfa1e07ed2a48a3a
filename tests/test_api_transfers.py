"""`jax.transfer_guard`: what jax.jit refuses, allows and logs; results are no transfers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2


@pytest.mark.parametrize("level", ["allow", "log", "disallow", "log_explicit", "disallow_explicit"])
def test_transfers_are_guarded_as_jaxs(level, capfd):
    functions = {
        "elementwise": lambda x: x * 2,
        "constant": lambda x: x + np.arange(3, dtype=np.float32),
        "by XLA": lambda x: jax.scipy.linalg.schur(jnp.outer(x, x))[0].sum(),
        "scalars": lambda x: (x.sum(), x[0] > 1),
    }
    arguments = {"array": jnp.ones(3), "numpy": np.ones(3, np.float32), "strided": np.ones(6, np.float32)[::2], "scalar": 2.5}
    cases = [(what, kind) for what in functions for kind in arguments if (kind == "array" or what == "elementwise")]
    for what, kind in cases:
        function, x, outcomes = functions[what], arguments[kind], []
        for jit in (jax.jit, sod2.jit):
            f = jit(function)
            with jax.transfer_guard(level):
                capfd.readouterr()
                try:
                    first = f(x)
                    outcome = jax.tree.map(lambda a, b: a.shape, first, f(x))
                except jax.errors.JaxRuntimeError as error:
                    outcome = str(error)
                outcomes.append((outcome, "host-to-device transfer" in capfd.readouterr().err))
        assert outcomes[0] == outcomes[1], (what, kind)
