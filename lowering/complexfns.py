"""Functions of complex numbers: `FUNCTIONS[name]` is a scalar function of `ir.loops.SCALAR_OPS` on `terms`.

* The formulas are those of XLA's CPU compiler, special values and branch cuts included.
* The inverse functions follow T. Hull, T. Fairgrieve and P. Tang (1997), as XLA has them; log and log1p sum the squares of the
  parts with their rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf as INF
from math import log as ln
from math import nan as NAN
from math import pi as PI
from math import sqrt as root_of

import numpy as np

from sod2jax.lowering.terms import BOOL, Complex, Real, divide

LN2, SQRT2 = ln(2), root_of(2)


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
    endless = x.is_infinite() | y.is_infinite()
    far = (abs(y) * (2 / float(info.eps)) < a).where(1.0 / a, endless.where(0.0, 1.0 / ((a / y + y / a) * y)))
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
