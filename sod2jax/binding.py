"""The C++ runtime for the rest of the package: hands JAX's names in, and loads Programs.

Import its classes from here, never from `sod2jax._runtime`: the module refuses to work before it was set up.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from sod2jax import compat, errors, image
from sod2jax.ir import check
from sod2jax.ir import program as ir

try:
    from sod2jax import _runtime
    from sod2jax._runtime import Function, Key, Program, Version, set_threads, threads
except ImportError as error:
    raise ImportError(
        f"sod2jax was imported from {Path(__file__).parent}, which has no compiled runtime for this Python. "
        "In a source tree: leave the folder after `pip install .`, or install it with `pip install -e .`."
    ) from error

__all__ = ["Function", "Key", "Program", "Version", "as_array", "load", "set_threads", "threads"]

_CODES = {}
_DTYPES = {}
for _name in (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", "bfloat16"),
    *("float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2"),
    *("float8_e5m2fnuz", "float8_e8m0fnu"),
):
    _dtype = np.dtype(getattr(ml_dtypes, _name, _name))
    _CODES[_dtype] = image.dtype_code(_dtype)
    _DTYPES[_CODES[_dtype]] = _dtype


def load(program: ir.Program, kernels: list[int], keepalive=None) -> Program:
    """A runnable Program: `kernels` are the addresses of its kernels' code, which lives as long as `keepalive`.

    With `SOD2_CHECK=2` in the environment, memory that holds nothing is filled with a pattern while it runs.
    """
    hosts = [(f"host function {h.name} ({h.kind})", h.call) for h in program.hosts]
    return Program(image.encode(program), kernels, [aligned(c) for c in program.constants], keepalive, hosts, check.level() >= 2)


def library_kernels(program: ir.Program) -> dict[str, int]:
    """Addresses of the kernels that the runtime brings along. UnsupportedError for one that this runtime does not have."""
    found = {k.name: _runtime.library_kernel(k.name) for k in program.kernels if isinstance(k, ir.Extern)}
    for name in (name for name, address in found.items() if not address):
        raise errors.UnsupportedError(f"this build of the runtime has no kernel {name!r}")
    return found


def aligned(constant: np.ndarray) -> np.ndarray:
    """A row-major copy of `constant` at a multiple of 64 bytes, which vector loads like."""
    constant = np.asarray(constant)
    memory = np.empty(constant.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + constant.nbytes].view(constant.dtype).reshape(constant.shape)
    copy[...] = constant
    return copy


@functools.cache
def cpu_device():
    """The device that outputs belong to."""
    return jax.local_devices(backend="cpu")[0]


def as_array(x) -> jax.Array:
    """`x` as an array that the runtime can read: in one row-major buffer of the CPU. TypeError (JAX's words) for non-arrays."""
    if isinstance(x, jax.Array) and x.ndim > 1:
        # Another layout is only undone by a computation; device_put would keep it.
        x = x if compat.is_row_major(x) else jnp.array(x, copy=True)
    x, sharding = compat.canonicalize_value(x), jax.sharding.SingleDeviceSharding(cpu_device())
    host = isinstance(x, np.ndarray | np.generic | bool | int | float | complex)
    return compat.transfer(x, sharding) if host else jax.device_put(x, sharding)


# -- typed keys: to the runtime, nodes of a pytree around their words, as to jax.jit


def tree_of_words(tree, dtypes):
    """The pytree of arguments with leaves of these dtypes, as the runtime flattens it."""
    if all(compat.element_shape(d) is None for d in dtypes):
        return tree
    leaves = [0 if compat.element_shape(d) is None else compat.key_array(d, 0) for d in dtypes]
    return compat.dispatch_registry.flatten(jax.tree.unflatten(tree, leaves))[1]


def tree_of_results(tree, dtypes):
    """What the runtime builds the results with; the leaves are of these dtypes."""
    return tree if all(compat.element_shape(d) is None for d in dtypes) else _TreeOfKeys(tree, tuple(dtypes))


@dataclass(frozen=True)
class _TreeOfKeys:
    tree: Any
    dtypes: tuple

    def unflatten(self, leaves):
        keys = (
            x if compat.element_shape(d) is None else compat.key_array(d, x) for d, x in zip(self.dtypes, leaves, strict=True)
        )
        return self.tree.unflatten(keys)


def _is_local(sharding) -> bool:
    return isinstance(sharding, jax.sharding.SingleDeviceSharding) and next(iter(sharding.device_set)).platform == "cpu"


def _make_aval(shape, code: int, weak_type: bool):
    return compat.ShapedArray(shape, _DTYPES[code], weak_type=weak_type)


def _scalar_info(x) -> tuple[int, bool]:
    aval = compat.abstractify(x)
    return _CODES[compat.canonical_dtype(aval.dtype)], aval.weak_type


# Exact types of array-likes that no one registers as nodes of a pytree.
_LEAF_TYPES = frozenset({bool, int, float, complex, np.ndarray, *(t for t in np.sctypeDict.values() if t is not np.object_)})

_runtime.setup(
    **compat.runtime_names(),
    leaf_types=_LEAF_TYPES,
    tracer_type=compat.Tracer,
    make_aval=_make_aval,
    dtype_code=lambda dtype: _CODES[dtype] if dtype in _CODES else image.dtype_code(dtype),
    dtype_name=lambda code: _DTYPES[code].name if code in _DTYPES else f"dtype {code:#x}",
    is_local=_is_local,
    is_row_major=compat.is_row_major,
    dtype_of=_DTYPES.__getitem__,
    scalar_info=_scalar_info,
    device=cpu_device(),
    devices=[cpu_device()],
    sharding=jax.sharding.SingleDeviceSharding(cpu_device()),
    as_array=as_array,
    shape_error=errors.ShapeError,
    guard_error=errors.GuardError,
    memory_error=errors.OutOfMemoryError,
    runtime_error=jax.errors.JaxRuntimeError,
)
