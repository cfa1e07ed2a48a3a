"""Argument reduction of sin, cos and tan, and what else is done lane by lane behind a rarely taken branch.

* Up to a limit: n = round(x * 2/pi), and x - n * pi/2 by fma with pi/2 in two parts (f32) or three (f64).
* Beyond (Payne and Hanek, 1983): of 2/pi only those 192 bits matter that, times the significand, lie between 4 and 2**-137.
  Two bits above the point are the quadrant; the fraction, read as signed, is turned into a double and scaled by pi/2.
"""

from __future__ import annotations

from functools import lru_cache

from sod2jax.lowering.emit import Lanes
from sod2jax.lowering.reals import Bits, Mask, Real

TWO_PI = 0.6366197723675814  # 2 / pi
PI_2_PARTS = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33)
LIMIT = {"float": 2.0**28, "double": 2.0**20}


def reduce(x: Real) -> tuple[Bits, Real]:
    """(quadrant as i32, rest as double in about [-pi/4, pi/4])."""
    m = x.m
    wide = x.widen() if x.s == "float" else x
    n = (wide * TWO_PI).round()
    r = wide
    for part in PI_2_PARTS[: 2 if x.s == "float" else 3]:
        r = n.fma(-part, r)
    q = n.to_int("i32")
    rare = ~(abs(x) < LIMIT[x.s])
    q_out, r_out = m.branch_if(m.any(rare.x), ("i32", "double"), (q.x, r.x), lambda: _reduce_each(m, rare, wide, q.x, r.x))
    return Bits(m, "i32", q_out), Real(m, "double", r_out)


def _reduce_each(m: Lanes, rare: Mask, x: Real, q: str, r: str) -> tuple[str, str]:
    m.names.functions.setdefault("rem_pio2", _rem_pio2())
    one = Lanes(m.names, m.scope, 1, m.target)
    new_q, new_r = "poison", "poison"
    for i in range(m.n):
        both = one.ins(f"call {{ i32, double }} @rem_pio2(double {m.extract('double', x.x, i)})")
        new_q = m.insert("i32", new_q, one.ins(f"extractvalue {{ i32, double }} {both}, 0"), i)
        new_r = m.insert("double", new_r, one.ins(f"extractvalue {{ i32, double }} {both}, 1"), i)
    return m.select(rare.x, "i32", new_q, q), m.select(rare.x, "double", new_r, r)


def per_lane_fmod(m: Lanes, rare: Mask, a: Real, b: Real, r: Real) -> str:
    one = Lanes(m.names, m.scope, 1, m.target)
    out = "poison"
    for i in range(m.n):
        x, y = m.extract("double", a.x, i), m.extract("double", b.x, i)
        out = m.insert("double", out, one.bin("frem", "double", x, y), i)
    return m.select(rare.x, "double", out, r.x)


# The bits of 2/pi after the point, by `mpmath.floor(2 / mpmath.pi * 2**1216)`.
TWO_OVER_PI = (
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e006492eea09d1921cfe1deb1cb129a73e"
    "e88235f52ebb4484e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f6d367ecf27cb09b7"
    "4f463f669e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6bab"
)


@lru_cache(maxsize=1)
def _rem_pio2() -> str:
    """double -> { quadrant, rest }, for |x| >= 2**-10 (less gives anything); NaN for what is not finite."""
    words = ["0"] + [f"u0x{TWO_OVER_PI[i : i + 16]}" for i in range(0, len(TWO_OVER_PI), 16)]
    table = ", ".join(f"i64 {w}" for w in words)
    return _REM_PIO2.replace("TABLE", f"[{len(words)} x i64] [{table}]")


# Word k of the table holds bits 64*(k-1) .. 64*k - 1 after the point of 2/pi; word 0 is zero. x = m * 2**e.
_REM_PIO2 = """@two_over_pi = private unnamed_addr constant TABLE
define internal { i32, double } @rem_pio2(double %x) #1 {
  %b = bitcast double %x to i64
  %field = lshr i64 %b, 52
  %biased = and i64 %field, 2047
  %finite = icmp ne i64 %biased, 2047
  %large = icmp uge i64 %biased, 1013
  %usable = and i1 %finite, %large
  %exponent = select i1 %usable, i64 %biased, i64 1075
  %fraction = and i64 %b, 4503599627370495
  %m = or i64 %fraction, 4503599627370496
  %start = sub i64 %exponent, 1013
  %word = lshr i64 %start, 6
  %shift = and i64 %start, 63
  %shift128 = zext i64 %shift to i128
  %p0 = getelementptr i64, ptr @two_over_pi, i64 %word
  %p1 = getelementptr i64, ptr %p0, i64 1
  %p2 = getelementptr i64, ptr %p0, i64 2
  %p3 = getelementptr i64, ptr %p0, i64 3
  %w0 = load i64, ptr %p0
  %w1 = load i64, ptr %p1
  %w2 = load i64, ptr %p2
  %w3 = load i64, ptr %p3
  %a = call i64 @llvm.fshl.i64(i64 %w0, i64 %w1, i64 %shift)
  %bb = call i64 @llvm.fshl.i64(i64 %w1, i64 %w2, i64 %shift)
  %c = call i64 @llvm.fshl.i64(i64 %w2, i64 %w3, i64 %shift)
  %m128 = zext i64 %m to i128
  %b128 = zext i64 %bb to i128
  %c128 = zext i64 %c to i128
  %pc = mul i128 %m128, %c128
  %pb = mul i128 %m128, %b128
  %pch = lshr i128 %pc, 64
  %t = add i128 %pb, %pch
  %th = lshr i128 %t, 64
  %thi = trunc i128 %th to i64
  %ma = mul i64 %m, %a
  %hi = add i64 %ma, %thi
  %mid = trunc i128 %t to i64
  %lo = trunc i128 %pc to i64
  %q0 = lshr i64 %hi, 62
  %f1 = call i64 @llvm.fshl.i64(i64 %hi, i64 %mid, i64 2)
  %f0 = call i64 @llvm.fshl.i64(i64 %mid, i64 %lo, i64 2)
  %below = icmp slt i64 %f1, 0
  %up = zext i1 %below to i64
  %q1 = add i64 %q0, %up
  %f1w = zext i64 %f1 to i128
  %f0w = zext i64 %f0 to i128
  %f1s = shl i128 %f1w, 64
  %f = or i128 %f1s, %f0w
  %fneg = sub i128 0, %f
  %g = select i1 %below, i128 %fneg, i128 %f
  %zeros = call i128 @llvm.ctlz.i128(i128 %g, i1 false)
  %full = icmp ult i128 %zeros, 128
  %by = select i1 %full, i128 %zeros, i128 0
  %normal = shl i128 %g, %by
  %toph = lshr i128 %normal, 64
  %top = trunc i128 %toph to i64
  %d = uitofp i64 %top to double
  %z = trunc i128 %by to i64
  %scale.e = sub i64 959, %z
  %scale.b = shl i64 %scale.e, 52
  %scale = bitcast i64 %scale.b to double
  %d1 = fmul double %d, 0x3FF921FB54442D18
  %d2 = fmul double %d1, %scale
  %d3 = fneg double %d2
  %negative = icmp slt i64 %b, 0
  %flip = xor i1 %negative, %below
  %r = select i1 %flip, double %d3, double %d2
  %qneg = sub i64 0, %q1
  %q2 = select i1 %negative, i64 %qneg, i64 %q1
  %q3 = trunc i64 %q2 to i32
  %q4 = and i32 %q3, 3
  %rest = select i1 %finite, double %r, double 0x7FF8000000000000
  %o1 = insertvalue { i32, double } poison, i32 %q4, 0
  %o2 = insertvalue { i32, double } %o1, double %rest, 1
  ret { i32, double } %o2
}"""
