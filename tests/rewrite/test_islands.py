"""Islands against JAX: eqns without a rule, anywhere in a program, with sizes in their params, and what JAX refuses itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental import sparse
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import PartitionSpec

import sod2jax as sod2
from sod2jax.errors import UnsupportedError
from sod2jax.rewrite import islands

mine_p = Primitive("mine")
"""x, k -> x rolled and scaled by k, a size or a number: a user's own primitive."""
mine_p.def_abstract_eval(lambda x, *, k: x)
mlir.register_lowering(mine_p, mlir.lower_fun(lambda x, *, k: jnp.roll(x, 1) * k, multiple_results=False))


def mine(x, k=2):
    return mine_p.bind(x, k=k)


def doubled(x):
    mesh = jax.make_mesh((1,), ("i",), devices=jax.devices()[:1])
    return jax.shard_map(lambda x: lax.psum(x * 2, "i"), mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec())(x)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: mine(x + 1) * 2,
        lambda x: mine(x, x.shape[0]),
        lambda x: mine(mine(x), 2 * x.shape[0] + 1).sum(0),
        lambda x: lax.map(mine, x),
        lambda x: lax.scan(lambda c, row: (c + mine(row, x.shape[0]), row.sum()), jnp.zeros(3), x),
        lambda x: lax.cond(x.sum() > 0, mine, lambda x: -x, x),
        lambda x: lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, mine(s[1])), (0, x))[1],
        lambda x: doubled(x) + 1,
        lambda x: sparse.BCOO.fromdense(x, nse=3).todense(),  # a size in a named tuple
    ],
)
def test_agrees(agrees, fun):
    agrees(fun, ("n, 3",), [{"n": 4}, {"n": 2}, {"n": 5}])


def test_nobody_is_asked_twice_for_the_same_sizes():
    f = sod2.jit(lambda x: mine(x) + 1, shapes=("n",))
    for n in (2, 3, 2, 3):
        f(np.ones(n, np.float32))
    info = f.cache_info()
    assert info.compiles == 1
    (text,) = info.versions[0].islands
    assert text.startswith("mine, no rule for mine, ")
    assert "test_islands.py" in text
    assert f"computed by XLA: {text}" in str(info)


def test_reports_name_them():
    f = sod2.jit(lambda x: mine(x) + 1)
    report = f.explain(np.ones(3, np.float32))
    assert "Computed by XLA" in str(report)
    assert "no rule for mine" in str(report)
    assert "mine (island: no rule for mine" in f.lower(np.ones(3, np.float32)).as_text("plan")
    assert "Computed by XLA" not in str(sod2.jit(jnp.negative).explain(np.ones(3, np.float32)))


def test_they_can_be_refused():
    f = sod2.jit(lambda x: lax.map(mine, x), compiler_options={"islands": False})
    with pytest.raises(UnsupportedError, match=r"`mine`.*islands are off.*test_islands.py"):
        f(np.ones((2, 3), np.float32))


def test_what_jax_cannot_compile_is_its_own_error():
    nobodys = Primitive("nobodys")
    nobodys.def_abstract_eval(lambda x: x)
    with pytest.raises(NotImplementedError, match="nobodys"):
        sod2.jit(nobodys.bind).lower(np.ones(3, np.float32)).compile()

    def kernel(x, out):
        out[...] = x[...] * 2

    def on_a_gpu(x):
        return pl.pallas_call(kernel, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype))(x)

    with pytest.raises(ValueError, match="interpret mode"):
        sod2.jit(on_a_gpu)(np.ones((8, 128), np.float32))


def test_wide_dtypes_stay_wide():
    with jax.enable_x64(True):
        compiled = sod2.jit(lambda x: mine(x)).lower(np.ones(3)).compile()
        x = np.array([1, 2, 1 / 3])
        assert compiled(x).dtype == np.float64
        np.testing.assert_array_equal(compiled(x), np.roll(x, 1) * 2)


def test_a_jaxpr_without_islands_is_the_same_object():
    closed = jax.make_jaxpr(lambda x: lax.map(jnp.sin, x))(np.ones(3, np.float32))
    assert islands(closed, {}) is closed
