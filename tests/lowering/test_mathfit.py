"""Fits are as close as the functions built on them need."""

import mpmath as mp
import numpy as np
import pytest

from sod2jax.lowering import mathfit

# What a unit of the remainder weighs in the function: its leading terms are exact.
WEIGHT = {
    "exp": 0.12,
    "log1p": 0.04,
    "log": 0.01,
    "log_tail": 4e-4,
    "tanh": 0.4,
    "sin": 0.6,
    "cos": 0.4,
    "asin": 0.25,
    "atan": 0.17,
}
TARGET = {"f": 2.0**-24, "s": 2.0**-30, "d": 2.0**-52}


@pytest.mark.parametrize(("name", "precision"), [(n, p) for n, row in mathfit.FITS.items() for p in row[3]])
def test_fit(name, precision):
    function, low, high, _ = mathfit.FITS[name]
    fit = mathfit.coefficients(name, precision)
    if name == "erfcx" and precision == "s":
        high = 0.43  # as far as f32's erfc is not 0
    xs = [mp.mpf(low) + (mp.mpf(high) - low) * k / 200 for k in range(201)]
    weigh = mp.erfc if name == "log_erfc" else lambda _: WEIGHT.get(name, 1)
    worst = max(abs(mp.polyval(fit[::-1], x) - function(x)) * weigh(x) for x in xs)
    assert worst <= TARGET[precision], float(worst)


def test_rounded_to_f32():
    fit = mathfit.coefficients("exp", "f")
    assert fit == [float(np.float32(c)) for c in fit]
