"""Terms write what NumPy computes: every operator, on reals and on complex numbers."""

import numpy as np
import pytest

from sod2jax.ir import interp
from sod2jax.ir.loops import Const
from sod2jax.lowering.terms import Complex, Real, divide


class Evaluated:
    """A builder that computes at once."""

    def const(self, value, dtype):
        return Const(value, dtype)

    def op(self, name, *args, dtype=None):
        dtype = np.dtype(dtype or args[0].dtype)
        values = (np.asarray(a.value).astype(a.dtype) for a in args)
        with np.errstate(all="ignore"):
            return Const(interp.scalar(name, dtype, *values), dtype)


def real(x):
    return Real(Evaluated(), Const(np.float64(x), np.dtype(np.float64)))


def number(z):
    return Complex(real(z.real), real(z.imag))


def value(x):
    return complex(x.re.value.value, x.im.value.value) if isinstance(x, Complex) else x.value.value


def test_operators_of_reals():
    x = real(3.0)
    assert [value(v) for v in (x + 1, 1 + x, x - 1, 1 - x, x * 2, 2 * x, x / 2, 6 / x, -x, abs(-x))] == [
        4,
        4,
        2,
        -2,
        6,
        6,
        1.5,
        2,
        -3,
        3,
    ]
    assert [bool(value(v)) for v in (x < 3, x <= 3, x > 3, x >= 3, x.equals(3), x.differs(3))] == [
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    assert bool(value(~(x < 3) & ((x > 3) | (x >= 3))))
    assert value((x > 2).where(x, 0.0)) == 3
    assert value((x < 2).where(1.0, x)) == 3


def test_tests_of_reals():
    for x in (0.0, -0.0, 1.5, np.inf, -np.inf, np.nan):
        assert bool(value(real(x).is_nan())) == np.isnan(x)
        assert bool(value(real(x).is_infinite())) == np.isinf(x)
        assert bool(value(real(x).is_finite())) == np.isfinite(x)
        if not np.isnan(x):
            assert np.signbit(value(real(2.0).with_sign_of(real(x)))) == np.signbit(x)


@pytest.mark.parametrize(("a", "b"), [(3 + 4j, 1 - 2j), (-1 + 0.5j, 2 + 1e3j), (1e200 + 1e200j, 1e200 - 1e199j)])
def test_operators_of_complex_numbers(a, b):
    x, y = number(a), number(b)
    assert value(x + y) == a + b
    assert value(x - y) == a - b
    assert value(-x) == -a
    np.testing.assert_allclose(value(x / y), a / b, rtol=1e-14)
    np.testing.assert_allclose(value(abs(x)), abs(a), rtol=1e-14)
    if abs(a) < 1e100:
        np.testing.assert_allclose(value(x * y), a * b, rtol=1e-14)


def test_quotients_at_the_edges():
    """Annex G of C99: what is not finite need not be NaN."""
    assert value(divide(number(1 + 1j), number(complex(np.inf, 1)))) == 0
    assert value(divide(number(1 + 1j), number(0j))).real == np.inf
    assert np.isinf(value(divide(number(complex(np.inf, 0)), number(1 + 1j))).real)
