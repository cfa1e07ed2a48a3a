"""Targets by name and the host's."""

import ml_dtypes
import numpy as np
import pytest

from sod2jax.errors import UnsupportedError
from sod2jax.lowering import targets


def test_host_is_a_target_of_this_machine():
    host = targets.host()
    assert host is targets.host()
    assert host == targets.named("host")
    assert host.cpu
    assert host.lanes(np.float32) * 32 == host.vector_bits
    assert targets.machine(host) is targets.machine(host)


def test_lanes():
    t = targets.named("x86-64-avx512")
    lanes = {
        np.float32: 16,
        np.float64: 8,
        np.int8: 64,
        bool: 64,
        np.int64: 8,
        np.int16: 32,
        np.float16: 16,
        ml_dtypes.bfloat16: 16,
    }
    assert {d: t.lanes(d) for d in lanes} == lanes


def test_names():
    for name in targets.TARGETS:
        t = targets.named(name)
        assert t.name == name
        assert t.is_x86 != t.is_aarch64
    assert targets.named("aarch64-linux-android", cpu="cortex-x1").cpu == "cortex-x1"
    with pytest.raises(UnsupportedError, match="unknown target 'z80'; the targets are host, aarch64"):
        targets.named("z80")
