"""Operators on lanes write the instructions they stand for."""

from sod2jax.lowering import targets
from sod2jax.lowering.emit import Lanes, Names, Scope
from sod2jax.lowering.reals import Bits, Real


def written(function, name="x86-64-avx512", s="float"):
    scope = Scope("entry", 0)
    function(Real(Lanes(Names(), scope, 1, targets.named(name)), s, "%x"))
    return [line.strip().split(" = ")[1] for line in scope.lines]


def test_arithmetic():
    one = "0x3FF0000000000000"
    assert written(lambda x: 1.0 - x) == [f"fsub float {one}, %x"]
    assert written(lambda x: x.fma(x, 1.0)) == [f"call float @llvm.fma.f32(float %x, float %x, float {one})"]
    assert written(lambda x: (x < 1.0).where(x, 1.0))[1] == f"select i1 %t0, float %x, float {one}"


def test_bounds_let_nan_pass():
    assert written(lambda x: x.at_most(1.0))[0] == "fcmp olt float 0x3FF0000000000000, %x"
    assert "llvm.minimum" in written(lambda x: x.at_most(1.0), "aarch64-linux-android")[0]


def test_bits_wrap():
    assert written(lambda x: x.bits() & 0xFFFFFFFF)[1] == "and i32 %t0, -1"
    assert isinstance(Real(Lanes(Names(), Scope("e", 0), 1, None), "double", "%x").bits(), Bits)
