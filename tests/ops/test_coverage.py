"""The table of primitives: all that JAX has, and how each is served."""

import dataclasses

import jax
import pytest
from jax import lax
from jax.extend.core import Primitive, primitives

from sod2jax.ops import OPS, _base
from sod2jax.ops.coverage import HOW, family, row, rows, served


def test_every_primitive_has_a_row():
    names = [r.primitive for r in rows()]
    assert names == sorted(set(names))
    public = {p.name for p in vars(primitives).values() if isinstance(p, Primitive)}
    assert public <= {*names}
    assert {p.name for p in OPS} <= {*names}
    assert {"tile", "all_gather", "bcoo_todense"} <= {*names}


def test_what_has_a_record_is_not_refused():
    table = {r.primitive: r for r in rows()}
    assert all((table[p.name].how != "refused") for p in OPS)
    assert all(r.how in HOW and r.why for r in table.values())


@pytest.mark.parametrize(
    ("prim", "how", "dyn", "mapping", "where"),
    [
        (lax.add_p, "native", "ISDOS", "one-to-one", "ops/elementwise.py"),
        (lax.dot_general_p, "native", "ISDOS", "many-to-many", "ops/contract.py"),
        (lax.while_p, "native", "EDO", "many-to-many", "ops/control.py"),
        (lax.reshape_p, "native", "ISDOS", "reorganize", "ops/shape.py"),
    ],
)
def test_rows(prim, how, dyn, mapping, where):
    found = row(prim)
    assert (found.how, found.dyn, found.mapping, found.family) == (how, dyn, mapping, where)


def test_what_has_no_record_says_why():
    table = {r.primitive: r for r in rows()}
    assert (table["cudnn_fusion"].how, table["cudnn_fusion"].why) == ("refused", "a kernel for NVIDIA GPUs")
    assert (table["psum"].how, table["new_ref"].how) == ("island", "native")
    assert (row(Primitive("of_nobody")).how, row(Primitive("of_nobody")).why) == ("island", "computed by XLA")


def test_a_library_function():
    record = dataclasses.replace(OPS[lax.add_p], pull=None, host=jax.numpy.add)
    assert served(record)[0] == "library"


def test_a_users_own_record(monkeypatch):
    monkeypatch.setattr(_base, "OPS", {})
    monkeypatch.setattr(_base, "FAMILIES", {})
    mine = Primitive("mine")
    _base.defop(dataclasses.replace(OPS[lax.neg_p], prim=mine))
    assert list(_base.FAMILIES.items()) == [(mine, __name__)]
    assert all(family(prim).startswith("ops/") for prim in OPS)
