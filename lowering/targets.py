"""Targets: what the emitter needs to know of a processor, and LLVM's machine object for it.

* `host()` is this machine; `named(name)` one of `TARGETS`; both are cached, a Target compares by value.
* `tail` says how a vector loop treats its last, partial vector: "mask" (AVX-512: every load and store takes a mask), "maskmov"
  (AVX2: masks for 32 and 64 bit elements only) or "scalar" (NEON: a scalar loop).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import llvmlite.binding as llvm
import numpy as np

from sod2jax.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Target:
    """One instruction set. `vector_bits` is the width of a register, `registers` how many there are."""

    name: str
    triple: str
    cpu: str
    features: str
    vector_bits: int
    registers: int
    tail: str  # "mask" | "maskmov" | "scalar"
    page: int = 4096
    cache_line: int = 64

    def lanes(self, dtype) -> int:
        """Elements of `dtype` in one register; halves count as the f32 in which they are computed."""
        return self.vector_bits // compute_bits(dtype)

    @property
    def is_x86(self) -> bool:
        return self.triple.startswith("x86_64")

    @property
    def is_aarch64(self) -> bool:
        return self.triple.startswith(("aarch64", "arm64"))


def compute_bits(dtype) -> int:
    """Bits of a lane while computing: bool is a mask bit, counted as a byte; narrow floats are computed in f32."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b" or "int" in dtype.name:
        return dtype.itemsize * 8
    return max(dtype.itemsize * 8, 32)


_AVX2 = "+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt,+movbe"
_AVX512 = _AVX2 + ",+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd"

TARGETS = {
    t.name: t
    for t in (
        Target("x86-64-avx512", "x86_64-unknown-linux-gnu", "x86-64-v4", _AVX512 + ",-prefer-256-bit", 512, 32, "mask"),
        Target("x86-64-avx2", "x86_64-unknown-linux-gnu", "x86-64-v3", _AVX2, 256, 16, "maskmov"),
        Target("aarch64-linux-gnu", "aarch64-unknown-linux-gnu", "generic", "+neon,+fp-armv8", 128, 32, "scalar"),
        Target("aarch64-linux-android", "aarch64-linux-android28", "cortex-a76", "+neon,+fp-armv8", 128, 32, "scalar"),
        Target("aarch64-apple-darwin", "arm64-apple-macosx13", "apple-m1", "+neon,+fp-armv8", 128, 32, "scalar"),
    )
}


def named(name: str, cpu: str | None = None) -> Target:
    """The target called `name` ("host" is this machine), with another `cpu` if given."""
    if name == "host":
        return host()
    if name not in TARGETS:
        raise UnsupportedError(f"unknown target {name!r}; the targets are host, {', '.join(sorted(TARGETS))}")
    return replace(TARGETS[name], cpu=cpu) if cpu else TARGETS[name]


@lru_cache(maxsize=1)
def host() -> Target:
    """The machine this process runs on, with the CPU's own scheduling model."""
    _initialize()
    triple = llvm.get_process_triple()
    features = llvm.get_host_cpu_features()
    has = lambda *names: all(features.get(n, False) for n in names)
    if triple.startswith("x86_64"):
        if has("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"):
            base = TARGETS["x86-64-avx512"]
        elif has("avx2", "fma", "f16c"):
            base = TARGETS["x86-64-avx2"]
        else:
            raise UnsupportedError("this x86 CPU lacks AVX2, FMA or F16C, which sod2jax needs; use sod2.export_stablehlo instead")
    elif triple.startswith(("aarch64", "arm64")):
        base = TARGETS["aarch64-apple-darwin" if "apple" in triple else "aarch64-linux-gnu"]
    else:
        raise UnsupportedError(f"no code generator for {triple}; the targets are {', '.join(sorted(TARGETS))}")
    return replace(base, name="host", triple=triple, cpu=llvm.get_host_cpu_name(), features=_host_features(features, base))


def _host_features(features, base: Target) -> str:
    """The host's features as LLVM writes them, the base target's preference for wide vectors kept."""
    flat = features.flatten()
    return f"{flat},-prefer-256-bit" if base.vector_bits == 512 else flat


def new_machine(target: Target, jit: bool = False):
    """LLVM's TargetMachine: position independent code, for memory (`jit`) or for an object file."""
    _initialize()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="jitdefault" if jit else "default", jit=jit
    )


@lru_cache(maxsize=16)
def machine(target: Target, jit: bool = False):
    """A TargetMachine that callers share, one at a time."""
    return new_machine(target, jit)


@lru_cache(maxsize=1)
def _initialize():
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
