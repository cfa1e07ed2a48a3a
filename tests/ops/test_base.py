"""The table has two readers, the compiler and this test: declared properties against derived ones."""

import pytest

from sod2jax import ops
from sod2jax.ops import Dyn, Mapping, OpDef
from sod2jax.ops._base import OPS


def test_a_primitive_has_one_record():
    prim = next(iter(OPS))
    with pytest.raises(ValueError, match="already"):
        ops.defop(OpDef(prim, Dyn.ISDOS, Mapping.ONE_TO_ONE))
    assert ops.of(prim) is OPS[prim]
    assert ops.of("no primitive") is None


@pytest.mark.parametrize("record", OPS.values(), ids=lambda r: str(r.prim))
def test_records_are_consistent(record):
    ways = (record.pull, record.inner, record.decompose, record.nest, record.extern, record.host, record.control)
    assert any(way is not None for way in ways)
    assert record.pull is None or record.inner is None  # a call is inlined
    if record.affine:
        assert record.moves
    if record.forward:
        assert record.moves
    if record.folds:
        assert record.mapping is Mapping.MANY_TO_MANY
    if record.contraction:
        assert record.folds
    if record.mapping is Mapping.SOURCE:
        assert record.dyn is Dyn.ISDO
    if record.is_identity:
        assert record.cost == 0
