"""Complex numbers while a kernel is being built: pairs of real values, and what the scalar functions are on them.

* The loop IR is real. A `Pair` exists between loads and stores only: an array of complex numbers is a buffer of twice as many
  reals (`ir.loops.stored`), and the sum of complex numbers is two sums.
* `FUNCTIONS[name]` is a scalar function of `ir.loops.SCALAR_OPS` on `Number`s: real and complex terms with Python's operators.
* The formulas are those of XLA's CPU compiler, special values and branch cuts included. The inverse functions follow T. Hull,
  T. Fairgrieve and P. Tang (1997), as XLA has them; log and log1p sum the squares with their rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf as INF
from math import log as ln
from math import nan as NAN
from math import pi as PI
from math import sqrt as root_of

import numpy as np

from sod2jax.errors import UnsupportedError
from sod2jax.ir.expr import Expr, const
from sod2jax.ir.loops import Value, stored

BOOL = np.dtype(bool)
ZERO = const(0)
LN2, SQRT2 = ln(2), root_of(2)


@dataclass(frozen=True, slots=True)
class Pair:
    """A complex value."""

    re: Value
    im: Value
    dtype: np.dtype


def is_complex(dtype) -> bool:
    return np.dtype(dtype).kind == "c"


def parts(value: Value | Pair, offset: Expr = ZERO) -> list[tuple[Expr, Value]]:
    """What a value at `offset` of an array is in its buffer: one real, or two."""
    if isinstance(value, Pair):
        return [(2 * offset, value.re), (2 * offset + 1, value.im)]
    return [(offset, value)]


def each(dtype, offset: Expr, make: Callable[[Expr, np.dtype], Value]) -> Value | Pair:
    """A value of `dtype` from make(offset in the buffer, dtype of the buffer) of its parts."""
    dtype, real = np.dtype(dtype), stored(dtype)
    if is_complex(dtype):
        return Pair(make(2 * offset, real), make(2 * offset + 1, real), dtype)
    return make(offset, real)


def constant(b, value, dtype) -> Pair:
    value, real = complex(value), stored(dtype)
    return Pair(b.const(value.real, real), b.const(value.imag, real), np.dtype(dtype))


def convert(b, value: Value | Pair, dtype: np.dtype) -> Value | Pair:
    """Between complex and real: the imaginary part appears as 0, or is dropped."""
    if not isinstance(value, Pair):
        return Pair(b.convert(value, stored(dtype)), b.const(0.0, stored(dtype)), dtype)
    if not is_complex(dtype):
        return b.convert(value.re, dtype)
    return Pair(b.convert(value.re, stored(dtype)), b.convert(value.im, stored(dtype)), dtype)


def check_fold(op: str, dtype) -> None:
    if is_complex(dtype) and op != "add":
        raise UnsupportedError(f"no machine code for folding {np.dtype(dtype)} with {op} yet; only sums of complex numbers are")


def apply(b, name: str, args: tuple[Value | Pair, ...], dtype: np.dtype) -> Value | Pair:
    """The value of scalar function `name` where an operand or the result is complex."""
    if name not in FUNCTIONS:
        raise UnsupportedError(f"no machine code for {name} of complex numbers")
    operands = (Complex(Real(b, a.re), Real(b, a.im)) if isinstance(a, Pair) else Real(b, a) for a in args)
    result = FUNCTIONS[name](*operands)
    return result.value if isinstance(result, Real) else Pair(result.re.value, result.im.value, dtype)


class Real:
    """A real value, or a truth, with Python's operators; numbers are constants of its dtype."""

    __slots__ = ("b", "value")

    def __init__(self, b, value: Value):
        self.b, self.value = b, value

    def op(self, name: str, *others, dtype=None) -> Real:
        args = (x.value if isinstance(x, Real) else self.b.const(x, self.value.dtype) for x in others)
        return Real(self.b, self.b.op(name, self.value, *args, dtype=dtype))

    def const(self, number: float) -> Real:
        return Real(self.b, self.b.const(number, self.value.dtype))

    def __add__(self, other):
        return self.op("add", other)

    def __sub__(self, other):
        return self.op("sub", other)

    def __rsub__(self, other):
        return self.const(other) - self

    def __mul__(self, other):
        return self.op("mul", other)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other):
        return self.op("div", other)

    def __rtruediv__(self, other):
        return self.const(other) / self

    def __neg__(self):
        return self.op("neg")

    def __abs__(self):
        return self.op("abs")

    def __lt__(self, other):
        return self.op("lt", other, dtype=BOOL)

    def __le__(self, other):
        return self.op("le", other, dtype=BOOL)

    def __gt__(self, other):
        return self.op("gt", other, dtype=BOOL)

    def __ge__(self, other):
        return self.op("ge", other, dtype=BOOL)

    def equals(self, other) -> Real:
        return self.op("eq", other, dtype=BOOL)

    def differs(self, other) -> Real:
        return self.op("ne", other, dtype=BOOL)

    def __and__(self, other):
        return self.op("and", other)

    def __or__(self, other):
        return self.op("or", other)

    def __invert__(self):
        return self.op("not")

    def where(self, then, other):
        """`then` where this truth holds, else `other`; both real or both complex."""
        if isinstance(then, Complex):
            return Complex(self.where(then.re, other.re), self.where(then.im, other.im))
        like = then if isinstance(then, Real) else other
        then, other = (x if isinstance(x, Real) else like.const(x) for x in (then, other))
        return Real(self.b, self.b.op("select", self.value, then.value, other.value, dtype=like.value.dtype))

    def is_nan(self) -> Real:
        return self.differs(self)

    def is_infinite(self) -> Real:
        return abs(self).equals(INF)

    def is_finite(self) -> Real:
        return self.op("is_finite", dtype=BOOL)

    def with_sign_of(self, other: Real) -> Real:
        """For a positive number or zero, and an `other` that may be a zero."""
        bits = np.dtype(f"i{self.value.dtype.itemsize}")
        negative = other.op("bitcast", dtype=bits) < 0
        return negative.where(-self, self)

    @property
    def info(self) -> np.finfo:
        return np.finfo(self.value.dtype)


@dataclass(frozen=True, slots=True)
class Complex:
    """A complex term."""

    re: Real
    im: Real

    def __add__(self, other):
        return Complex(self.re + other.re, self.im + other.im)

    def __sub__(self, other):
        return Complex(self.re - other.re, self.im - other.im)

    def __mul__(self, other):
        return Complex(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    def __truediv__(self, other):
        return divide(self, other)

    def __neg__(self):
        return Complex(-self.re, -self.im)

    def __abs__(self):
        return hypot_of(self)

    def number(self, value: complex) -> Complex:
        return Complex(self.re.const(value.real), self.re.const(value.imag))


# -- arithmetic


def hypot_of(z: Complex) -> Real:
    """|z|, which is infinite for an infinite part only if the other is no NaN."""
    x, y = abs(z.re), abs(z.im)
    large, small = x.op("max", y), x.op("min", y)
    t = small / large
    result = large * (t * t + 1.0).op("sqrt")
    return result.is_nan().where(small, result)  # both 0, both infinite, or NaN


def divide(a: Complex, b: Complex) -> Complex:
    """R. Smith (1962): the quotient of b's parts keeps its square from overflowing. Where that gives NaN, C99's annex G."""
    steep = abs(b.re) < abs(b.im)
    r, s = b.re / b.im, b.im / b.re
    down, up = b.im + r * b.re, b.re + s * b.im
    re = steep.where((r * a.re + a.im) / down, (s * a.im + a.re) / up)
    im = steep.where((r * a.im - a.re) / down, (a.im - s * a.re) / up)

    def units(z: Complex) -> Complex:
        return Complex(*(x.is_infinite().where(x.const(1.0), 0.0).with_sign_of(x) for x in (z.re, z.im)))

    def infinite(z: Complex) -> Real:
        return z.re.is_infinite() | z.im.is_infinite()

    def finite(z: Complex) -> Real:
        return z.re.is_finite() & z.im.is_finite()

    def scaled(factor: float, x: Complex, y: Complex) -> Complex:
        return Complex((x.re * y.re + x.im * y.im) * factor, (x.im * y.re - x.re * y.im) * factor)

    by_zero = b.re.equals(0.0) & b.im.equals(0.0) & ~(a.re.is_nan() & a.im.is_nan())
    pole = b.re.const(INF).with_sign_of(b.re)
    result = Complex(re, im)
    edges = (finite(a) & infinite(b)).where(scaled(0.0, a, units(b)), result)
    edges = (infinite(a) & finite(b)).where(scaled(INF, units(a), b), edges)
    edges = by_zero.where(Complex(pole * a.re, pole * a.im), edges)
    return (re.is_nan() & im.is_nan()).where(edges, result)


def square(z: Complex) -> Complex:
    """(re - im)(re + im), and what that is where they are equal."""
    x, y = z.re, z.im
    same = x.is_finite() & abs(x).equals(abs(y))
    return Complex(same.where(0.0, (x - y) * (x + y)), x * y * 2.0)


def sign(z: Complex) -> Complex:
    size = abs(z)
    return size.equals(0.0).where(z, Complex(z.re / size, z.im / size))


def lexicographic(name: str):
    def choose(a: Complex, b: Complex) -> Complex:
        first = a.re.op(name, b.re, dtype=BOOL)
        return (a.re.equals(b.re).where(a.im.op(name, b.im, dtype=BOOL), first)).where(a, b)

    return choose


# -- exponentials


def exp(z: Complex) -> Complex:
    e, half = z.re.op("exp"), (z.re * 0.5).op("exp")
    over = e.equals(INF)  # where the product need not be

    def times(x: Real) -> Real:
        return over.where(half * x * half, e * x)

    return Complex(times(z.im.op("cos")), z.im.equals(0.0).where(0.0, times(z.im.op("sin"))))


def exp2(z: Complex) -> Complex:
    return exp(z * z.number(LN2))


def expm1(z: Complex) -> Complex:
    e, half = z.re.op("expm1"), (z.im * 0.5).op("sin")
    less = half * half * -2.0  # cos - 1
    im = z.re.op("exp") * z.im.op("sin")
    return Complex(e * z.im.op("cos") + less, z.im.equals(0.0).where(0.0, im))


def logistic(z: Complex) -> Complex:
    one = z.number(1)
    return one / (exp(-z) + one)


def halves(z: Complex) -> tuple[Complex, Complex]:
    """exp(z) / 2 and exp(-z) / 2."""
    shift = z.number(-LN2)
    return exp(z + shift), exp(shift - z)


def sinh(z: Complex) -> Complex:
    up, down = halves(z)
    return up - down


def cosh(z: Complex) -> Complex:
    up, down = halves(z)
    return up + down


def tanh(z: Complex) -> Complex:
    """(sinh(2a) + i sin(2b)) / (cosh(2a) + cos(2b)), by expm1 and products so that small numbers keep their digits."""
    a, b = z.re, z.im
    up, down = (a + a).op("expm1"), (-(a + a)).op("expm1")
    cos, sin = b.op("cos"), b.op("sin")
    square = a * a
    sum_ = (square < float(a.info.eps)).where(square * 4.0, up + down)
    below = sum_ + cos * cos * 4.0
    above = cos * sin * 4.0
    re = sum_.equals(INF).where(a.const(1.0).with_sign_of(a), (up - down) / below)
    lost = above.is_nan()
    edge = a.is_infinite()
    return Complex((lost & ~edge).where(NAN, re), (b.equals(0.0) | (edge & lost)).where(0.0, above / below))


def tan(z: Complex) -> Complex:
    """-i tanh(iz)"""
    t = tanh(Complex(-z.im, z.re))
    return Complex(t.im, -t.re)


def sin(z: Complex) -> Complex:
    s, c, up, down = z.re.op("sin"), z.re.op("cos"), z.im.op("expm1"), (-z.im).op("expm1")
    cosh_, sinh_ = (up + down + 2.0) * 0.5, (up - down) * 0.5
    return Complex(z.re.equals(0.0).where(0.0, s * cosh_), c * sinh_)


def cos(z: Complex) -> Complex:
    s, c, up, down = z.re.op("sin"), z.re.op("cos"), z.im.op("expm1"), (-z.im).op("expm1")
    cosh_, sinh_ = (up + down + 2.0) * 0.5, (up - down) * 0.5
    return Complex(c * cosh_, z.re.equals(0.0).where(0.0, -s * sinh_))


# -- roots and logarithms


def hypot(x: Real, y: Real) -> Real:
    """sqrt(x*x + y*y) without overflow on the way, for any signs."""
    x, y = abs(x), abs(y)
    large, small = x.op("max", y), x.op("min", y)
    r = small / large
    r = r * r
    root = (r + 1.0).op("sqrt")
    near = large + large * r * 0.5
    return large.equals(small).where(large * SQRT2, (root.equals(1.0) & (r > 0.0)).where(near, large * root))


def sqrt(z: Complex) -> Complex:
    """u = sqrt((|z| + |re|) / 2) and v = |im| / 2u, each part taking one of them; by quotients where u over- or underflows."""
    x, y = abs(z.re), abs(z.im)
    same, steep = x.equals(y), x < y
    root_x, root_y = x.op("sqrt"), y.op("sqrt")
    r = same.where(1.0, steep.where(x / y, y / x))
    root_r = same.where(1.0, steep.where(root_x / root_y, root_y / root_x))
    h = hypot(r, r.const(1.0))
    flat_, steep_ = (h + 1.0).op("sqrt"), (r + h).op("sqrt")
    u0 = (hypot(x, y) * 0.5 + x * 0.5).op("sqrt")
    lost = u0.equals(0.0) | u0.equals(INF)
    wide = x > y
    u = lost.where(wide.where(root_x * (flat_ * (1 / SQRT2)), root_y * (steep_ * (1 / SQRT2))), u0)
    v = lost.where(wide.where(root_y * root_r / (flat_ * SQRT2), root_y / (steep_ * SQRT2)), y / (u0 * 2.0))
    u = same.where(root_x * root_of((1 + SQRT2) / 2), u)
    v = same.where(root_y * root_of((SQRT2 - 1) / 2), v)
    below = z.im < 0.0
    im = (z.re < 0.0).where(u, v)
    return Complex((z.re >= 0.0).where(u, v), below.where(-im, im))


def rsqrt(z: Complex) -> Complex:
    """|z|**-1/2 and half the angle, backwards."""
    x, y = abs(z.re), abs(z.im)
    large, small = x.op("max", y), x.op("min", y)
    t = small / large
    r = large.op("rsqrt") * (t * t + 1.0).op("sqrt").op("rsqrt")
    r = r.is_nan().where(small.op("rsqrt"), r)
    angle = z.im.op("atan2", z.re) * -0.5
    edge = (z.im.is_infinite() & z.re.is_nan()) | z.re.is_infinite()
    zero = z.re.const(0.0)
    re = edge.where(zero.with_sign_of(z.re), r * angle.op("cos"))
    im = edge.where(-zero.with_sign_of(z.im), r * angle.op("sin"))
    origin = z.re.equals(0.0) & z.im.equals(0.0)
    return origin.where(z.number(complex(INF, NAN)), Complex(re, im))


def exact_square(x: Real) -> tuple[Real, Real]:
    """x*x as a sum of two. By fma: a product may be merged with the sum that uses it."""
    square = x.op("fma", x, 0.0)
    return square, x.op("fma", x, -square)


def exact_sum(terms: list[Real]) -> Real:
    """Their sum with the rounding errors of all its steps."""
    total, *rest = terms
    lost = None
    for x in rest:
        s = total + x
        of_x = s - total
        error = (total - (s - of_x)) + (x - of_x)
        total, lost = s, error if lost is None else lost + error
    return total + lost


def log_of_size(x: Real, y: Real) -> Real:
    """log of hypot(x, y), where that is far from 1."""
    x, y = abs(x), abs(y)
    large, small = x.op("max", y), x.op("min", y)
    r = small / large
    return large.op("log") + small.equals(large).where(1.0, r * r).op("log1p") * 0.5


def log(z: Complex) -> Complex:
    (xx, x_rest), (yy, y_rest) = exact_square(z.re), exact_square(z.im)
    steep = yy > xx
    excess = exact_sum([steep.where(yy, xx), z.re.const(-1.0), steep.where(xx, yy), y_rest, x_rest])
    near = excess.op("log1p") * 0.5
    return Complex((abs(excess) < 0.5).where(near, log_of_size(z.re, z.im)), z.im.op("atan2", z.re))


def log1p(z: Complex) -> Complex:
    x, y = z.re, z.im
    (xx, x_rest), (yy, y_rest) = exact_square(x), exact_square(y)
    excess = exact_sum([x + x, yy, xx, y_rest, x_rest])
    x1 = x + 1.0
    close = (x1 * x1 + y * y).op("log") * 0.5
    re = (abs(x1) + abs(y) < 0.2).where(close, excess.op("log1p") * 0.5)
    large = abs(x).op("max", abs(y)) > float(np.sqrt(x.info.max)) * 0.01
    return Complex(large.where(log_of_size(x, y), re), y.op("atan2", x1))


def power(z: Complex, w: Complex) -> Complex:
    """exp(w log z), with the limits for a real power of 0 and of infinity; z**0 and 1**w are 1."""
    size = abs(z)
    angle = z.im.op("atan2", z.re)
    factor = size.op("pow", w.re) * (-w.im * angle).op("exp")
    q = w.re * angle + w.im * size.op("log")
    real = w.im.equals(0.0)
    zero, one = z.number(0), z.number(1)
    result = Complex(factor * q.op("cos"), factor * q.op("sin"))
    pole = z.re.equals(INF) & z.im.equals(0.0) & real
    result = (pole & (w.re > 0.0)).where(z.number(INF), result)
    result = (pole & (w.re < 0.0) | (size.equals(0.0) & real & (w.re > 0.0))).where(zero, result)
    return ((w.re.equals(0.0) & real) | (z.re.equals(1.0) & z.im.equals(0.0))).where(one, result)


# -- inverse functions


def hull(x: Real, y: Real) -> tuple[Real, Real]:
    """For asin of x + iy with x, y >= 0: what atan2 compares x with, and the imaginary part."""
    most, least = float(np.sqrt(x.info.max)) / 8, float(np.sqrt(x.info.tiny)) * 4
    x1, x_1 = x + 1.0, x - 1.0
    r, s = hypot(x1, y), hypot(x_1, y)
    a = (r + s) * 0.5
    a1, half, yy = a + 1.0, (a + x) * 0.5, y * y
    rx, sx = r + x1, s + x_1
    other = (x <= 1.0).where((half * (yy / rx + (s - x_1))).op("sqrt"), y * (half / rx + half / sx).op("sqrt"))
    other = (x.op("max", y) >= most).where(y, other)

    limit = (x < most * 1e12).where(x.const(most * 1e-6), most * 1e2)
    high = y >= limit
    large = high.where(y, x)
    ratio = (high & y.differs(INF)).where(x / y, 0.0)
    far = large.op("log") + LN2 + (ratio * ratio).op("log1p") * 0.5
    flat = (y < least) & (x < 1.0)
    left = yy * 0.5 / rx
    a_1 = (a <= 1.5).where(left + yy * 0.5 / (s - x_1), a - 1.0)
    a_1 = flat.where(-(x1 * x_1 / a1), (x >= 1.0).where(left + sx * 0.5, a_1))
    root = (a_1 * a1).op("sqrt")
    near = flat.where(y / root, (a_1 + root).op("log1p"))
    return other, (large >= high.where(limit, most)).where(far, near)


def asin(z: Complex) -> Complex:
    other, im = hull(abs(z.re), abs(z.im))
    return Complex(z.re.op("atan2", other), (z.im < 0.0).where(-im, im))


def acos(z: Complex) -> Complex:
    other, im = hull(abs(z.re), abs(z.im))
    return Complex(other.op("atan2", z.re), (z.im < 0.0).where(im, -im))


def asinh(z: Complex) -> Complex:
    other, re = hull(abs(z.im), abs(z.re))
    return Complex((z.re < 0.0).where(-re, re), z.im.op("atan2", other))


def acosh(z: Complex) -> Complex:
    other, re = hull(abs(z.re), abs(z.im))
    im = other.op("atan2", z.re)
    return Complex(re, (z.im < 0.0).where(-im, im))


def atanh(z: Complex) -> Complex:
    x, y, a = z.re, z.im, abs(z.re)
    info = x.info
    limit = 1 / float(info.eps) ** 2 * 4  # beyond, 1 adds nothing
    inside = (a < limit) & (abs(y) < limit)
    far = (abs(y) * (2 / float(info.eps)) < a).where(1.0 / a, (x.is_infinite() | y.is_infinite()).where(0.0, 1.0 / ((a / y + y / a) * y)))
    yy = y * y
    ratio = inside.where(a / ((1.0 - a) * (1.0 - a) + yy), far)
    re = (x >= 0.0).where(x.const(1.0), -1.0) * (ratio * 4.0).op("log1p") * 0.25
    angle = (y + y).op("atan2", (1.0 - a) * (a + 1.0) - yy)
    return Complex(re, inside.where(angle, (y >= 0.0).where(y.const(PI), -PI)) * 0.5)


def atan(z: Complex) -> Complex:
    """-i atanh(iz)"""
    t = atanh(Complex(-z.im, z.re))
    return Complex(t.im, -t.re)


def atan2(y: Complex, x: Complex) -> Complex:
    """-i log((x + iy) / sqrt(x*x + y*y))"""
    turned = log((x + Complex(-y.im, y.re)) / sqrt(x * x + y * y))
    return Complex(turned.im, -turned.re)


FUNCTIONS: dict[str, Callable[..., Real | Complex]] = {
    "complex": Complex,
    "real": lambda z: z.re,
    "imag": lambda z: z.im,
    "conj": lambda z: Complex(z.re, -z.im) if isinstance(z, Complex) else Complex(z, z.const(0.0)),
    "add": lambda z, w: z + w,
    "sub": lambda z, w: z - w,
    "mul": lambda z, w: z * w,
    "div": divide,
    "neg": lambda z: -z,
    "abs": abs,
    "sign": sign,
    "reciprocal": lambda z: z.number(1) / z,
    "eq": lambda z, w: z.re.equals(w.re) & z.im.equals(w.im),
    "ne": lambda z, w: z.re.differs(w.re) | z.im.differs(w.im),
    "select": Real.where,
    "max": lexicographic("gt"),
    "min": lexicographic("lt"),
    **{f.__name__: f for f in (square, exp, exp2, expm1, log, log1p, logistic, tanh, sqrt, rsqrt, sin, cos, tan, sinh, cosh)},
    **{f.__name__: f for f in (asin, acos, atan, asinh, acosh, atanh, atan2)},
    "pow": power,
}
