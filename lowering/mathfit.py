"""Fits the polynomials of `mathfns`: `python -m sod2jax.lowering.mathfit > lowering/polynomials.py` writes them anew.

* Each row of `FITS` is a smooth function on an interval: what is left of a function of `mathfns` when its leading terms, which
  are added exactly, have been taken off. So an absolute error of the fit is a relative one of the function, made smaller.
* The fit interpolates at Chebyshev nodes (mpmath), which is within a factor of about two of the best polynomial.
* Three precisions: "f" is evaluated in f32, "d" in f64, "s" in f64 for a result that is rounded to f32.
"""

from __future__ import annotations

import mpmath as mp

mp.mp.dps = 50


def _of_square(g, limit):
    """g(x) as a function of z = x*x; near 0, where the quotients of `FITS` are 0/0, its `limit`."""
    return lambda z: g(mp.sqrt(z)) if z > mp.mpf(10) ** -30 else mp.mpf(limit)


def _near_0(g, limit):
    return lambda x: g(x) if abs(x) > mp.mpf(10) ** -15 else mp.mpf(limit)


def _erfcx(t):
    x = 4 * (1 + t) / (1 - t)
    return (1 + 2 * x) * mp.exp(x * x) * mp.erfc(x)


# name: (function, low, high, {precision: number of coefficients})
FITS = {
    "exp": (_near_0(lambda r: (mp.exp(r) - 1 - r) / r**2, 0.5), -0.3475, 0.3475, {"f": 6, "d": 11, "s": 7}),
    "log1p": (_near_0(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, mp.mpf(1) / 3), -1 / 3, 1 / 3, {"f": 9}),
    "log": (_of_square(lambda s: (2 * mp.atanh(s) / s - 2) / s**2, mp.mpf(2) / 3), 0, 0.0401, {"d": 9, "s": 5}),
    "log_tail": (
        _of_square(lambda s: ((2 * mp.atanh(s) / s - 2) / s**2 - mp.mpf(2) / 3) / s**2, mp.mpf(2) / 5), 0, 0.0401, {"d": 9},
    ),
    "tanh": (_of_square(lambda x: (mp.tanh(x) - x) / x**3, -mp.mpf(1) / 3), 0, 0.4, {"f": 6, "d": 14}),
    "sin": (_of_square(lambda x: (mp.sin(x) - x) / x**3, -mp.mpf(1) / 6), 0, 0.6172, {"f": 4, "d": 8, "s": 5}),
    "cos": (_of_square(lambda x: (mp.cos(x) - 1 + x * x / 2) / x**4, mp.mpf(1) / 24), 0, 0.6172, {"f": 3, "d": 8, "s": 5}),
    "asin": (_of_square(lambda x: (mp.asin(x) / x - 1) / x**2, mp.mpf(1) / 6), 0, 0.2501, {"d": 14, "s": 8}),
    "atan": (_of_square(lambda x: (mp.atan(x) / x - 1) / x**2, -mp.mpf(1) / 3), 0, 0.1717, {"d": 13, "s": 7}),
    "sinh": (_of_square(lambda x: (mp.sinh(x) - x) / x**3, mp.mpf(1) / 6), 0, 1, {"d": 9, "s": 5}),
    "erf": (_of_square(lambda x: mp.erf(x) / x - 1, 2 / mp.sqrt(mp.pi) - 1), 0, 1, {"f": 8, "d": 16}),
    "log_erfc": (lambda x: -mp.log(mp.erfc(x)), 0.9, 4.0, {"f": 9}),
    "erfcx": (_erfcx, -1, 0.75, {"d": 24, "s": 14}),
}  # fmt: skip


def coefficients(name: str, precision: str) -> list[float]:
    """Lowest power first, rounded to f32 for "f" and to f64 otherwise."""
    import numpy as np

    function, low, high, counts = FITS[name]
    fit = mp.chebyfit(function, [mp.mpf(low), mp.mpf(high)], counts[precision])[::-1]
    return [float(np.float32(float(c))) if precision == "f" else float(c) for c in fit]


def main():
    print('"""Coefficients, lowest power first, written by `mathfit`; keys are (name, precision)."""\n')
    print("POLYNOMIALS = {")
    for name, (*_, counts) in FITS.items():
        for precision in counts:
            print(f'    ("{name}", "{precision}"): (')
            for c in coefficients(name, precision):
                print(f"        {c!r},")
            print("    ),")
    print("}")


if __name__ == "__main__":
    main()
