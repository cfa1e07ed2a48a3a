"""JAX's switches: each does to `sod2.jit` what it does to `jax.jit`, or is refused by name, or is listed as without effect."""

import contextlib
import gc
import os
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import mlir

import sod2jax as sod2
from sod2jax import state_compat, switches
from sod2jax.switches import OPTIONS, How

X = np.linspace(-1.0, 2.0, 12, dtype=np.float32).reshape(3, 4)


@contextlib.contextmanager
def option(name, value):
    """An option of `jax.config` for a while: not all have a context manager."""
    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


def outcome(function, *args):
    """What a call gives: (shape, dtype, weak type, values) of its results, or the error; and the texts of warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            results = jax.tree.leaves(function(*args))
        except Exception as error:
            return type(error), str(error)
    return [_described(x) for x in results], sorted({str(w.message).replace("(n, 4)", "(3, 4)") for w in caught})


def _described(x):
    words = jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    return x.shape, str(x.dtype), getattr(x, "weak_type", None), np.asarray(words).tolist()


# -- the table


def test_every_option_of_jax_is_in_the_table():
    """In a fresh process: JAX's own test utilities, which other tests import, add options of theirs."""
    names = "import jax, jax.numpy, sod2jax; print(*jax.config.values)"
    found = subprocess.run([sys.executable, "-P", "-c", names], capture_output=True, text=True, check=True).stdout.split()
    assert set(OPTIONS) == set(found) | set(state_compat.trace_context_names())


def test_what_is_part_of_the_key_is_in_the_trace_context():
    in_context = set(state_compat.trace_context_names())
    assert {name for name, row in OPTIONS.items() if row.how in (How.KEY, How.REFUSED)} == in_context - {"jax_disable_jit"}


# -- NaN and infinity


def log_and_divide(x):
    return jnp.exp(x), jnp.log(x)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_debug_nans_raises_as_jit_does(size):
    x = -jnp.ones(size)
    compiled = sod2.jit(log_and_divide, shapes="n")
    compiled(jnp.ones(3))
    with jax.debug_nans(True):
        assert outcome(compiled, x) == outcome(jax.jit(log_and_divide), x)
        if size:
            with pytest.raises(FloatingPointError, match=r"invalid value \(nan\) encountered in log") as caught:
                compiled(x)
            lines = [(entry.path.name, entry.name) for entry in caught.traceback]
            assert ("test_switches.py", "log_and_divide") in lines
        compiled(jnp.ones(4))
    compiled(x)
    assert compiled.cache_info().compiles == 1


def test_debug_infs_is_another_switch():
    compiled = sod2.jit(lambda x: 1 / x, shapes="n")
    zero, nan = jnp.zeros(2), jnp.full(2, jnp.nan)
    with jax.debug_nans(True):
        compiled(zero)
    with jax.debug_infs(True):
        compiled(nan)
        with pytest.raises(FloatingPointError, match=r"invalid value \(inf\) encountered in div"):
            compiled(zero)
    with option("jax_debug_infs", True), pytest.raises(FloatingPointError, match="inf"):
        compiled(zero)
    compiled(zero)


def test_only_results_are_checked():
    compiled = sod2.jit(lambda x: jnp.where(x > 0, jnp.log(x), 0.0), shapes="n")
    with jax.debug_nans(True):
        assert compiled(jnp.array([-1.0, 1.0])).tolist() == [0.0, 0.0]


def test_under_debug_nans_nothing_is_donated():
    for jit in (jax.jit, sod2.jit):
        compiled, x = jit(lambda x: jnp.log(x), donate_argnums=0), -jnp.ones(3)
        with jax.debug_nans(True), pytest.raises(FloatingPointError, match="log"):
            compiled(x)
        assert not x.is_deleted()
    compiled(x)
    assert x.is_deleted()  # jax.jit remembers that it was traced without donation


def test_what_xla_computes_inside_is_not_checked():
    logarithm = Primitive("logarithm_of_a_test")
    logarithm.def_abstract_eval(lambda x: x)
    mlir.register_lowering(logarithm, mlir.lower_fun(jnp.log, multiple_results=False))
    compiled = sod2.jit(lambda x: jnp.nan_to_num(logarithm.bind(x)), shapes="n")
    with jax.debug_nans(True):
        assert compiled(np.array([-1.0, 1.0], np.float32)).tolist() == [0, 0]
    assert "logarithm_of_a_test" in str(compiled.cache_info())


def test_a_compiled_stage_is_checked_as_jaxs():
    x = -jnp.ones(3)
    with jax.debug_nans(True):
        for jit in (jax.jit, sod2.jit):
            compiled = jit(jnp.log).lower(x).compile()
            with pytest.raises(Exception, match="nan"):
                compiled(x)


# -- what changes results


def random_words(key):
    with jax.threefry_partitionable(False):
        inside = jax.random.bits(key, (5,))
    return inside, jax.random.bits(key, (5,))


def wide_inside(x):
    with jax.enable_x64(True):
        return jnp.arange(3.0) + 0 * x.sum(), jnp.cumsum(jnp.ones(3, jnp.float64))


user_context = jax.make_user_context(1)

CASES = {
    "x64": (lambda: jax.enable_x64(True), lambda x: (x * 2, jnp.arange(3), jnp.sum(x.astype(float)), jnp.cumsum(x))),
    "x64 inside": (contextlib.nullcontext, wide_inside),
    "explicit x64 allowed": (lambda: option("jax_explicit_x64_dtypes", "allow"), lambda x: x[0] + jnp.zeros(4, jnp.float64)),
    "explicit x64 an error": (lambda: option("jax_explicit_x64_dtypes", "error"), lambda x: x[0] + jnp.zeros(4, jnp.float64)),
    "explicit x64 warns": (contextlib.nullcontext, lambda x: x[0] + jnp.zeros(4, jnp.float64)),
    "strict promotion": (lambda: jax.numpy_dtype_promotion("strict"), lambda x: x + jnp.arange(4)),
    "strict promotion, our own code": (
        lambda: jax.numpy_dtype_promotion("strict"),
        lambda x: (jnp.cumsum(x, 0), jnp.sort(x), jax.random.normal(jax.random.key(0), (2,)), lax_cumlogsumexp(x)),
    ),
    "rank promotion raises": (lambda: jax.numpy_rank_promotion("raise"), lambda x: x + jnp.arange(4.0)),
    "rank promotion raises, our own code": (lambda: jax.numpy_rank_promotion("raise"), lambda x: lax_cumlogsumexp(x)),
    "matmul precision": (lambda: jax.default_matmul_precision("bfloat16"), lambda x: x[:2, :2] @ x[:2, :2]),
    "disable_jit": (jax.disable_jit, lambda x: x if x.sum() > 3 else -x),
    "random_seed_offset": (lambda: option("jax_random_seed_offset", 5), lambda x: jax.random.key(0)),
    "default_prng_impl": (lambda: jax.default_prng_impl("rbg"), lambda x: jax.random.key(0)),
    "enable_custom_prng": (lambda: option("jax_enable_custom_prng", True), lambda x: jax.random.PRNGKey(0)),
    "legacy keys": (lambda: jax.legacy_prng_key("error"), lambda x: jax.random.normal(x[0, :2].astype(jnp.uint32), (2,))),
    "legacy keys warn": (lambda: jax.legacy_prng_key("warn"), lambda x: jax.random.bits(x[0, :2].astype(jnp.uint32), (2,))),
    "gumbel": (lambda: option("jax_high_dynamic_range_gumbel", True), lambda x: jax.random.bits(jax.random.key(1), (2,))),
    "static indices": (lambda: option("jax_check_static_indices", True), lambda x: x[7]),
    "user context": (lambda: user_context(3), lambda x: x * user_context.value),
    "tracer leaks": (jax.checking_leaks, lambda x: (jnp.abs(x), jnp.cumsum(x, 0))),
    "checks of JAX": (lambda: option("jax_enable_checks", True), lambda x: (jnp.abs(x), jnp.where(x > 1, x, 0))),
    "compile time": (jax.ensure_compile_time_eval, lambda x: x * 2),
    "compile time inside": (contextlib.nullcontext, lambda x: x * inside_compile_time()),
    "names": (lambda: jax.named_scope("a"), lambda x: jax.named_call(jnp.abs, name="b")(x)),
    "remat3": (lambda: option("jax_remat3", True), lambda x: jax.grad(lambda x: jax.checkpoint(jnp.square)(x).sum())(x)),
    "default device": (lambda: jax.default_device("cpu"), lambda x: x * 2),
    "no execution": (lambda: option("jax_no_execution", True), lambda x: x * 2),
    "no tracing": (lambda: option("jax_no_tracing", True), lambda x: x * 2),
}


def lax_cumlogsumexp(x):
    return jax.lax.cumlogsumexp(x) > 0


def inside_compile_time():
    with jax.ensure_compile_time_eval():
        return int(jnp.arange(4).sum())


@pytest.mark.parametrize("case", CASES)
def test_as_jit(case):
    context, function = CASES[case]
    with context():
        jax.clear_caches()  # JAX warns where it traces, and it remembers traces of its own functions
        found = outcome(sod2.jit(function, shapes="n, 4"), X)
        jax.clear_caches()
        wanted = outcome(jax.jit(function), X)
    if isinstance(wanted[0], type):
        assert found[0] is wanted[0]
        assert found[1].replace("sod2.jit", "jit")[:20] == wanted[1][:20]
    else:
        assert found == wanted


def test_threefry_inside_of_a_function():
    for key in (jax.random.key(3), jax.random.split(jax.random.key(4), 2)[1]):
        assert outcome(sod2.jit(random_words), key) == outcome(jax.jit(random_words), key)


def test_a_version_belongs_to_its_configuration():
    compiled = sod2.jit(lambda x: jnp.arange(3) + x.astype(int), shapes="n")
    for _ in range(2):
        for x64 in (False, True):
            with jax.enable_x64(x64):
                assert compiled(np.ones(3, np.float32)).dtype == (np.int64 if x64 else np.int32)
    assert compiled.cache_info().compiles == 2


WIDE = {
    "double": lambda x: x * 2,
    "sum": lambda x: (jnp.sum(x), jnp.cumsum(x), jnp.sort(x)),
    "identity": lambda x: (x, jax.lax.sort(x)),
    "narrow": lambda x: x.astype(jnp.float32),
    "lax": lambda x: (jax.lax.add(x, x), jax.lax.cumsum(x), jax.lax.neg(x)),
    "scan": lambda x: jax.lax.scan(lambda c, y: (c + y, c * 2), x[0] * 0, x),
}


@pytest.mark.parametrize("dtype", ["float64", "int64", "complex128"])
@pytest.mark.parametrize("name", WIDE)
def test_arrays_of_64_bits_outside_of_x64(name, dtype):
    if name == "identity" and dtype == "complex128":
        pytest.skip("the order of complex numbers is tested elsewhere")
    with jax.enable_x64(True):
        x = jnp.asarray([0.5, 3.0, 2.25, 1.0], dtype) * (1 + (2**40 if dtype == "int64" else 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert outcome(sod2.jit(WIDE[name], shapes="n"), x)[0] == outcome(jax.jit(WIDE[name]), x)[0]


def test_stages_keep_the_configuration_of_their_trace():
    def fun(x):
        return jnp.cumsum(x), jax.random.bits(jax.random.key(0), x.shape, jnp.uint64), jnp.arange(10)[x.astype(int)]

    with jax.enable_x64(True):
        x = jnp.arange(4.0)
        traced, lowered = sod2.jit(fun, shapes="n").trace(x), sod2.jit(fun, shapes="n").lower(x)
        wanted = outcome(jax.jit(fun), x)
    assert outcome(traced.lower().compile(), x) == outcome(lowered.compile(), x) == wanted


def test_numbers_too_large_are_jaxs_error():
    found, wanted = outcome(sod2.jit(lambda x: x + 1), 2**40), outcome(jax.jit(lambda x: x + 1), 2**40)
    assert found == wanted
    assert wanted[0] is OverflowError


def test_no_tracing_lets_a_version_run():
    compiled = sod2.jit(lambda x: x + 1, shapes="n")
    compiled(np.ones(3, np.float32))
    with option("jax_no_tracing", True):
        assert compiled(np.ones(5, np.float32)).shape == (5,)
        with pytest.raises(RuntimeError, match="no_tracing"):
            compiled(np.ones(5, np.int32))


def test_keys_used_twice():
    for jit in (jax.jit, sod2.jit):
        compiled, key = jit(lambda k: jax.random.bits(k, (2,))), jax.random.key(0)
        compiled(key)
        with jax.debug_key_reuse(True):
            compiled(key)
            with pytest.raises(jax.errors.KeyReuseError):
                compiled(key)


# -- what is refused


@pytest.mark.parametrize(
    ("context", "what"),
    [
        (lambda: option("jax_scan3", True), "jax_scan3"),
        (lambda: option("jax_use_simplified_jaxpr_constants", True), "jax_use_simplified_jaxpr_constants"),
        (lambda: option("jax_error_checking_behavior_nan", "raise"), "jax_error_checking_behavior_nan"),
        (lambda: option("jax_error_checking_behavior_divide", "raise"), "jax_error_checking_behavior_divide"),
        (lambda: option("jax_error_checking_behavior_oob", "raise"), "jax_error_checking_behavior_oob"),
        (lambda: jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((2,), ("d",))), "AbstractMesh"),
    ],
)
def test_refused_by_name(context, what):
    compiled = sod2.jit(lambda x: x + 1, shapes="n")
    compiled(np.ones(3))
    with context():
        with pytest.raises(sod2.errors.UnsupportedError, match=what):
            compiled(np.ones(3))
        with pytest.raises(sod2.errors.UnsupportedError, match=what):
            compiled.lower(np.ones(3))
    compiled(np.ones(4))
    assert compiled.cache_info().compiles == 1


def test_other_devices_are_refused():
    text = """if True:
        import jax, jax.numpy as jnp, sod2jax as sod2
        one, two = jax.devices()
        f = sod2.jit(lambda x: x + 1)
        with jax.default_device(one):
            assert f(jnp.ones(2)).devices() == {one}
        for context in (jax.default_device(two), jax.set_mesh(jax.make_mesh((2,), ("d",)))):
            try:
                with context:
                    f(jax.numpy.ones(2))
            except sod2.errors.UnsupportedError as error:
                print(error)
            else:
                raise AssertionError(context)
    """
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
    done = subprocess.run([sys.executable, "-P", "-c", text], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "jax_default_device=CpuDevice(id=1)" in done.stdout
    assert "Mesh" in done.stdout


def test_a_mesh_of_one_device_changes_no_value():
    mesh = jax.make_mesh((1,), ("d",))
    with jax.set_mesh(mesh):
        assert sod2.jit(lambda x: x * 2, shapes="n, 4")(X).tolist() == (X * 2).tolist()


# -- what speaks


def test_log_compiles_names_the_function_and_nothing_of_ours(caplog):
    def cumulated(x):
        return jax.lax.cumlogsumexp(x)

    with jax.log_compiles(True):
        sod2.jit(cumulated, shapes="n")(np.ones(3, np.float32))
    said = [r.getMessage() for r in caplog.records]
    assert any("Compiling cumulated for x float32[n] because it is the first call" in line for line in said)
    assert not any("simpler" in line or "traced" in line for line in said if line.startswith("Finished"))


def test_tracebacks_are_filtered_as_jaxs():
    def wrong(x):
        return x + jnp.ones(x.shape[0] + 1)

    compiled = sod2.jit(wrong, shapes="n")
    with option("jax_traceback_filtering", "tracebackhide"), pytest.raises(TypeError) as short:
        compiled(np.ones(3))
    with option("jax_traceback_filtering", "off"), pytest.raises(TypeError) as long:
        compiled(np.ones(3))
    assert short.type is long.type
    assert any(entry.name == "wrong" for entry in short.traceback)


def test_arrays_in_cycles_are_seen_by_jaxs_guard(capfd):
    compiled = sod2.jit(lambda x: x + 1)
    with jax.array_garbage_collection_guard("log"):
        cycle = [compiled(jnp.ones(3))]
        cycle.append(cycle)
        del cycle
        gc.collect()
    assert "deleted by the Python garbage collector" in capfd.readouterr().err


def test_the_table_speaks():
    for name, row in {**OPTIONS, **switches.CONTEXTS}.items():
        assert row.why, name
