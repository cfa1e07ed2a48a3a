"""Scalar functions in LLVM: one table of rules, (name, kinds of the operand) -> instructions.

* The semantics are XLA's: max and min give NaN if either operand is, integers wrap, x / 0 is -1 (all bits set), x rem 0 is x,
  INT_MIN / -1 is INT_MIN, shifts by the width or more give 0 (or the sign), float to integer saturates and NaN gives 0.
* A rule gets a `Lanes`, the `Type` of its operands and their names, and returns a name. It sees narrow floats as f32; the result
  is rounded afterwards unless the function is `EXACT`, that is, gives one of its operands or an integer that they can hold.
* `contract` lets LLVM fuse a multiplication with an addition, as XLA's CPU compiler does.
"""

from __future__ import annotations

from sod2jax.errors import UnsupportedError
from sod2jax.lowering import mathfns, narrow
from sod2jax.lowering.emit import F32, Lanes, Type, float_bits

EXACT = frozenset(
    """neg abs sign floor ceil round_even round_away max min select nextafter bitcast convert is_finite
    eq ne lt le gt ge and or xor not""".split()  # noqa: SIM905
)
COMPARISONS = {
    # name: (float, signed, unsigned predicate)
    "eq": ("oeq", "eq", "eq"),
    "ne": ("une", "ne", "ne"),
    "lt": ("olt", "slt", "ult"),
    "le": ("ole", "sle", "ule"),
    "gt": ("ogt", "sgt", "ugt"),
    "ge": ("oge", "sge", "uge"),
}


def _bin(op):
    return lambda m, t, a, b: m.bin(op, t.reg, a, b)


def _intrinsic(name, extra=""):
    return lambda m, t, *args: m.call(name, t.reg, *args, extra=extra)


def _sign_float(m: Lanes, t: Type, x):
    nonzero = m.cmp("one", t.reg, x, m.flt(0.0, t.reg))  # false for NaN and zeros, which are their own sign
    return m.select(nonzero, t.reg, m.copysign(t.reg, m.flt(1.0, t.reg), x), x)


def _sign_int(m: Lanes, t: Type, x):
    zero = m.lit(0, t.reg)
    positive = m.cast("zext", "i1", m.cmp("sgt" if t.kind == "i" else "ne", t.reg, x, zero), t.reg)
    if t.kind == "u":
        return positive
    return m.bin("or", t.reg, positive, m.cast("sext", "i1", m.cmp("slt", t.reg, x, zero), t.reg))


def _divide(m: Lanes, t: Type, a, b, rem: bool):
    """Integer division whose operands are first made harmless, for LLVM's is undefined (and traps) on 0 and INT_MIN / -1."""
    zero, one, ones = m.lit(0, t.reg), m.lit(1, t.reg), m.lit(-1, t.reg)
    by_zero = m.cmp("eq", t.reg, b, zero)
    safe = m.select(by_zero, t.reg, one, b)
    if t.kind == "i":
        negates = m.cmp("eq", t.reg, b, ones)
        safe = m.select(negates, t.reg, one, safe)
    if t.bits <= 32:
        q = _quotient_by_float(m, t, a, safe)
    else:
        q = m.bin("sdiv" if t.kind == "i" else "udiv", t.reg, a, safe)
    if rem:
        r = m.bin("sub", t.reg, a, m.bin("mul", t.reg, q, safe))
        return m.select(by_zero, t.reg, a, r)  # by -1 it is 0, as by 1
    if t.kind == "i":
        q = m.select(negates, t.reg, m.bin("sub", t.reg, zero, a), q)
    return m.select(by_zero, t.reg, ones, q)


def _quotient_by_float(m: Lanes, t: Type, a, b):
    """Up to 32 bits the quotient of doubles, truncated, is exact; no vector ISA divides integers."""
    if m.n == 1:
        return m.bin("sdiv" if t.kind == "i" else "udiv", t.reg, a, b)
    up, down = ("sitofp", "fptosi") if t.kind == "i" else ("uitofp", "fptoui")
    q = m.bin("fdiv", "double", m.cast(up, t.reg, a, "double"), m.cast(up, t.reg, b, "double"))
    return m.cast(down, "double", q, t.reg)


def _shift(op):
    def rule(m: Lanes, t: Type, x, count):
        last = m.lit(t.bits - 1, t.reg)
        over = m.cmp("ugt", t.reg, count, last)
        if op == "ashr":
            return m.bin("ashr", t.reg, x, m.select(over, t.reg, last, count))
        return m.select(over, t.reg, m.lit(0, t.reg), m.bin(op, t.reg, x, m.select(over, t.reg, m.lit(0, t.reg), count)))

    return rule


def _power_int(m: Lanes, t: Type, x, n):
    """Square and multiply over the bits of the exponent; x**n for n < 0 is 0 unless x is 1 or -1."""
    one, zero = m.lit(1, t.reg), m.lit(0, t.reg)
    out, base, rest = one, x, n
    for _ in range(t.bits):
        odd = m.cast("trunc", t.reg, rest, "i1") if t.bits > 1 else rest
        out = m.select(odd, t.reg, m.bin("mul", t.reg, out, base), out)
        base = m.bin("mul", t.reg, base, base)
        rest = m.bin("lshr", t.reg, rest, one)
    if t.kind == "u":
        return out
    unit = m.cmp("ule", t.reg, m.bin("add", t.reg, x, one), m.lit(2, t.reg))  # x is -1, 0 or 1
    unit = m.bin("and", "i1", unit, m.cmp("ne", t.reg, x, zero))
    negative = m.cmp("slt", t.reg, n, zero)
    odd = m.cast("trunc", t.reg, n, "i1")
    return m.select(negative, t.reg, m.select(unit, t.reg, m.select(odd, t.reg, x, one), zero), out)


def _nextafter(m: Lanes, t: Type, x, y):
    """By integers: towards y is a smaller magnitude if x is the larger one, or of the other sign. Denormals are numbers here."""
    i = f"i{t.mem_bits}"
    a, b, zero, one = _bits(m, t, x), _bits(m, t, y), m.lit(0, i), m.lit(1, i)
    sign, rest = m.lit(-(1 << t.bits - 1), i), m.lit((1 << t.bits - 1) - 1, i)
    size_a, size_b = m.bin("and", i, a, rest), m.bin("and", i, b, rest)
    other_sign = m.cmp("slt", i, m.bin("xor", i, a, b), zero)
    down = m.bin("or", "i1", other_sign, m.cmp("ugt", i, size_a, size_b))
    stepped = m.bin("add", i, a, m.select(down, i, m.lit(-1, i), one))
    from_zero = m.bin("or", i, m.bin("and", i, b, sign), one)
    out = m.select(m.cmp("eq", i, size_a, zero), i, from_zero, stepped)
    same = m.bin("or", "i1", m.cmp("eq", i, a, b), m.cmp("eq", i, m.bin("or", i, size_a, size_b), zero))
    out = decode(m, t, m.cast("bitcast", i, m.select(same, i, b, out), t.mem))
    nan = m.cmp("uno", t.reg, x, y)
    return m.select(nan, t.reg, m.bin("fadd", t.reg, x, y), out)


def _bits(m: Lanes, t: Type, x: str) -> str:
    """A float as the integer that lies in memory."""
    return m.cast("bitcast", t.mem, encode(m, t, x), f"i{t.mem_bits}")


def _compare(name):
    ordered, signed, unsigned = COMPARISONS[name]
    return lambda m, t, a, b: m.cmp({"f": ordered, "i": signed}.get(t.kind, unsigned), t.reg, a, b)


def _math(function):
    return lambda m, t, *args: function(m, t.reg, *args)


RULES = {
    ("neg", "f"): lambda m, t, x: m.fneg(t.reg, x),
    ("neg", "iu"): lambda m, t, x: m.bin("sub", t.reg, m.lit(0, t.reg), x),
    ("abs", "f"): _intrinsic("fabs"),
    ("abs", "i"): _intrinsic("abs", ", i1 false"),
    ("abs", "ub"): lambda m, t, x: x,
    ("sign", "f"): _sign_float,
    ("sign", "iu"): _sign_int,
    ("floor", "f"): _intrinsic("floor"),
    ("ceil", "f"): _intrinsic("ceil"),
    ("round_even", "f"): _intrinsic("roundeven"),
    ("round_away", "f"): _intrinsic("round"),
    ("not", "iub"): lambda m, t, x: m.bin("xor", t.reg, x, m.lit(-1, t.reg)),
    ("is_finite", "f"): lambda m, t, x: m.cmp("one", t.reg, m.fabs(t.reg, x), m.flt(float("inf"), t.reg)),
    ("popcount", "iu"): _intrinsic("ctpop"),
    ("clz", "iu"): _intrinsic("ctlz", ", i1 false"),
    ("square", "f"): lambda m, t, x: m.bin("fmul contract", t.reg, x, x),
    ("square", "iu"): lambda m, t, x: m.bin("mul", t.reg, x, x),
    ("reciprocal", "f"): lambda m, t, x: m.bin("fdiv", t.reg, m.flt(1.0, t.reg), x),
    ("add", "f"): _bin("fadd contract"),
    ("add", "iu"): _bin("add"),
    ("add", "b"): _bin("or"),
    ("sub", "f"): _bin("fsub contract"),
    ("sub", "iu"): _bin("sub"),
    ("mul", "f"): _bin("fmul contract"),
    ("mul", "iu"): _bin("mul"),
    ("mul", "b"): _bin("and"),
    ("div", "f"): _bin("fdiv"),
    ("div", "iu"): lambda m, t, a, b: _divide(m, t, a, b, rem=False),
    ("rem", "f"): _math(mathfns.fmod),
    ("rem", "iu"): lambda m, t, a, b: _divide(m, t, a, b, rem=True),
    ("max", "f"): _intrinsic("maximum"),
    ("max", "i"): _intrinsic("smax"),
    ("max", "u"): _intrinsic("umax"),
    ("max", "b"): _bin("or"),
    ("min", "f"): _intrinsic("minimum"),
    ("min", "i"): _intrinsic("smin"),
    ("min", "u"): _intrinsic("umin"),
    ("min", "b"): _bin("and"),
    ("pow", "iu"): _power_int,
    ("and", "iub"): _bin("and"),
    ("or", "iub"): _bin("or"),
    ("xor", "iub"): _bin("xor"),
    ("shift_left", "iu"): _shift("shl"),
    ("shift_right_logical", "iu"): _shift("lshr"),
    ("shift_right_arithmetic", "iu"): _shift("ashr"),
    ("nextafter", "f"): _nextafter,
    ("fma", "f"): _intrinsic("fma"),
    ("fma", "iu"): lambda m, t, a, b, c: m.bin("add", t.reg, m.bin("mul", t.reg, a, b), c),
    **{(name, "fiub"): _compare(name) for name in COMPARISONS},
    **{(name, "f"): _math(function) for name, function in mathfns.FUNCTIONS.items()},
}
_BY_KIND = {(name, kind): rule for (name, kinds), rule in RULES.items() for kind in kinds}

# Rough instruction counts of the functions that are not one instruction: how far a loop body is unrolled depends on them.
COSTS = {**dict.fromkeys(mathfns.FUNCTIONS, 20), "sqrt": 4, "rsqrt": 6, "div": 3, "rem": 12, "pow": 80, "max": 2, "min": 2}


def apply(m: Lanes, name: str, result: Type, args: list[str], types: list[Type]) -> str:
    """The value of scalar function `name`, whose operands have `types`, as a register of type `result`."""
    if name == "select":
        return m.select(args[0], result.reg, args[1], args[2])
    if name == "convert":
        return convert(m, types[0], result, args[0])
    if name == "bitcast":
        return decode(m, result, _reinterpret(m, types[0], result, args[0]))
    rule = _BY_KIND.get((name, types[0].kind))
    if rule is None:
        raise UnsupportedError(f"no machine code for {name} of {types[0].name} yet")
    out = rule(m, types[0], *args)
    return round_to(m, result, out) if result.small and name not in EXACT else out


def _reinterpret(m: Lanes, src: Type, dst: Type, x: str) -> str:
    if src.bits != dst.bits or "b" in (src.kind, dst.kind):
        raise UnsupportedError(f"bitcast from {src.name} to {dst.name}: only between types of one width")
    return m.cast("bitcast", src.mem, encode(m, src, x), dst.mem)


def convert(m: Lanes, src: Type, dst: Type, x: str) -> str:
    """Between dtypes, as XLA converts."""
    if src is dst:
        return x
    if dst.kind == "b":
        return m.cmp("une" if src.kind == "f" else "ne", src.reg, x, m.lit(float_bits(0.0) if src.kind == "f" else 0, src.reg))
    if src.kind == "f" and dst.kind == "f":
        return _convert_float(m, src, dst, x)
    if src.kind == "f":
        name = "fptosi.sat" if dst.kind == "i" else "fptoui.sat"
        return m.ins(f"call {m.vt(dst.reg)} @llvm.{name}.{m.suffix(dst.reg)}.{m.suffix(src.reg)}({m.vt(src.reg)} {x})")
    if dst.kind == "f":
        out = m.cast("sitofp" if src.kind == "i" else "uitofp", src.reg, x, dst.reg)
        return round_to(m, dst, out) if dst.small else out
    if src.bits == dst.bits:
        return x
    widen = "sext" if src.kind == "i" else "zext"
    return m.cast(widen if src.bits < dst.bits else "trunc", src.reg, x, dst.reg)


def _convert_float(m: Lanes, src: Type, dst: Type, x: str) -> str:
    if dst.bits == 64:
        return m.cast("fpext", "float", x, "double")
    if src.bits == 64:
        x = _round_to_odd(m, x) if dst.small else m.cast("fptrunc", "double", x, "float")
    elif dst.bits == 32:
        return x
    return round_to(m, dst, x) if dst.small else x


def _round_to_odd(m: Lanes, x: str) -> str:
    """f64 to f32 so that rounding once more, to a half type, is right: truncated, and odd where something was cut off."""
    near = m.cast("fptrunc", "double", x, "float")
    back = m.cast("fpext", "float", near, "double")
    inexact = m.cmp("one", "double", back, x)
    beyond = m.cmp("ogt", "double", m.fabs("double", back), m.fabs("double", x))
    bits = m.bits("float", near)
    bits = m.bin("sub", "i32", bits, m.cast("zext", "i1", beyond, "i32"))
    return m.from_bits("float", m.bin("or", "i32", bits, m.cast("zext", "i1", inexact, "i32")))


def round_to(m: Lanes, t: Type, x: str) -> str:
    """An f32 rounded to the nearest number of a narrower type, ties to even, still as f32."""
    if t.bits <= 8:
        return narrow.decode(m, t, narrow.encode(m, t, x))
    if t.name == "float16":
        return m.cast("fpext", "half", m.cast("fptrunc", "float", x, "half"), "float")
    bits = m.bits("float", x)
    odd = m.bin("and", "i32", m.bin("lshr", "i32", bits, m.lit(16, "i32")), m.lit(1, "i32"))
    up = m.bin("add", "i32", bits, m.bin("add", "i32", odd, m.lit(0x7FFF, "i32")))
    up = m.select(m.cmp("uno", "float", x, x), "i32", m.bin("or", "i32", bits, m.lit(0x400000, "i32")), up)
    return m.from_bits("float", m.bin("and", "i32", up, m.lit(-65536, "i32")))


def encode(m: Lanes, t: Type, x: str) -> str:
    """Register to memory."""
    if t.kind == "b":
        return m.cast("zext", "i1", x, "i8")
    if t.name == "float16":
        return m.cast("fptrunc", "float", x, "half")
    if t.name == "bfloat16":
        return m.cast("trunc", "i32", m.bin("lshr", "i32", m.bits("float", x), m.lit(16, "i32")), "i16")
    if t.small:
        return narrow.encode(m, t, x)
    if t.kind in "iu" and t.bits < 8:
        return m.cast("sext" if t.kind == "i" else "zext", t.reg, x, t.mem)
    return x


def decode(m: Lanes, t: Type, x: str) -> str:
    """Memory to register."""
    if t.kind == "b":
        return m.cmp("ne", "i8", x, m.lit(0, "i8"))
    if t.name == "float16":
        return m.cast("fpext", "half", x, "float")
    if t.name == "bfloat16":
        wide = m.bin("shl", "i32", m.cast("zext", "i16", x, "i32"), m.lit(16, "i32"))
        return m.from_bits("float", wide)
    if t.small:
        return narrow.decode(m, t, x)
    if t.kind in "iu" and t.bits < 8:
        return m.cast("trunc", t.mem, x, t.reg)
    return x


def fold(m: Lanes, op: str, t: Type, a: str, b: str) -> str:
    """One step of a reduction. As `apply`, but a maximum may return either of two zeros, and half types are kept in f32."""
    if op == "set":
        return b
    if t.kind == "f" and op in ("max", "min") and m.target.is_x86:
        better = m.select(m.cmp("ogt" if op == "max" else "olt", t.reg, a, b), t.reg, a, b)
        return m.select(m.cmp("uno", t.reg, a, a), t.reg, a, better)  # a NaN in b is chosen already
    return _BY_KIND[op, t.kind](m, F32 if t.small else t, a, b)
