"""The table of coefficients is what `mathfit` gives."""

import numpy as np

from sod2jax.lowering import mathfit
from sod2jax.lowering.polynomials import POLYNOMIALS


def test_the_table_of_polynomials_is_what_the_fit_gives():
    for (name, precision), coefficients in POLYNOMIALS.items():
        np.testing.assert_allclose(mathfit.coefficients(name, precision), coefficients, rtol=1e-12, err_msg=f"{name} {precision}")
