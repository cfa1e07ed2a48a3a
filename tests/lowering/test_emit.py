"""The text builder: constants, lanes, types."""

import numpy as np
import pytest

from sod2jax.errors import UnsupportedError
from sod2jax.lowering import targets
from sod2jax.lowering.emit import Lanes, Names, Scope, float_bits, type_of


def lanes(n):
    return Lanes(Names(), Scope("entry", 0), n, targets.named("x86-64-avx512"))


def test_constants():
    assert float_bits(1.0) == "0x3FF0000000000000"
    assert float_bits(0.1) == "0x3FB99999A0000000"  # rounded to f32
    assert float_bits(0.1, "double") == "0x3FB999999999999A"
    assert float_bits(1e300) == "0x7FF0000000000000"
    assert lanes(4).flt(2.0, "float") == "splat (float 0x4000000000000000)"
    assert lanes(1).lit(7, "i32") == "7"


def test_iota_wraps_to_its_width():
    assert lanes(3).iota("i8", 100) == "<i8 0, i8 100, i8 -56>"
    assert lanes(1).iota("i64", 5, 2) == "2"


def test_instructions_go_to_the_scope_under_fresh_names():
    m = lanes(8)
    x = m.bin("fadd", "float", m.flt(1.0, "float"), m.flt(2.0, "float"))
    y = m.call("sqrt", "float", x)
    assert (x, y) == ("%t0", "%t1")
    assert m.scope.lines[1] == "  %t1 = call <8 x float> @llvm.sqrt.v8f32(<8 x float> %t0)"


def test_types():
    assert type_of(np.float16).small
    assert type_of(np.uint8).kind == "u"
    assert type_of(bool).mem == "i8"
    with pytest.raises(UnsupportedError, match="complex64"):
        type_of(np.complex64)
