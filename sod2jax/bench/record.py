"""Recording the sizes that a function sees, for a trace."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import specs
from sod2jax.api import JitFunction
from sod2jax.errors import SpecError


def record(fun: Callable, path: str | Path, *, shapes=None) -> Callable:
    """`fun`, which from now on appends a line such as {"b": 1, "s": 37} to the file at `path` at each call.

    `shapes` names the dims of the positional arguments as `sod2.jit(shapes=)` does; a function of `sod2.jit` brings its own.
    `read_trace` and `sod2 bench --trace` read the file. A call whose arguments do not fit `shapes` raises ShapeError, and a call
    under a JAX transformation, which has no sizes of its own, is not recorded.
    """
    if shapes is not None:
        contract = specs.Contract(shapes)
    elif isinstance(fun, JitFunction) and fun.contract.given:
        contract = fun.contract
    else:
        raise SpecError("sod2.bench.record needs shapes=, which name the dims to record, as sod2.jit(shapes=) does")
    name = getattr(fun, "__name__", "function")

    @functools.wraps(fun)
    def recorded(*args, **kwargs):
        paths, _ = jax.tree_util.tree_flatten_with_path((args, kwargs))
        values = [x for _, x in paths]
        if not any(isinstance(x, jax.core.Tracer) for x in values):
            leaves = [specs.Leaf(jax.tree_util.keystr(p), jnp.result_type(x), np.shape(x)) for p, x in paths]
            size = contract.solve(name, contract.leaf_specs(args, kwargs), leaves)
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(size) + "\n")
        return fun(*args, **kwargs)

    return recorded
