"""Mathematical functions as vector code: `FUNCTIONS[name](lanes, type, operand...)` for f32 and f64.

* exp: x = n ln2 + r, a polynomial in r, scaled by 2**n (one instruction on AVX-512), denormal results rounded once.
* log: x = m 2**e with m in [2/3, 4/3); f32 by a polynomial in m - 1, f64 by atanh's series in f / (2 + f), after fdlibm.
* tanh, erf: a polynomial near 0, else by exp. erfc: exp(-x*x) times a polynomial in (x - 4) / (x + 4), after M. Shepherd and
  J. Laframboise (1981), with the rounding error of x*x put back.
* sin, cos, tan: reduced by pi/2 in f64 with fma (Cody and Waite); beyond 2**28 (f32) or 2**20 (f64) by Payne and Hanek in
  `trigonometry`, behind a branch that is rarely taken.
* The rest of f32 is computed in f64 with short polynomials ("s") and rounded, so its error is half an ulp and a little.
* pow: log2 with 20 bits more than f64 has, as an unevaluated sum.
* Denormals are computed with, never flushed. Tests hold every function to 2 ulp in f32 and 4 in f64.
"""

from __future__ import annotations

from sod2jax.lowering import trigonometry
from sod2jax.lowering.emit import Lanes
from sod2jax.lowering.reals import Bits, Real, power_of_2

INF, NAN = float("inf"), float("nan")
LOG2_E = 1.4426950408889634
LN2 = {"float": (0.6931471824645996, -1.904654323148236e-09), "double": (0.6931471805599453, 2.3190468138462996e-17)}
PI_2 = (1.5707963267948966, 6.123233995736766e-17)
PI = (3.141592653589793, 1.2246467991473532e-16)

# What exp's argument is clamped to: beyond, the result is inf or 0 anyway, and 2**n stays within two factors.
EXP_RANGE = {"float": (-104.0, 89.0), "double": (-746.0, 710.0)}
EXP2_RANGE = {"float": (-151.0, 129.0), "double": (-1076.0, 1025.0)}


# Exponentials. `kind` is a precision of the polynomials: "f" in f32, "d" in f64, "s" in f64 for an f32 result.


def _scale(p: Real, n: Real) -> Real:
    """p * 2**n for a whole n."""
    width = 512 // (32 if p.s == "float" else 64)
    if p.m.target.tail == "mask" and p.m.n == width:
        suffix, mask = ("ps", "i16") if p.s == "float" else ("pd", "i8")
        t = p.m.vt(p.s)
        call = f"call {t} @llvm.x86.avx512.mask.scalef.{suffix}.512({t} {p.x}, {t} {n.x}, {t} {p.x}, {mask} -1, i32 4)"
        return p.like(p.m.ins(call))
    return p.times_power_of_2(n.to_int("i32"))


def _exp_parts(x: Real, kind: str) -> tuple[Real, Real]:
    """(n, p) with exp(x) = 2**n * (1 + p)."""
    hi, lo = LN2[x.s]
    n = (x * LOG2_E).round()
    r = n.fma(-lo, n.fma(-hi, x))
    return n, (r * r).fma(r.poly("exp", kind), r)


def exp(x: Real, kind: str, low_only=False, plus: Real | None = None, scale: int = 0) -> Real:
    """e**(x + plus) * 2**scale, `plus` being small. `low_only`: x is known not to be large."""
    low, high = EXP_RANGE[x.s]
    x = x.at_least(low)
    if not low_only:
        x = x.at_most(high - scale)
    n, p = _exp_parts(x, kind)
    if plus is not None:
        p = (p + 1.0).fma(plus, p)
    return _scale(p + 1.0, n + float(scale) if scale else n)


def exp2(x: Real, kind: str) -> Real:
    low, high = EXP2_RANGE[x.s]
    x = x.at_least(low).at_most(high)
    n = x.round()
    r = (x - n) * LN2[x.s][0]
    return _scale((r * r).fma(r.poly("exp", kind), r) + 1.0, n)


def expm1(x: Real, kind: str) -> Real:
    low, high = (-18.0, 89.0) if x.s == "float" else (-40.0, 710.0)
    n, p = _exp_parts(x.at_least(low).at_most(high), kind)
    t = power_of_2(n.to_int("i32") - 1, x.s)  # half of 2**n, which need not be finite
    half = t.fma(p, t - 0.5)
    tiny = abs(x) < (1e-30 if x.s == "float" else 1e-290)
    return tiny.where(x, half + half)


def logistic(x: Real, kind: str) -> Real:
    """q = e / (1 + e) for x < 0, less what rounding 1 + e added; 1 - q for the others."""
    e = exp(-abs(x), kind, low_only=True)
    s = e + 1.0
    q = e / s
    rest = 1.0 - q
    lost = (s - 1.0) - e
    return (x < 0.0).where((q * rest).fma(lost, q), rest)


def tanh(x: Real, kind: str) -> Real:
    a, z = abs(x), x * x
    small = (x * z).fma(z.poly("tanh", kind), x)
    big = 1.0 - x.const(2.0) / (exp((a + a).at_most(60.0), kind, low_only=True) + 1.0)
    return (a < 0.625).where(small, big).with_sign_of(x)


def sinh(x: Real, kind: str) -> Real:
    a, z = abs(x), x * x
    e = exp(a, kind, scale=-1)
    small = (x * z).fma(z.poly("sinh", kind), x)
    return (a < 1.0).where(small, (e - 0.25 / e).with_sign_of(x))


def cosh(x: Real, kind: str) -> Real:
    e = exp(abs(x), kind, scale=-1)
    return e + 0.25 / e


# Logarithms.


def _split(x: Real) -> tuple[Real, Real]:
    """(e, m) with x = m * 2**e, m in [2/3, 4/3), for a positive x."""
    if x.s == "float":
        two_thirds, exponent, up, tiny = 0x3F2AAAAB, -0x800000, 23, 2.0**-126
    else:
        two_thirds, exponent, up, tiny = 0x3FE5555555555555, -(1 << 52), 52, 2.0**-1022
    denormal = x < tiny
    x = denormal.where(x * 2.0**up, x)
    bits = x.bits()
    e = (bits - two_thirds) & exponent
    m = (bits - e).reinterpret()
    e = (e >> (23 if x.s == "float" else 52)).resize("i32").to_real(x.s)
    return denormal.where(e - float(up), e), m


def _log_edges(x: Real, y: Real) -> Real:
    """y, but for x = 0, below 0, infinite or NaN."""
    y = (x > 0.0).where(y, x.equals(0.0).where(x.const(-INF), NAN))
    return _pass_inf_nan(x, y)


def _pass_inf_nan(x: Real, y: Real) -> Real:
    return x._cmp("ueq", INF).where(x, y)


def _log_f32(e: Real, f: Real) -> Real:
    """e ln2 + log(1 + f)."""
    z = f * f
    p = f.poly("log1p", "f").fma(f, -0.5)
    return e.fma(LN2["float"][0], p.fma(z, f))


def _log_f64(e: Real, f: Real, kind: str, low: Real | float = 0.0) -> Real:
    """e ln2 + log(1 + f) + low."""
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    tail = s * (half + z * z.poly("log", kind))
    hi, lo = 0.6931471803691238, 1.9082149292705877e-10  # hi has 33 bits: its product with e is exact
    tail = e.fma(lo, tail) + low if kind == "d" else e.fma(lo, tail + low)
    return e.fma(hi, f - (half - tail))


def log(x: Real, kind: str) -> Real:
    e, m = _split(x)
    f = m - 1.0
    return _log_edges(x, _log_f32(e, f) if kind == "f" else _log_f64(e, f, kind))


def log1p(x: Real, kind: str) -> Real:
    u = x + 1.0
    e, m = _split(u)
    near = e.equals(0.0)
    # What rounding 1 + x lost, relative to u; for e = 0 the argument itself is used.
    lost = (x < 1.0).where(x - (u - 1.0), 1.0 - (u - x)) / u
    lost = near.where(x.const(0.0), lost)
    f = near.where(x, m - 1.0)
    y = _log_f32(e, f) + lost if kind == "f" else _log_f64(e, f, kind, lost)
    return _pass_inf_nan(x, _log_edges(u, (abs(x) < 1e-30).where(x, y)))


def asinh(x: Real, kind: str) -> Real:
    a = abs(x)
    z = a * a
    y = log1p(a + z / ((z + 1.0).sqrt() + 1.0), kind)
    return (a < 1e9).where(y, log(a, kind) + LN2["double"][0]).with_sign_of(x)


def acosh(x: Real, kind: str) -> Real:
    t = x - 1.0
    y = log1p(t + t.fma(t, t + t).sqrt(), kind)
    y = (x < 1e9).where(y, log(x, kind) + LN2["double"][0])
    return (x < 1.0).where(x.const(NAN), y)


def atanh(x: Real, kind: str) -> Real:
    a = abs(x)
    y = log1p((a + a) / (1.0 - a), kind) * 0.5
    y = (abs(x) < 1e-150).where(a, y)
    return (a <= 1.0).where(y, NAN).with_sign_of(x)


# The error function.


def erf_f32(x: Real) -> Real:
    a, z = abs(x), x * x
    small = z.poly("erf", "f").fma(x, x)
    t = a.at_most(4.0)
    big = 1.0 - exp(-t.poly("log_erfc", "f"), "f", low_only=True)
    return (a < 0.92).where(small, big.with_sign_of(x))


def _erfc_positive(a: Real, kind: str) -> Real:
    """erfc of a >= 0."""
    a = a.at_most(28.0)
    t = (a - 4.0) / (a + 4.0)
    z = a * a
    lost = a.fma(a, -z)
    return exp(-z, kind, low_only=True, plus=-lost) * t.poly("erfcx", kind) / a.fma(2.0, 1.0)


def erfc(x: Real, kind: str) -> Real:
    y = _erfc_positive(abs(x), kind)
    y = (x < 0.0).where(2.0 - y, y)
    if kind == "s":
        return y
    near_0 = 1.0 - (x * x).poly("erf", "d").fma(x, x)
    return (abs(x) < 0.5).where(near_0, y)


def erf_f64(x: Real) -> Real:
    a, z = abs(x), x * x
    small = z.poly("erf", "d").fma(x, x)
    return (a < 1.0).where(small, 1.0 - _erfc_positive(a, "d")).with_sign_of(x)


# Trigonometry.


def _sin_cos(x: Real, kind: str) -> tuple[Bits, Real, Real]:
    """(quadrant, sin, cos) of the rest after taking whole multiples of pi/2 off."""
    q, r = trigonometry.reduce(x)
    if kind == "f":
        r = r.narrow()
    z = r * r
    sin = (r * z).fma(z.poly("sin", kind), r)
    cos = (z * z).fma(z.poly("cos", kind), z.fma(-0.5, 1.0))
    return q, sin, cos


def _quadrant(q: Bits, even: Real, odd: Real) -> Real:
    y = (q & 1).cmp("eq", 0).where(even, odd)
    sign = (q & 2) << 30
    width = "i32" if y.s == "float" else "i64"
    if width == "i64":
        sign = Bits(sign.m, "i64", sign.m.cast("zext", "i32", sign.x, "i64")) << 32
    return (y.bits() ^ sign).reinterpret()


def sin(x: Real, kind: str) -> Real:
    q, s, c = _sin_cos(x, kind)
    y = _quadrant(q, s, c)
    return x.equals(0.0).where(x, y) if kind != "f" else (abs(x) < 1e-30).where(x, y)


def cos(x: Real, kind: str) -> Real:
    q, s, c = _sin_cos(x, kind)
    return _quadrant(q + 1, s, c)


def tan(x: Real, kind: str) -> Real:
    q, s, c = _sin_cos(x, kind)
    odd = (q & 1).cmp("ne", 0)
    return x.equals(0.0).where(x, odd.where(-c, s) / odd.where(s, c))


def _atan_reduced(t: Real, kind: str) -> Real:
    z = t * t
    return (t * z).fma(z.poly("atan", kind), t)


def _atan_quotient(n: Real, d: Real, kind: str) -> Real:
    """atan(n / d) for n, d >= 0, not both 0 or infinite, in [0, pi/2]."""
    low, high = n < d * 0.41421356237309503, n > d * 2.414213562373095
    top = low.where(n, high.where(-d, n - d))
    bottom = low.where(d, high.where(n, n + d))
    y = _atan_reduced(top / bottom, kind)
    base = low.where(n.const(0.0), high.where(n.const(PI_2[0]), PI_2[0] / 2))
    rest = low.where(n.const(0.0), high.where(n.const(PI_2[1]), PI_2[1] / 2))
    return base + (y + rest)


def atan(x: Real, kind: str) -> Real:
    a = abs(x)
    y = _atan_quotient(a.at_most(1e300), a.const(1.0), kind)
    return y.with_sign_of(x)


def atan2(y: Real, x: Real, kind: str) -> Real:
    b, a = abs(y), abs(x)
    both = lambda v: b.equals(v) & a.equals(v)
    # Scaled into the middle of the range, so that no sum or product leaves it.
    big, small = (b > 1e300) | (a > 1e300), (b < 1e-290) & (a < 1e-290)
    factor = lambda v: big.where(v * 2.0**-60, small.where(v * 2.0**60, v))
    b2, a2 = factor(b), factor(a)
    b2, a2 = (b.equals(INF) & (a < INF)).where(b.const(1.0), b2), (b.equals(INF) & (a < INF)).where(a.const(0.0), a2)
    a2, b2 = (a.equals(INF) & (b < INF)).where(a.const(1.0), a2), (a.equals(INF) & (b < INF)).where(b.const(0.0), b2)
    t = _atan_quotient(b2, a2, kind)
    t = both(0.0).where(t.const(0.0), both(INF).where(t.const(PI[0] / 4), t))
    negative = x.bits().cmp("slt", 0)
    t = negative.where(PI[0] - (t - PI[1]), t)
    return (y.is_nan() | x.is_nan()).where(x + y, t.with_sign_of(y))


def asin(x: Real, kind: str) -> Real:
    a = abs(x)
    large = a > 0.5
    z = large.where((1.0 - a) * 0.5, x * x)
    s = large.where(z.sqrt(), a)
    p = (s * z).fma(z.poly("asin", kind), s)
    y = large.where(PI_2[0] - (p + p - PI_2[1]), p)
    return y.with_sign_of(x)


def acos(x: Real, kind: str) -> Real:
    a = abs(x)
    large = a > 0.5
    z = large.where((1.0 - a) * 0.5, x * x)
    s = large.where(z.sqrt(), x)
    p = (s * z).fma(z.poly("asin", kind), s)
    near = (x > 0.0).where(p + p, PI[0] - (p + p - PI[1]))
    return large.where(near, PI_2[0] - (p - PI_2[1]))


# Powers and roots.


def cbrt(x: Real, kind: str) -> Real:
    """A guess from a third of the exponent, then Halley's iteration."""
    a = abs(x)
    tiny, huge = a < 2.0**-1000, a > 2.0**1000
    a = tiny.where(a * 2.0**54, huge.where(a * 2.0**-54, a))
    high = (a.bits() >> 32).resize("i32").to_real("double") * (1.0 / 3.0)
    y = ((high.to_int("i32") + 715094163).resize("i64") << 32).reinterpret()
    for _ in range(3 if kind == "d" else 2):
        cube = y * y * y
        y = y * (a.fma(2.0, cube) / cube.fma(2.0, a))
    if kind == "d":
        square = y * y  # one step of Newton's, on the residual, for the last bits
        residual = square.fma(y, -a) + square.fma(y.const(1.0), -square) * y
        y = y - residual / (square * 3.0)
    y = tiny.where(y * 2.0**-18, huge.where(y * 2.0**18, y)).with_sign_of(x)
    return (x.equals(0.0) | ~(abs(x) < INF)).where(x, y)


def _two_product(a: Real, b: Real) -> tuple[Real, Real]:
    p = a * b
    return p, a.fma(b, -p)


def _two_sum(a: Real, b: Real) -> tuple[Real, Real]:
    """Exact for |a| >= |b|."""
    s = a + b
    return s, b - (s - a)


def _log_pair(x: Real) -> tuple[Real, Real]:
    """log of a positive finite x as a sum of two doubles, good to about 2**-68."""
    e, m = _split(x)
    f = m - 1.0
    d = f + 2.0
    d_lo = f - (d - 2.0)
    s = f / d
    s_lo = (s.fma(-d, f) - s * d_lo) / d
    z, z_lo = _two_product(s, s)
    z_lo = z_lo + s * s_lo * 2.0
    # 2/3 + z * (2/5 + ...): what follows 2/3 is small, its own rounding smaller still.
    t = z * z.poly("log_tail", "d")
    c, c_lo = _two_sum(x.const(0.6666666666666666), t)
    c_lo = c_lo + 3.700743415417188e-17
    v, v_lo = _two_product(z, c)
    v_lo = v_lo + z.fma(c_lo, z_lo * c)
    w, w_lo = _two_product(s, v)
    w_lo = w_lo + s.fma(v_lo, s_lo * v)
    hi, lo = 0.6931471803691238, 1.9082149292705877e-10
    lo_lo = -5.170372194351373e-26
    a, a_lo = _two_sum(e * hi, s + s)  # exact for e = 0, too
    b, b_lo = _two_sum(a, w)
    el, el_lo = _two_product(e, e.const(lo))
    c, c2_lo = _two_sum(b, el)
    rest = a_lo + b_lo + c2_lo + el_lo + e * lo_lo + w_lo + s_lo * 2.0
    return _two_sum(c, rest)


def pow_(x: Real, y: Real, kind: str) -> Real:
    a = abs(x)
    inside = (a > 0.0) & (a < INF)
    base = inside.where(a, 1.0)
    bounded = y.at_least(-1e300).at_most(1e300)
    if kind == "s":
        l_hi, l_lo = log(base, "d"), None
    else:
        l_hi, l_lo = _log_pair(base)
    p, p_lo = _two_product(l_hi, bounded)
    if l_lo is not None:
        p_lo = l_lo.fma(bounded, p_lo)
    small = abs(p) < 800.0
    p_lo = small.where(p_lo, 0.0)
    out = exp(p, "d", plus=p_lo)
    # Zero and infinity as a base, then the sign, then the exceptions.
    is_zero, is_inf = a.equals(0.0), a.equals(INF)
    up = (is_zero & (y < 0.0)) | (is_inf & (y > 0.0))
    down = (is_zero & (y > 0.0)) | (is_inf & (y < 0.0))
    out = up.where(out.const(INF), down.where(out.const(0.0), out))
    whole = y.trunc().equals(y)
    half = y * 0.5
    odd = whole & half.trunc().differs(half) & (abs(y) < 2.0**53)
    negative = x.bits().cmp("slt", 0)
    out = (negative & odd).where(-out, out)
    out = ((x < 0.0) & (x > -INF) & ~whole).where(out.const(NAN), out)
    # A huge exponent: the base decides.
    huge = abs(y).equals(INF)
    limit = ((a > 1.0) & (y > 0.0) | (a < 1.0) & (y < 0.0)).where(out.const(INF), a.equals(1.0).where(out.const(1.0), 0.0))
    out = huge.where(limit, out)
    out = (x.is_nan() | y.is_nan()).where(x + y, out)
    return (y.equals(0.0) | x.equals(1.0)).where(out.const(1.0), out)


def rsqrt(x: Real, kind: str) -> Real:
    return 1.0 / x.sqrt()


def sqrt(x: Real, kind: str) -> Real:
    return x.sqrt()


def fmod(m: Lanes, s: str, x: str, y: str) -> str:
    """C's fmod, exact. Quotients beyond 2**52 go to the C library, lane by lane."""
    a, b = (Real(m, s, v).widen() if s == "float" else Real(m, s, v) for v in (x, y))
    q = (a / b).trunc()
    r = q.fma(-b, a)
    # The rounded quotient may be the next integer.
    r = ((r < 0.0) & (a > 0.0) | (r > 0.0) & (a < 0.0)).where(r + abs(b).with_sign_of(a), r)
    r = q.equals(0.0).where(a, r).with_sign_of(a)
    rare = ~(abs(q) < 2.0**52)
    (out,) = m.branch_if(m.any(rare.x), ("double",), (r.x,), lambda: (trigonometry.per_lane_fmod(m, rare, a, b, r),))
    out = Real(m, "double", out)
    return (out.narrow() if s == "float" else out).x


# The table: how each function is computed in f32 and in f64. "f": its own f32 code; "s": in f64, rounded.
_ROWS = {
    "exp": (exp, "f"), "exp2": (exp2, "f"), "expm1": (expm1, "f"), "log": (log, "f"), "log1p": (log1p, "f"),
    "tanh": (tanh, "f"), "logistic": (logistic, "f"), "sqrt": (sqrt, "f"), "rsqrt": (rsqrt, "f"),
    "sin": (sin, "f"), "cos": (cos, "f"), "tan": (tan, "s"), "asin": (asin, "s"), "acos": (acos, "s"), "atan": (atan, "s"),
    "sinh": (sinh, "s"), "cosh": (cosh, "s"), "asinh": (asinh, "s"), "acosh": (acosh, "s"), "atanh": (atanh, "s"),
    "erfc": (erfc, "s"), "cbrt": (cbrt, "s"), "pow": (pow_, "s"), "atan2": (atan2, "s"),
}  # fmt: skip


def _function(compute, f32_kind: str):
    def emit(m: Lanes, s: str, *operands: str) -> str:
        args = [Real(m, s, x) for x in operands]
        if s == "double":
            return compute(*args, "d").x
        if f32_kind == "f":
            return compute(*args, "f").x
        return compute(*(a.widen() for a in args), "s").narrow().x

    return emit


def _erf(m: Lanes, s: str, x: str) -> str:
    return (erf_f32 if s == "float" else erf_f64)(Real(m, s, x)).x


FUNCTIONS = {**{name: _function(*row) for name, row in _ROWS.items()}, "erf": _erf}
