"""LLVM IR text to object code, on all cores.

* A module has an LLVM context of its own, and a worker a TargetMachine to itself, so that workers share nothing.
* llvmlite holds one lock around every call into LLVM, which would put the workers in a row. Code generation, nine tenths of the
  time, is called through a second handle of the same library; everything else goes through llvmlite.
"""

from __future__ import annotations

import ctypes
import os
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from sod2jax.lowering import targets
from sod2jax.lowering.targets import Target

_idle: dict[Target, list] = defaultdict(list)  # machines that no worker uses just now


def object_code(text: str, target: Target) -> bytes:
    """The object file of one module; LLVM's message if the text is wrong."""
    try:
        machine = _idle[target].pop()
    except IndexError:
        machine = targets.new_machine(target, jit=True)
    try:
        with llvm.parse_assembly(text, context=llvm.create_context()) as module:
            return _emit(machine, module)
    finally:
        _idle[target].append(machine)


class Workers:
    """A pool for the time of one compilation: `with Workers() as w: futures = [w.submit(text, target) ...]`."""

    def __enter__(self) -> Workers:
        self._pool = ThreadPoolExecutor(_cores(), thread_name_prefix="sod2jax-llvm")
        return self

    def __exit__(self, *_):
        self._pool.shutdown()

    def submit(self, text: str, target: Target) -> Future[bytes]:
        return self._pool.submit(object_code, text, target)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _emit(machine, module) -> bytes:
    with ffi.OutputString() as error:
        buffer = _unlocked_emit()(machine, module, 1, error)
        if not buffer:
            raise RuntimeError(str(error))
    try:
        return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


@lru_cache(maxsize=1)
def _unlocked_emit():
    function = ctypes.CDLL(ffi.lib._name).LLVMPY_TargetMachineEmitToMemory
    locked = ffi.lib.LLVMPY_TargetMachineEmitToMemory
    function.argtypes, function.restype = locked.argtypes, locked.restype
    return function
