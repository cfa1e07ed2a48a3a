"""The comparison with JAX complains about what is wrong, and about nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness.compare import REBUILD, differs

A = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)


def leaves(*arrays):
    return [jnp.asarray(x) for x in arrays]


@pytest.mark.parametrize(
    ("group", "got", "want", "complaint"),
    [
        ("add", np.float32([1, 2]), np.float32([1, 2.00001]), ""),
        ("add", np.float32([1, 2]), np.float32([1, 2.001]), "value: result 0: 1 of 2 differ, first [1]"),
        ("add", np.float32([1e-6, 2]), np.float32([np.nan, np.nan]), "2 of 2"),
        ("add", np.float32([np.nan, np.inf]), np.float32([np.nan, np.inf]), ""),
        ("add", np.float32([-np.inf]), np.float32([np.inf]), "1 of 1"),
        ("stable_sort", np.int32([1, 2]), np.int32([2, 1]), "2 of 2"),
        ("rev", np.float32([1, 2]), np.float32([1, np.nextafter(np.float32(2), np.float32(3))]), "1 of 2"),
        ("reduce_sum", np.float32([1000, 0.01]), np.float32([1000, 0]), ""),
        ("add", np.float32([1000, 0.01]), np.float32([1000, 0]), "1 of 2"),
        ("add", np.int32([1, 2]), np.int32([1, 3]), "1 of 2"),
        ("add", np.int32([1, 2]), np.float32([1, 2]), "type: result 0"),
        ("add", np.int32([1, 2]), np.int32([[1, 2]]), "type: result 0"),
        ("add", jnp.bfloat16([1, 2]), jnp.bfloat16([1.0078, 2]), ""),
        ("mul", np.complex64([complex(np.nan, 1)]), np.complex64([complex(np.nan, 1)]), ""),
        ("mul", np.complex64([complex(np.nan, 1)]), np.complex64([complex(np.nan, 2)]), "1 of 1"),
    ],
)
def test_elements(group, got, want, complaint):
    message = differs(group, leaves(got), leaves(want))
    assert complaint in message
    assert bool(complaint) == bool(message)


def test_types_numbers_of_results_and_dtypes_of_arguments():
    assert "type: result 0" in differs("add", leaves(np.float32(1)), [jax.jit(lambda: 1.0)()])
    double = np.float64([1, 2])
    with jax.enable_x64(True):
        assert "value" in differs("dot_general", leaves(double + 1e-7), leaves(double), [double])
        assert not differs("dot_general", leaves(double + 1e-7), leaves(double), [np.float32([1])])
    assert differs("add", leaves(A), leaves(A, A)) == "1 results instead of 2"


def flipped(x, axis):
    """`x` with its first row or column negated."""
    x = np.array(x)
    x[(slice(None),) * axis + (0,)] *= -1
    return x


u, s, vt = np.linalg.svd(A)
q, r = np.linalg.qr(A)
w, v = np.linalg.eigh(A + A.T)
RIGHT = {
    "svd": ([s, u, vt], [s, flipped(u, 1), flipped(vt, 0)], [s, flipped(u, 1), vt]),
    "qr": ([q, r], [flipped(q, 1), flipped(r, 0)], [2 * q, r / 2]),
    "eigh": ([v, w], [flipped(v, 1), w], [v[:, ::-1], w]),
    "sort": tuple([np.int32([1, 2, 2]), np.int32(beside)] for beside in ([5, 6, 7], [5, 7, 6], [6, 5, 7])),
    "approx_top_k": tuple([np.float32(top), np.int32(at)] for top, at in (([2, 2], [0, 1]), ([2, 2], [1, 0]), ([2, 1], [0, 1]))),
}


@pytest.mark.parametrize("group", RIGHT)
def test_factorisations_and_orders_have_many_right_answers(group):
    given, right, wrong = (leaves(*x) for x in RIGHT[group])
    assert differs(group, right, given) == ""
    assert "value" in differs(group, wrong, given)


def test_eigenvectors_up_to_order_and_phase():
    values, vectors = (x.astype(np.complex64) for x in np.linalg.eig(A))
    turned = vectors * np.exp(1j * np.arange(4)).astype(np.complex64)
    assert differs("eig", leaves(values[::-1], turned[:, ::-1]), leaves(values, vectors)) == ""
    assert "value" in differs("eig", leaves(values[::-1], turned), leaves(values, vectors))


def test_lu_by_its_product():
    pivots, order = np.int32([1, 1]), np.int32([1, 0])
    first = np.float32([[2, 1], [0.5, 3]])  # [[1, 3.5], [2, 1]], its rows exchanged
    assert differs("lu", leaves(first, pivots, order), leaves(first, pivots, order)) == ""
    assert "value" in differs("lu", leaves(first + 1, pivots, order), leaves(first, pivots, order))
    assert set(REBUILD) == {*RIGHT, "eig", "lu"}
