"""Machine code: kernels to addresses in this process, to an object file, or to assembly text.

* The text of a kernel names nothing of the user's, so it is the key of an in-process table: an equal kernel is compiled once.
* No IR passes: the emitter writes what they would make. Instruction selection, register allocation and scheduling are LLVM's.
* The kernels of one call that are not cached yet are compiled in parallel and linked together.
* Code lives as long as a `Compiled.keepalive` that has it: the table is weak. Kernels that were linked together share their
  memory, which is given back with the last of them.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import llvmlite.binding as llvm
import numpy as np

from sod2jax.ir.loops import Kernel
from sod2jax.lowering import codegen, targets
from sod2jax.lowering.llvm import emit
from sod2jax.lowering.targets import Target

_PLACEHOLDER = "kernel"
_lock = threading.RLock()


class Code:
    """The machine code of one kernel: an address, valid while this lives."""

    __slots__ = ("__weakref__", "_memory", "address")

    def __init__(self, address: int, memory: object):
        self.address, self._memory = address, memory


_codes: weakref.WeakValueDictionary[tuple[Target, bytes], Code] = weakref.WeakValueDictionary()
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
    start = time.perf_counter()
    seconds = dict.fromkeys(("emit", "codegen", "link"), 0.0)
    with _lock:
        texts, objects, codes = [], {}, {}
        with codegen.Workers() as workers:  # which generate code while the next text is being written
            for k in kernels:
                text = emit(k, target, _PLACEHOLDER)
                texts.append(text)
                if text not in codes and (code := _codes.get(_key(target, text))) is not None:
                    codes[text] = code
                if text not in codes and text not in objects:
                    name = f"kernel_{next(_serial)}"
                    objects[text] = name, workers.submit(text.replace(f'@"{_PLACEHOLDER}"', f'@"{name}"', 1), target)
            seconds["emit"] = time.perf_counter() - start
            images = {name: future.result() for name, future in objects.values()}
        seconds["codegen"] = time.perf_counter() - start - seconds["emit"]
        if objects:
            codes |= _link({text: name for text, (name, _) in objects.items()}, images, target)
        seconds["link"] = time.perf_counter() - start - seconds["emit"] - seconds["codegen"]
        found = [codes[t] for t in texts]
    return Compiled([code.address for code in found], found, seconds, len(objects))


def clear():
    """Forget the table: what is compiled next is compiled anew. Code that is in use stays."""
    with _lock:
        _codes.clear()


def _key(target: Target, text: str) -> tuple[Target, bytes]:
    return target, hashlib.blake2b(text.encode(), digest_size=20).digest()


def _link(names: dict[str, str], images: dict[str, bytes], target: Target) -> dict[str, Code]:
    """Load the objects of texts, and put their code into the table."""
    library = llvm.JITLibraryBuilder()
    for name, image in images.items():
        library.add_object_img(image)
        library.export_symbol(name)
    kept = []
    for dtype in ("f32", "f64"):
        if any(f"@sod2_gemm_{dtype}(" in text for text in names):
            address, tracker = _gemm(target, dtype)
            library.import_symbol(f"sod2_gemm_{dtype}", address)
            kept.append(tracker)
    if any(" frem " in text for text in names):
        library.import_symbol("fmod", ctypes.cast(ctypes.CDLL(None).fmod, ctypes.c_void_p).value)
    tracker = library.link(_linker(target), f"sod2_{next(_serial)}")
    codes = {text: Code(tracker[name], (tracker, *kept)) for text, name in names.items()}
    for text, code in codes.items():
        _codes[_key(target, text)] = code
    return codes


_LINKS = 64  # by one of LLVM's linkers, which keeps a little of each library that it ever linked
_linkers: dict[Target, tuple[object, int]] = {}  # the linker in use, and how many links it has left


def _linker(target: Target):
    """LLVM's linker; a used one goes with the last code that it linked."""
    linker, left = _linkers.get(target, (None, 0))
    if not left:
        linker, left = llvm.create_lljit_compiler(targets.new_machine(target, jit=True), use_jit_link=True), _LINKS
    _linkers[target] = linker, left - 1
    return linker


@lru_cache(maxsize=16)
def _gemm(target: Target, dtype: str) -> tuple[int, object]:
    """The microkernel, compiled once per process."""
    image = codegen.object_code(_gemm_text(target, dtype), target)
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
