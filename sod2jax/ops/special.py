"""Special functions, in simpler primitives: fusable elementwise code, and loops where JAX itself has loops.

* What JAX writes in terms of lax is taken from there (`compat.special_function`).
* The rest are XLA's approximations (chlo): Giles' erf_inv, the gamma function after Lanczos, zeta after Euler and Maclaurin,
  Cephes' series of Bessel functions. Coefficients and special values are theirs, so that results are, too.
* Narrow floats are computed in f32 and rounded once.
"""

from __future__ import annotations

import math
from functools import wraps

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives as p

from sod2jax import compat
from sod2jax.ops._base import Dyn, Mapping, OpDef, defops
from sod2jax.ops.composite import composite
from sod2jax.ops.elementwise import elementwise

inf, nan = math.inf, math.nan


def in_f32(function):
    """`function` of narrow floats, computed in f32."""

    @wraps(function)
    def wide(*operands, **_):
        dtype = operands[0].dtype
        if dtype in (np.float32, np.float64):
            return function(*operands)
        return function(*(lax.convert_element_type(x, np.float32) for x in operands)).astype(dtype)

    return wide


def polynomial(x, coefficients):
    """Horner's rule; the highest power first."""
    result = coefficients[0]
    for c in coefficients[1:]:
        result = result * x + c
    return result


def is_integer(x):
    return x == lax.floor(x)


# -- the inverse of erf: M. Giles, Approximating the erfinv function, with w = -log(1 - x*x)

ERF_INV_F32 = (
    (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164, 0.246640727,
     1.50140941),  # in w - 2.5, w < 5
    (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047, 1.00167406,
     2.83297682),  # in sqrt(w) - 3
)  # fmt: skip
ERF_INV_F64 = (
    (-3.6444120640178196921e-21, -1.685059138182016589e-19, 1.2858480715256400167e-18, 1.115787767802518096e-17,
     -1.333171662854620906e-16, 2.0972767875968561637e-17, 6.6376381343583238325e-15, -4.0545662729752068639e-14,
     -8.1519341976054721522e-14, 2.6335093153082322977e-12, -1.2975133253453532498e-11, -5.4154120542946279317e-11,
     1.051212273321532285e-09, -4.1126339803469836976e-09, -2.9070369957882005086e-08, 4.2347877827932403518e-07,
     -1.3654692000834678645e-06, -1.3882523362786468719e-05, 0.0001867342080340571352, -0.00074070253416626697512,
     -0.0060336708714301490533, 0.24015818242558961693, 1.6536545626831027356),  # in w - 3.125, w < 6.25
    (2.2137376921775787049e-09, 9.0756561938885390979e-08, -2.7517406297064545428e-07, 1.8239629214389227755e-08,
     1.5027403968909827627e-06, -4.013867526981545969e-06, 2.9234449089955446044e-06, 1.2475304481671778723e-05,
     -4.7318229009055733981e-05, 6.8284851459573175448e-05, 2.4031110387097893999e-05, -0.0003550375203628474796,
     0.00095328937973738049703, -0.0016882755560235047313, 0.0024914420961078508066, -0.0037512085075692412107,
     0.005370914553590063617, 1.0052589676941592334, 3.0838856104922207635),  # in sqrt(w) - 3.25, w < 16
    (-2.7109920616438573243e-11, -2.5556418169965252055e-10, 1.5076572693500548083e-09, -3.7894654401267369937e-09,
     7.6157012080783393804e-09, -1.4960026627149240478e-08, 2.9147953450901080826e-08, -6.7711997758452339498e-08,
     2.2900482228026654717e-07, -9.9298272942317002539e-07, 4.5260625972231537039e-06, -1.9681778105531670567e-05,
     7.5995277030017761139e-05, -0.00021503011930044477347, -0.00013871931833623122026, 1.0103004648645343977,
     4.8499064014085844221),  # in sqrt(w) - 5
)  # fmt: skip


@in_f32
def erf_inv(x):
    w = -lax.log1p(x * -x)
    if x.dtype == np.float64:
        central, middle, tail = ERF_INV_F64
        outer = jnp.where(w < 16, polynomial(lax.sqrt(w) - 3.25, middle), polynomial(lax.sqrt(w) - 5, tail))
        scale = jnp.where(w < 6.25, polynomial(w - 3.125, central), outer)
    else:
        central, tail = ERF_INV_F32
        scale = jnp.where(w < 5, polynomial(w - 2.5, central), polynomial(lax.sqrt(w) - 3, tail))
    return jnp.where(abs(x) == 1, x * inf, scale * x)


# -- the gamma function after Lanczos, with g = 7, and Euler's reflection for x < 1/2

G = 7.0
LANCZOS = (
    676.520368121885098567009190444019, -1259.13921672240287047156078755283, 771.3234287776530788486528258894,
    -176.61502916214059906584551354, 12.507343278686904814458936853, -0.13857109526572011689554707, 9.984369578019570859563e-6,
    1.50563273514931155834e-7,
)  # fmt: skip
LANCZOS_FIRST = 0.99999999999980993227684700473478
LOG_G_AND_HALF = math.log(G + 0.5)


def reflected(x):
    """(whether x < 1/2, z): the series are in z >= -1/2."""
    reflects = x < 0.5
    return reflects, jnp.where(reflects, -x, x - 1)


def log_base(z):
    """log(z + g + 1/2), without loss for small z."""
    return lax.log1p(z / (G + 0.5)) + LOG_G_AND_HALF


@in_f32
def lgamma(x):
    reflects, z = reflected(x)
    series = LANCZOS_FIRST
    for k, c in enumerate(LANCZOS, 1):
        series = c / (z + k) + series
    log_t = log_base(z)
    direct = (z + 0.5 - (z + (G + 0.5)) / log_t) * log_t + math.log(2 * math.pi) / 2 + lax.log(series)
    # log|Gamma(x)| = log(pi) - log|sin(pi x)| - log|Gamma(1 - x)|, where the sine is that of x's distance from an integer.
    distance = abs(x) - lax.floor(abs(x))
    distance = jnp.where(distance > 0.5, 1 - distance, distance)
    log_sine = lax.log(lax.sin(distance * math.pi))
    reflection = jnp.where(lax.is_finite(log_sine), math.log(math.pi) - log_sine - direct, -log_sine)
    return jnp.where(abs(x) == inf, inf, jnp.where(reflects, reflection, direct))


@in_f32
def digamma(x):
    reflects, z = reflected(x)
    above, below = 0.0, LANCZOS_FIRST
    for k, c in enumerate(LANCZOS, 1):
        term = z + k
        above = above - c / (term * term)
        below = below + c / term
    direct = log_base(z) + above / below - G / (z + (G + 0.5))
    # digamma(x) = digamma(1 - x) - pi cot(pi x), where the cotangent is that of x's distance from an integer.
    angle = (x + abs(lax.floor(x + 0.5))) * math.pi
    reflection = direct - math.pi * lax.cos(angle) / lax.sin(angle)
    return jnp.where((x <= 0) & is_integer(x), nan, jnp.where(reflects, reflection, direct))


# -- Hurwitz' zeta function after Euler and Maclaurin: ten terms, the integral of the rest, and corrections

TERMS = 10
# B(2k) / (2k)! of Bernoulli's numbers, the last first
CORRECTIONS = (
    -1.39544646858125233407076862640635497e-19, 5.50900282836022951520265260890225487e-18,
    -2.17486869855806187304151642386591768e-16, 8.58606205627784456413590545042562615e-15,
    -3.38968029632258286683019539124944218e-13, 1.33825365306846788328269809751291227e-11,
    -5.28419013868749318484768220217955604e-10, 2.08767569878680989792100903212014294e-8,
    -8.26719576719576719576719576719576720e-7, 3.30687830687830687830687830687830688e-5,
    -1.38888888888888888888888888888888889e-3, 8.33333333333333333333333333333333333e-2,
)  # fmt: skip


@in_f32
def zeta(x, q):
    total, at = lax.pow(q, -x), q
    for _ in range(TERMS - 1):
        at = at + 1
        total = total + lax.pow(at, -x)
    at = at + 1
    power = lax.pow(at, -x)
    series = 0.0
    for k, c in zip(range(2 * len(CORRECTIONS) - 2, -1, -2), CORRECTIONS, strict=True):
        series = series + c
        if k:
            series = (x + k) * (x + (k - 1)) * (1 / (at * at) * series)
    result = total + power * at / (x - 1) + power * (0.5 + x / at * series)
    result = jnp.where((x < 1) | ((q <= 0) & ~is_integer(x)), nan, result)
    pole = jnp.where(is_integer(x) & (lax.rem(x, lax.full_like(x, 2)) == 0), inf, nan)
    return jnp.where(x == 1, inf, jnp.where((q <= 0) & is_integer(q), pole, result))


@in_f32
def polygamma(m, x):
    """(-1)**(m + 1) m! zeta(m + 1, x), the derivatives of digamma."""
    sign = lax.rem(m, lax.full_like(m, 2)) * 2 - 1
    derivative = sign * lax.exp(lgamma(m + 1)) * zeta(m + 1, x)
    return jnp.where(~is_integer(m) | (m < 0), nan, jnp.where(m == 0, digamma(x), derivative))


# -- Bessel functions after Cephes: Chebyshev series on [0, 8] and [8, inf], of which f32 needs the last terms

I1E_NEAR = (
    2.77791411276104639959e-18, -2.11142121435816608115e-17, 1.55363195773620046921e-16, -1.10559694773538630805e-15,
    7.60068429473540693410e-15, -5.04218550472791168711e-14, 3.22379336594557470981e-13, -1.98397439776494371520e-12,
    1.17361862988909016308e-11, -6.66348972350202774223e-11, 3.62559028155211703701e-10, -1.88724975172282928790e-9,
    9.38153738649577178388e-9, -4.44505912879632808065e-8, 2.00329475355213526229e-7, -8.56872026469545474066e-7,
    3.47025130813767847674e-6, -1.32731636560394358279e-5, 4.78156510755005422638e-5, -1.61760815825896745588e-4,
    5.12285956168575772895e-4, -1.51357245063125314899e-3, 4.15642294431288815669e-3, -1.05640848946261981558e-2,
    2.47264490306265168283e-2, -5.29459812080949914269e-2, 1.02643658689847095384e-1, -1.76416518357834055153e-1,
    2.52587186443633654823e-1,
)  # fmt: skip
I1E_FAR = (
    7.51729631084210481353e-18, 4.41434832307170791151e-18, -4.65030536848935832153e-17, -3.20952592199342395980e-17,
    2.96262899764595013876e-16, 3.30820231092092828324e-16, -1.88035477551078244854e-15, -3.81440307243700780478e-15,
    1.04202769841288027642e-14, 4.27244001671195135429e-14, -2.10154184277266431302e-14, -4.08355111109219731823e-13,
    -7.19855177624590851209e-13, 2.03562854414708950722e-12, 1.41258074366137813316e-11, 3.25260358301548823856e-11,
    -1.89749581235054123450e-11, -5.58974346219658380687e-10, -3.83538038596423702205e-9, -2.63146884688951950684e-8,
    -2.51223623787020892529e-7, -3.88256480887769039346e-6, -1.10588938762623716291e-4, -9.76109749136146840777e-3,
    7.78576235018280120474e-1,
)  # fmt: skip


def chebyshev(x, coefficients):
    """Clenshaw's recurrence as Cephes writes it: x stands for twice the argument."""
    last, now, before = 0.0, 0.0, 0.0
    for c in coefficients:
        last, now, before = now, x * now - last + c, last
    return (now - before) / 2


@in_f32
def bessel_i1e(x):
    size = abs(x)
    near, far = (I1E_NEAR, I1E_FAR) if x.dtype == np.float64 else (I1E_NEAR[-17:], I1E_FAR[-7:])
    result = jnp.where(size <= 8, chebyshev(size / 2 - 2, near) * size, chebyshev(32 / size - 2, far) / lax.sqrt(size))
    return lax.sign(x) * result


# primitive: (function, cost)
ELEMENTWISE = {
    p.erf_inv_p: (erf_inv, 40), p.lgamma_p: (lgamma, 80), p.digamma_p: (digamma, 90), p.zeta_p: (zeta, 500),
    p.polygamma_p: (polygamma, 700), p.bessel_i1e_p: (bessel_i1e, 60),
    p.bessel_i0e_p: (compat.special_function("bessel_i0e"), 60),
}  # fmt: skip
# Loops that run until every element has converged.
ITERATED = (p.igamma_p, p.igammac_p, p.igamma_grad_a_p, p.regularized_incomplete_beta_p)

for _prim, (_function, _cost) in ELEMENTWISE.items():
    elementwise(_prim, composite(_function), _cost)
defops(OpDef(prim, Dyn.ISDOS, Mapping.ONE_TO_ONE, decompose=compat.special_function(prim.name), cost=100) for prim in ITERATED)
