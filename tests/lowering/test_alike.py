"""Which groups share a kernel, and which must not."""

import jax.numpy as jnp
import numpy as np

import sod2jax as sod2
from sod2jax.ir.box import Box
from sod2jax.lowering import pieces, targets


def kernels_lowered(fun, shapes, *args, monkeypatch):
    """How many groups were lowered, and the result beside JAX's."""
    count = 0
    real = pieces.Lowerer.kernel

    def counting(self, *a):
        nonlocal count
        count += 1
        return real(self, *a)

    monkeypatch.setattr(pieces.Lowerer, "kernel", counting)
    np.testing.assert_allclose(sod2.jit(fun, shapes=shapes)(*args), fun(*args), rtol=1e-5, atol=1e-5)
    return count


def test_layers_share_a_kernel(monkeypatch):
    def layers(weights, x):
        for w in weights:
            x = jnp.tanh(x @ w)
        return x

    weights = [jnp.asarray(np.random.default_rng(k).standard_normal((16, 16)).astype(np.float32)) for k in range(6)]
    assert kernels_lowered(layers, (None, "n, 16"), weights, jnp.ones((3, 16)), monkeypatch=monkeypatch) == 2


def test_what_differs_in_a_param_a_number_or_an_operand_is_not_alike(monkeypatch):
    def sums(x, y):
        a, b = jnp.cumsum(x), jnp.cumsum(y)
        c, d = jnp.cumsum(a - b), jnp.cumsum(b - a)  # alike, on other buffers
        e = jnp.cumsum(c - c)
        f = jnp.cumsum(d * 2.0 + e)
        return jnp.cumsum(f * 3.0 + e)

    x, y = jnp.arange(5.0), jnp.arange(5.0)[::-1]
    shared = kernels_lowered(sums, ("n", "n"), x, y, monkeypatch=monkeypatch)
    assert 4 <= shared <= 7


def test_signs_of_zero_are_told_apart():
    def fun(x):
        return jnp.cumsum(jnp.copysign(x, 0.0)), jnp.cumsum(jnp.copysign(x, -0.0)), jnp.cumsum(jnp.copysign(x, x * 0))

    x = jnp.arange(1.0, 6.0)
    for found, expected in zip(sod2.jit(fun, shapes=("n",))(x), fun(x), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_product_with_itself_either_way():
    def fun(x):
        a = x @ x.T
        b = (x @ x.T).T
        return a, b + 1, jnp.tanh(x.T @ x)

    x = jnp.asarray(np.random.default_rng(0).standard_normal((9, 12)).astype(np.float32))
    for found, expected in zip(sod2.jit(fun, shapes=("n, m",))(x), fun(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_compilation_starts_without_kernels():
    a, b = (pieces.Lowerer(Box({}), targets.host()) for _ in range(2))
    assert a.alike.found == {}
    assert a.alike is not b.alike
