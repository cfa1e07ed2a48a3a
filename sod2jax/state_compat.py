"""What JAX holds for a process or a thread, under names of our own: its configuration, and its caches of what it traced.

As `compat`, it may import `jax._src`: no public name says which options a trace depends on, or makes JAX forget one trace.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import types
import weakref
from typing import Any

import numpy as np
from jax._src import config as _config
from jax._src import util as _util

# -- the configuration


def trace_context_names() -> tuple[str, ...]:
    """The names of what `trace_context` holds, in its order."""
    return _config.trace_context_names()


def meshes() -> list[Any]:
    """The meshes, concrete or abstract, of the contexts around a call (`jax.set_mesh`, `with mesh:`)."""
    from jax._src import mesh as _mesh

    around = (_mesh.thread_resources.env.physical_mesh, _mesh.get_concrete_mesh(), _mesh.get_abstract_mesh())
    return [mesh for mesh in around if mesh is not None and not mesh.empty]


@contextlib.contextmanager
def compiling(x64: bool):
    """JAX's configuration while a trace is compiled: its x64 flag, and nothing that is meant for the user's own code.

    What the compiler itself computes or traces with JAX is neither checked for NaN nor held to strict promotion, nor logged.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_config.enable_x64(x64))
        for switch in (
            *(_config.debug_nans, _config.debug_infs, _config.debug_key_reuse, _config.check_tracer_leaks),
            *(_config.disable_jit, _config.no_tracing, _config.log_compiles, _config.explain_cache_misses),
        ):
            stack.enter_context(switch(False))
        stack.enter_context(_config.numpy_dtype_promotion("standard"))
        stack.enter_context(_config.numpy_rank_promotion("allow"))
        stack.enter_context(_config.transfer_guard("allow"))
        yield


@contextlib.contextmanager
def context_of(eqn):
    """The configuration that `eqn` was traced under (`jax.threefry_partitionable`, ...), 64 bits included if it is of such."""
    avals = (v.aval for v in (*eqn.invars, *eqn.outvars))
    dtypes = (a.dtype for a in avals if isinstance(getattr(a, "dtype", None), np.dtype))
    wide = any(d.itemsize == (16 if d.kind == "c" else 8) for d in dtypes)
    with eqn.ctx.manager, _config.enable_x64(wide or _config.enable_x64.value):
        yield


# -- caches


class _Caches:
    """The caches of JAX that hold what it traced, by function: `jnp`'s own functions live as long as the process, and so does
    what is traced of them. Some have no bound, and no entry with symbolic sizes is ever found again.
    """

    def __init__(self):
        self.lock, self.users, self.originals = threading.Lock(), 0, {}

    def __enter__(self):
        with self.lock:
            if not self.users:
                self.originals = {place: getattr(*place) for place in self._places()}
                for place, cache in self.originals.items():
                    setattr(*place, self._like(place[1], cache))
            self.users += 1

    def __exit__(self, *_):
        with self.lock:
            self.users -= 1
            if not self.users:
                for place, cache in self.originals.items():
                    setattr(*place, cache)
                self.originals = {}

    def current(self) -> list[Any]:
        """The caches that JAX uses now."""
        return [getattr(*place) for place in self._places()]

    @staticmethod
    def _places():
        from jax._src import pjit as _pjit
        from jax._src.interpreters import partial_eval as _pe

        by_avals = ("_process_in_axis_resources", "_check_and_canonicalize_out_shardings", "create_meta_ty")
        places = [(_pjit, name) for name in ("_infer_params_cached", "_seen_qdds", *by_avals)]
        return [place for place in ((_pe, "trace_to_jaxpr"), *places) if hasattr(*place)]

    @staticmethod
    def _like(name, cache):
        if isinstance(cache, weakref.WeakKeyDictionary):
            return weakref.WeakKeyDictionary()
        if hasattr(cache, "__wrapped__"):
            return functools.lru_cache(None)(cache.__wrapped__)

        def forgotten(fun, *args, **kwargs):
            return cache(functools.partial(fun), *args, **kwargs)  # the entry goes with the partial

        made = _util.weakref_lru_cache(forgotten, maxsize=None)
        if name != "_infer_params_cached":
            return made

        def remembered(fun, info, signature, avals, *context):
            chosen = cache if _without_sizes(fun, signature, avals) else made
            return chosen(fun, info, signature, avals, *context)

        vars(remembered).update({method: getattr(made, method) for method in dir(made) if not method.startswith("_")})
        return remembered


def _without_sizes(fun, signature, avals) -> bool:
    """Whether a trace has nothing to do with symbolic sizes, so that it is JAX's own to keep: Flax's initialisers, say, which run
    while a module is applied, too."""
    return (
        isinstance(fun, types.FunctionType)
        and fun.__closure__ is None
        and fun.__module__.startswith("jax.")
        and all(type(d) is int for aval in avals for d in getattr(aval, "shape", (None,)))
        and all(map(_is_plain, signature.static_args))
    )


def _is_plain(x) -> bool:
    return all(map(_is_plain, x)) if type(x) is tuple else isinstance(x, (bool, int, float, str, np.dtype, type, type(None)))


symbolic_traces = _Caches()
"""A context in which JAX forgets at the end what it traced in between, and what the compiler traces of a function belongs there.

Threads that trace at once share one set of caches, which goes with the last of them.
"""
