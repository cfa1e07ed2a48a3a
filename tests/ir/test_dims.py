"""Sizes as numbers of Python and NumPy: arithmetic, and trees that hold them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sod2jax as sod2
from sod2jax.ir.dims import Dim, expr_of, subs_dim, subs_dims
from sod2jax.ir.expr import parse
from sod2jax.ir.scope import Scope


def test_arithmetic():
    scope = Scope()
    s, n = scope.symbol("s", hint=10), scope.symbol("n", lo=1, hint=3)
    assert (s * n) // n is s
    assert s - s == 0
    assert type(s - s) is int
    assert s + np.int64(2) - 2 is s
    assert np.int32(2) * s is 2 * s
    assert 3 - s is -(s - 3)
    assert divmod(s * 6, 4) == ((s * 6) // 4, (s * 6) % 4)
    assert divmod(7, n) == (7 // n, 7 % n)
    assert s.max(-5) is s
    assert s.rmin(-5) == -5
    assert s**2 is s * s
    assert (s * n).hint == 30
    assert n.max(1) is n
    assert abs(s) is s
    assert str((s + 1).expr) == "s + 1"
    assert np.maximum(s, 3) is s.max(3)
    assert np.prod((s, 2, n)) is 2 * s * n
    assert expr_of(np.int64(4)).value == 4
    assert expr_of(s) is s.expr
    assert s is scope.dim(parse("s"))
    assert scope.guards == []
    assert s == 10
    assert s > 3.5
    assert not s > 1e9
    assert s <= float("inf")
    assert s != 2.5
    assert s != "s"
    assert [str(g.cond) for g in scope.guards] == ["s == 10"]
    assert scope.dim(s.expr) == 10
    assert type(scope.dim(s.expr)) is int
    with pytest.raises(ValueError, match="different traces"):
        s + Scope().symbol("s")
    with pytest.raises(ValueError, match="different traces"):
        s != Scope().symbol("s")  # noqa: B015


def test_sizes_in_trees():
    scope = Scope()
    s = scope.symbol("s")
    tree = {"shape": (s, 2), "other": [s + 1, "x", None]}
    assert subs_dims(tree, lambda d: subs_dim(d, {"s": 5})) == {"shape": (5, 2), "other": [6, "x", None]}
    assert isinstance(s, Dim)


OF_A_SIZE = [
    lambda x, n: x * 2**-n,
    lambda x, n: jnp.asarray(2**-n),
    lambda x, n: n ** (2 - n),
    lambda x, n: jnp.sum(x) / 2 ** (n - 3),
    lambda x, n: x * (2**n % 7),
    lambda x, n: jnp.asarray(2**n),
    lambda x, n: x / (3**n),
    lambda x, n: x * 0**-n,
    lambda x, n: x * math.sqrt(2**n),
    lambda x, n: x[: 2 ** (n // 8)],
    lambda x, n: x * (2 if 2**n > 2**40 else 1),
    lambda x, n: jnp.arange(5) ** n,
    lambda x, n: jnp.power(x.astype(jnp.int32), n),
    lambda x, n: jnp.arange(5, dtype=jnp.int16) ** n,
    lambda x, n: (x / 40) ** n,
    lambda x, n: jnp.asarray(round(n, -1)),
    lambda x, n: x[: round(n - 3, -1)],
    lambda x, n: np.abs(n - 5),
    lambda x, n: np.power(n, 2),
    lambda x, n: np.floor(n) + jnp.arange(2),
    lambda x, n: np.int8(3) * (n % 40),
    lambda x, n: np.uint8(200) - n,
    lambda x, n: np.equal(n, [5, 7]),
    lambda x, n: np.equal([2.5, 7], n / 2),
    lambda x, n: x * np.equal(n, [5, 7]).any(),
    lambda x, n: jnp.asarray(n > 1e30),
    lambda x, n: jnp.asarray(np.where(n > 3, n, 7)),
    lambda x, n: jnp.asarray(np.array([n, 1.5])),
    lambda x, n: jnp.asarray(np.cumsum([n, 2, n])),
    lambda x, n: jnp.asarray(np.split(np.arange(n), [2])[0]),
    lambda x, n: x * np.round(n / 2),
    lambda x, n: x * (1 << (n - 3)),
    lambda x, n: x * (n & 6) + (n | 3) - (n ^ 5) + (n >> 1) + (~n) + (n & 7),
    lambda x, n: x * jnp.asarray(n * 30000000),
    lambda x, n: x * math.exp(n * 30),
    lambda x, n: 10.0 ** (n * 5),
    lambda x, n: n**200.0,
    lambda x, n: jnp.uint8(n * 3),
    lambda x, n: jnp.asarray(n - 5, jnp.uint8),
]


@pytest.mark.filterwarnings("ignore::sod2jax.errors.StaticSizeWarning", "ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("fun", OF_A_SIZE)
@pytest.mark.parametrize("caught", [False, True])
def test_numbers_of_sizes_are_pythons_and_numpys(fun, caught):
    """Values, dtypes and errors, whatever size is compiled for first; also where the program catches the error."""

    def whole(x):
        if not caught:
            return fun(x, x.shape[0])
        try:
            return fun(x, x.shape[0])
        except (ArithmeticError, TypeError, ValueError):
            return jnp.float32(-7)

    def outcome(f, x):
        try:
            return f(x)
        except (ArithmeticError, TypeError, ValueError):
            return None

    for sizes in ((5, 0, 1, 3, 33, 100), (100, 3)):
        compiled = sod2.jit(whole, shapes="n")
        for n in sizes:
            x = ((np.arange(n) * 7 + 3) % 11 - 4).astype(np.float32)
            found, wanted = outcome(compiled, x), outcome(jax.jit(whole), x)
            assert (found is None) == (wanted is None), n
            if wanted is not None:
                assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), n
                np.testing.assert_allclose(found, wanted, rtol=1e-4, err_msg=str(n))
