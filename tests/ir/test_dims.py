"""Sizes as numbers of Python and NumPy: arithmetic, and trees that hold them."""

import numpy as np
import pytest

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
