"""jax.random to the bit, once for all sizes, by every generator that JAX has."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax import compat

IMPLS = {"threefry2x32": 2, "rbg": 4, "unsafe_rbg": 4, "philox2x32": 1, "philox4x32": 2, "threefry4x32": 4}
SIZES = [(3, 4), (0, 2), (1, 1), (5, 7)]


def same_bits(fun, *arguments, shapes=(None, "a, b"), compiles=1):
    """Compiled so often, `fun` gives what `jax.jit` gives for each of the arguments."""
    compiled, expected = sod2.jit(fun, shapes=shapes), jax.jit(fun)
    for args in arguments:
        found = compiled(*args)
        jax.tree.map(partial(np.testing.assert_array_equal, strict=True), found, expected(*args))
    assert compiled.cache_info().compiles == compiles


@pytest.fixture(params=IMPLS)
def impl(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["partitionable", "original"])
def partitionable(request):
    with jax.threefry_partitionable(request.param):
        yield request.param


def calls(impl):
    words = np.arange(7, 7 + IMPLS[impl]).astype(np.uint32)
    return [(words, np.ones(shape, np.float32)) for shape in SIZES]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_bits(impl, dtype, partitionable):
    # JAX asks whether the bits fill whole words, and the answers make two versions.
    asks = impl == "threefry2x32" and not partitionable and dtype in (np.uint8, np.uint16)
    draw = lambda k, x: jax.random.bits(jax.random.wrap_key_data(k, impl=impl), x.shape, dtype)
    with jax.enable_x64(dtype is np.uint64):
        same_bits(draw, *calls(impl), compiles=2 if asks else 1)


@pytest.mark.usefixtures("partitionable")
def test_keys_from_keys(impl):
    def derived(words, x):
        key = jax.random.wrap_key_data(words, impl=impl)
        made = jax.random.key(words[0], impl=impl), jax.random.split(key, (2, 3)), jax.random.fold_in(key, x.shape[0])
        many = jax.random.split(key, x.shape[0])
        each = jax.vmap(jax.random.fold_in)(many, jnp.arange(x.shape[0]))
        return list(map(jax.random.key_data, (*made, many, each, jax.random.clone(key))))

    same_bits(derived, *(call for call in calls(impl) if call[1].size))  # JAX's own batches of rbg want a first key


@pytest.mark.usefixtures("partitionable")
def test_numbers_of_many_keys(impl):
    def numbers(words, x):
        keys = jax.random.split(jax.random.wrap_key_data(words, impl=impl), x.shape[0])
        return jax.vmap(lambda key, row: jax.random.uniform(key, row.shape))(keys, x)

    same_bits(numbers, *(call for call in calls(impl) if call[1].size))


DISTRIBUTIONS = {
    "uniform": lambda k, x: jax.random.uniform(k, x.shape),
    "normal": lambda k, x: jax.random.normal(k, x.shape),
    "randint": lambda k, x: jax.random.randint(k, x.shape, 3, 1000),
    "bernoulli": jax.random.bernoulli,
    "categorical": jax.random.categorical,
    "choice": lambda k, x: jax.random.choice(k, x, (3,)),
    "truncated normal": lambda k, x: jax.random.truncated_normal(k, -1.0, 2.0, x.shape),
    "gumbel": lambda k, x: jax.random.gumbel(k, x.shape),
    "laplace": lambda k, x: jax.random.laplace(k, x.shape),
    "cauchy": lambda k, x: jax.random.cauchy(k, x.shape),
    "geometric": lambda k, x: jax.random.geometric(k, x * 0.5 + 0.1),
    "wald": lambda k, x: jax.random.wald(k, x + 0.5),
    "complex normal": lambda k, x: jax.random.normal(k, x.shape, np.complex64),
    "gamma": lambda k, x: jax.random.gamma(k, x + 0.1),
    "the gradient of gamma": lambda k, x: jax.grad(lambda a: jax.random.gamma(k, a).sum())(x + 0.5),
    "dirichlet": lambda k, x: jax.random.dirichlet(k, x + 0.5),
    "poisson": lambda k, x: jax.random.poisson(k, x * 30),
    "binomial": lambda k, x: jax.random.binomial(k, 10.0, x),
}


@pytest.mark.parametrize("draw", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_distributions(draw):
    compiled = sod2.jit(draw, shapes=(None, "a, b"))
    for shape in ((3, 4), (1, 2), (5, 3)):
        key, x = jax.random.key(shape[0]), np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
        expected = jax.jit(draw)(key, x)
        np.testing.assert_allclose(compiled(key, x), expected, rtol=1e-5, atol=1e-6)
    assert compiled.cache_info().compiles == 1


def test_distributions_fuse_into_one_kernel():
    def noise(words, x):
        return x + jax.random.normal(jax.random.wrap_key_data(words), x.shape)

    compiled = sod2.jit(noise, shapes=(None, "a, b"))
    for args in calls("threefry2x32"):
        np.testing.assert_allclose(compiled(*args), jax.jit(noise)(*args), rtol=1e-6)
    assert len(compiled.lower(*args).compile().program.kernels) == 1


STATES = {"u32": np.uint32([1, 2, 0xFFFFFFFE, 0xFFFFFFFF]), "u64": np.uint64([5, 2**64 - 2])}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_rng_bit_generator_counts_in_128_bits(state, dtype):
    generate = lambda s, x: lax.rng_bit_generator(s, x.shape, dtype, lax.RandomAlgorithm.RNG_PHILOX)
    with jax.enable_x64(True):
        same_bits(generate, *((state, np.ones(shape, np.float32)) for shape in SIZES))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_rng_bit_generator_by_threefry(state, dtype):
    generate = lambda s, x: lax.rng_bit_generator(s, x.shape, dtype, lax.RandomAlgorithm.RNG_THREE_FRY)
    with jax.enable_x64(True):
        for shape in ((), (3, 5), (5, 3, 5), (3, 4), (2, 3), (0, 2)):
            same_bits(generate, (state, np.ones(shape, np.float32)), shapes=None)
        same_bits(generate, *((state, np.ones(n, np.float32)) for n in (4, 7, 1, 0)), shapes=(None, "n"))
        same_bits(generate, *((state, np.ones(s, np.float32)) for s in ((2, 3), (3, 5), (5, 3), (3, 3), (3, 4), (0, 3), (1, 1))),
                  shapes=(None, "n, m"))  # fmt: skip


def test_positions_count_in_64_bits():
    iota = compat.random_primitive("iota_2x32_shape")
    same_bits(lambda x: iota.bind(shape=(3, *x.shape)), *((np.ones(shape),) for shape in SIZES), shapes="a, b")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_the_high_half_of_a_product(dtype):
    with jax.enable_x64(True):
        info = np.iinfo(dtype)
        rng = np.random.default_rng(0)
        x, y = rng.integers(info.min, info.max, (2, 40), dtype=dtype, endpoint=True)
        x[:4], y[:4] = [info.min, info.max, info.min, info.max], [info.min, info.max, info.max, 1]
        found = sod2.jit(lax.mulhi)(x, y)
        exact = [int(a) * int(b) >> info.bits for a, b in zip(x, y, strict=True)]
        assert found.dtype == dtype
        assert np.asarray(found).tolist() == exact
