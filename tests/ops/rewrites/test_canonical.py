"""Every convolution that JAX accepts becomes NHWC, HWIO, VALID, with the same values."""

import jax
import numpy as np
import pytest
from jax import lax

from sod2jax.ir.scope import Scope
from sod2jax.rewrite import oracle, run

# lhs, rhs, dimension numbers, parameters; "h" and "w" are symbols
CONVOLUTIONS = {
    "canonical": ((2, "h", "w", 3), (3, 3, 3, 4), ("NHWC", "HWIO", "NHWC"), {"padding": "VALID"}),
    "NCHW": ((2, 3, "h", "w"), (4, 3, 3, 3), ("NCHW", "OIHW", "NCHW"), {"padding": "SAME"}),
    "mixed layouts": (("h", 2, 3, "w"), (3, 4, 3, 3), ("HNCW", "HOWI", "CWHN"), {"padding": "SAME", "window_strides": (2, 1)}),
    "strided SAME": ((2, "h", "w", 3), (3, 2, 3, 4), ("NHWC", "HWIO", "NHWC"), {"padding": "SAME", "window_strides": (2, 3)}),
    "dilated kernel": ((2, "h", "w", 3), (3, 3, 3, 4), ("NHWC", "HWIO", "NHWC"), {"padding": "SAME", "rhs_dilation": (2, 1)}),
    "dilated input": (
        (2, "h", "w", 3),
        (3, 3, 3, 4),
        ("NHWC", "HWIO", "NHWC"),
        {"padding": ((1, 2), (2, 0)), "lhs_dilation": (2, 3)},
    ),
    "cropped": ((2, "h", "w", 3), (2, 2, 3, 4), ("NHWC", "HWIO", "NHWC"), {"padding": ((-1, 2), (0, -2))}),
    "grouped": ((2, "h", "w", 6), (3, 3, 2, 9), ("NHWC", "HWIO", "NHWC"), {"padding": "SAME", "feature_group_count": 3}),
    "depthwise NCHW": ((2, 6, "h", "w"), (6, 1, 3, 3), ("NCHW", "OIHW", "NCHW"), {"padding": "SAME", "feature_group_count": 6}),
    "batch groups": ((6, "h", "w", 2), (3, 3, 2, 9), ("NHWC", "HWIO", "NHWC"), {"padding": "SAME", "batch_group_count": 3}),
    "batch groups NCHW": ((4, 3, "h", "w"), (6, 3, 3, 3), ("NCHW", "OIHW", "NCHW"), {"padding": "VALID", "batch_group_count": 2}),
    "one axis": ((2, 3, "h"), (4, 3, 5), ("NCH", "OIH", "NCH"), {"padding": "SAME", "window_strides": (2,)}),
    "three axes": ((1, "h", 4, "w", 2), (2, 3, 2, 2, 3), ("NHWDC", "HWDIO", "NHWDC"), {"padding": "SAME"}),
}


@pytest.mark.parametrize(("lhs", "rhs", "numbers", "params"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions(lhs, rhs, numbers, params):
    scope = Scope()
    symbols = {"h": scope.symbol("h", 5), "w": scope.symbol("w", 5)}
    spec = jax.ShapeDtypeStruct(tuple(symbols.get(n, n) for n in lhs), np.float32)
    params = {"window_strides": (1,) * (len(lhs) - 2), **params}
    before = jax.make_jaxpr(lambda x, y: lax.conv_general_dilated(x, y, dimension_numbers=numbers, **params))(
        spec, jax.ShapeDtypeStruct(rhs, np.float32)
    )
    after = run(before, scope.box)
    (eqn,) = [eqn for eqn in after.jaxpr.eqns if eqn.primitive.name == "conv_general_dilated"]
    rank = len(lhs)
    image, kernel = (0, rank - 1, *range(1, rank - 1)), (rank - 1, rank - 2, *range(rank - 2))
    assert eqn.params["dimension_numbers"] == lax.ConvDimensionNumbers(image, kernel, image)
    assert eqn.params["padding"] == ((0, 0),) * (rank - 2)
    assert eqn.params["lhs_dilation"] == (1,) * (rank - 2)
    assert eqn.params["batch_group_count"] == 1
    for sizes in ({"h": 5, "w": 8}, {"h": 9, "w": 7}):
        assert (found := oracle.difference(before, after, sizes, whole=True)) is None, found


def test_a_canonical_convolution_stays_as_it_is():
    specs = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32), jax.ShapeDtypeStruct((3, 3, 3, 4), np.float32)
    numbers = ("NHWC", "HWIO", "NHWC")
    before = jax.make_jaxpr(lambda x, y: lax.conv_general_dilated(x, y, (1, 1), "VALID", dimension_numbers=numbers))(*specs)
    assert run(before, Scope().box) is before
