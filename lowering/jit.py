"""Machine code: kernels to addresses in this process, to an object file, or to assembly text.

* The text of a kernel names nothing of the user's, so it is the key of an in-process cache: an equal kernel is compiled once.
* All kernels of one call that are not cached yet go through LLVM as one module, without IR passes: the emitter writes what they
  would make. Instruction selection, register allocation and scheduling are LLVM's.
* Code lives as long as the process's cache does; `Compiled.keepalive` holds it beyond `clear()`.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import llvmlite.binding as llvm
import numpy as np

from sod2jax.ir.loops import Kernel
from sod2jax.lowering import targets
from sod2jax.lowering.llvm import emit
from sod2jax.lowering.targets import Target

_PLACEHOLDER = "kernel"
_lock = threading.RLock()
_cache: dict[tuple[Target, str], tuple[int, object]] = {}
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Compiled:
    """Addresses of kernels, in the order asked for; valid while `keepalive` is held. `misses`: compiled now."""

    addresses: list[int]
    keepalive: object
    seconds: dict[str, float] = field(default_factory=dict)
    misses: int = 0


def compile(kernels: Sequence[Kernel], target: Target | None = None) -> Compiled:
    """Compile for this process. `target` must be one that this CPU can run (default: `targets.host()`)."""
    target = target or targets.host()
    clock = [time.perf_counter()]
    texts = [emit(k, target, _PLACEHOLDER) for k in kernels]
    clock.append(time.perf_counter())
    with _lock:
        missing = list(dict.fromkeys(t for t in texts if (target, t) not in _cache))
        seconds = {"emit": clock[1] - clock[0], "codegen": 0.0, "link": 0.0}
        if missing:
            _compile(missing, target, seconds)
        found = [_cache[target, t] for t in texts]
    return Compiled([a for a, _ in found], [k for _, k in found], seconds, len(missing))


def clear():
    """Forget the cache."""
    with _lock:
        _cache.clear()


def _compile(texts: list[str], target: Target, seconds: dict[str, float]):
    t0 = time.perf_counter()
    names = [f"kernel_{next(_serial)}" for _ in texts]
    code, gemms = [], set()
    for text, name in zip(texts, names):
        text = text.replace(f'@"{_PLACEHOLDER}"', f'@"{name}"', 1)
        gemms.update(g for g in ("f32", "f64") if f"@sod2_gemm_{g}" in text)
        with _parse(text) as module:
            code.append(targets.machine(target, jit=True).emit_object(module))
    t1 = time.perf_counter()
    library = llvm.JITLibraryBuilder()
    for image in code:
        library.add_object_img(image)
    for name in names:
        library.export_symbol(name)
    kept = []
    for g in sorted(gemms):
        address, tracker = _gemm(target, g)
        library.import_symbol(f"sod2_gemm_{g}", address)
        kept.append(tracker)
    tracker = library.link(_linker(target), f"sod2_{next(_serial)}")
    for text, name in zip(texts, names):
        _cache[target, text] = tracker[name], (tracker, *kept)
    seconds["codegen"] += t1 - t0
    seconds["link"] += time.perf_counter() - t1


def _parse(text: str):
    return llvm.parse_assembly(text, context=llvm.create_context())


@lru_cache(maxsize=8)
def _linker(target: Target):
    return llvm.create_lljit_compiler(_fresh_machine(target), use_jit_link=True)


def _fresh_machine(target: Target):
    """The linker takes its machine over, so it gets one of its own."""
    return targets.machine.__wrapped__(target, jit=True)


@lru_cache(maxsize=16)
def _gemm(target: Target, dtype: str) -> tuple[int, object]:
    """The microkernel, compiled once per process."""
    with _parse(_gemm_text(target, dtype)) as module:
        image = targets.machine(target, jit=True).emit_object(module)
    name = f"sod2_gemm_{dtype}"
    tracker = llvm.JITLibraryBuilder().add_object_img(image).export_symbol(name).link(_linker(target), name)
    return tracker[name], tracker


def _gemm_text(target: Target, dtype: str) -> str:
    from sod2jax.lowering import microkernel  # only kernels with a contraction need it

    return microkernel.module(target, np.dtype({"f32": "float32", "f64": "float64"}[dtype]))


def _module(kernels: Sequence[Kernel], target: Target):
    """One linked module of all kernels under their own names, with the microkernels they call."""
    texts = [emit(k, target) for k in kernels]
    texts += [_gemm_text(target, g) for g in ("f32", "f64") if any(f"@sod2_gemm_{g}(" in t for t in texts)]
    module = llvm.parse_assembly(texts[0] if texts else f'target triple = "{target.triple}"')
    for text in texts[1:]:
        module.link_in(llvm.parse_assembly(text))
    return module


def object(kernels: Sequence[Kernel], target: Target) -> bytes:
    """A relocatable object file that exports the kernels by their names."""
    return targets.machine(target).emit_object(_module(kernels, target))


def asm(kernels: Sequence[Kernel], target: Target | None = None) -> str:
    """Assembly text of the kernels."""
    target = target or targets.host()
    return targets.machine(target).emit_assembly(_module(kernels, target))


def ir(kernels: Sequence[Kernel], target: Target | None = None) -> str:
    """The LLVM IR texts of the kernels, one after the other."""
    return "\n".join(emit(k, target or targets.host()) for k in kernels)


_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)


def call(
    kernel: Kernel, address: int, buffers: dict[str, np.ndarray], sizes: dict[str, int], begin: int = 0, end: int | None = None
) -> None:
    """Run one compiled kernel on NumPy arrays, in place; for tests and experiments, the runtime has its own way."""
    end = kernel.extent.eval(sizes) if end is None else end
    pointers = (ctypes.c_void_p * len(kernel.buffers))(*(buffers[b.name].ctypes.data for b in kernel.buffers))
    numbers = (ctypes.c_int64 * max(1, len(kernel.sizes)))(*(sizes[s] for s in kernel.sizes))
    nbytes = sum(-(-x.extent.eval(sizes) * np.dtype(x.dtype).itemsize // 64) * 64 for x in kernel.locals)
    scratch = np.empty(nbytes + 64, np.uint8)
    start = -scratch.ctypes.data % 64 + scratch.ctypes.data
    _TYPE(address)(ctypes.addressof(pointers), ctypes.addressof(numbers), begin, end, start)
