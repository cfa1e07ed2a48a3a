"""`sod2.verify` finds what is wrong, makes it small, and leaves right functions alone."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax import errors
from sod2jax.ir.expr import const, floordiv, minimum
from sod2jax.ops import OPS


@pytest.fixture
def wrong_tan(monkeypatch):
    """tan is off by one where its first axis is longer than 16."""
    record = OPS[lax.tan_p]

    def pull(b, out, index, x, **params):
        too_long = minimum(floordiv(out.shape[0], 17), const(1))
        return b.op("add", record.pull(b, out, index, x, **params), b.position(too_long, out.dtype))

    monkeypatch.setitem(OPS, lax.tan_p, dataclasses.replace(record, pull=pull))


def test_a_right_function():
    @sod2.jit(shapes=(None, "b, s"))
    def f(w, x):
        return {"y": jnp.tanh(x).sum(1), "n": x.shape[0] * w}

    report = sod2.verify(f, np.float32(3), jnp.ones((2, 5)), most=12)
    assert report.ok, report
    assert len(report.checked) == 12
    assert report.checked[0] == {"b": 2, "s": 5}
    assert {"b", "s"} == set(report.checked[1])
    assert any(0 in sizes.values() for sizes in report.checked)
    assert report.compiles == f.cache_info().compiles == 1
    assert sod2.verify(f, np.float32(3), jnp.ones((2, 5)), most=3).compiles == 0


def test_a_wrong_function_is_caught_and_made_small(wrong_tan):
    @sod2.jit(shapes="a, b")
    def f(x):
        return {"fine": x + 1, "wrong": jnp.tan(x)}

    report = sod2.verify(f, jnp.ones((40, 30)))
    assert not report.ok
    (failure,) = report.failures
    assert failure.sizes == {"a": 17, "b": 1}
    assert failure.path == "['wrong']"
    assert "17 of 17 elements differ" in failure.message
    assert {"a": 40, "b": 30} in failure.found_at
    assert all(sizes["a"] > 16 for sizes in failure.found_at)
    with pytest.raises(errors.VerifyError, match="a=17, b=1"):
        report.raise_if_failed()


def test_small_within_constraints(wrong_tan):
    @sod2.jit(shapes=("a", "n"), constraints=("a % 8 == 0", "n == 2*a"))
    def f(x, y):
        return jnp.tan(x) + y[::2]

    report = sod2.verify(f, jnp.ones(32), jnp.ones(64))
    assert [failure.sizes for failure in report.failures] == [{"a": 24, "n": 48}]


def test_the_script_shows_the_failure(wrong_tan, tmp_path, monkeypatch):
    """Run apart, where tan is right, the script passes; here, where it is wrong, it fails."""
    (tmp_path / "model_to_verify.py").write_text(
        "import jax.numpy as jnp\nimport sod2jax as sod2\n\n\n"
        '@sod2.jit(shapes=(None, "a, b", None), static_argnums=2)\n'
        "def f(w, x, name):\n    return jnp.tan(x) + w['big'][0] + w['small'] + len(name)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import model_to_verify

    weights = {"big": jnp.ones((50, 1)), "small": jnp.arange(1.0)}
    report = sod2.verify(model_to_verify.f, weights, jax.ShapeDtypeStruct((20, 3), jnp.float32), "abc")
    script = report.failures[0].script
    assert "from model_to_verify import f" in script
    assert "found by sod2.verify with seed=0" in script
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        exec(script, {})
    apart = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert apart.returncode == 0, apart.stderr


def test_an_error_is_a_failure():
    @sod2.jit(max_compiles=1)
    def f(x):
        return x + 1

    report = sod2.verify(f, jnp.ones(3), shapes="n", sizes=[{"n": 3}, {"n": 4}])
    assert "raises CompileLimitError" in report.failures[0].message


def test_sizes_at_which_jax_raises_are_skipped():
    @sod2.jit(shapes="n")
    def f(x):
        return jnp.argmax(x)

    report = sod2.verify(f, jnp.arange(3.0), sizes=[{"n": 0}, {"n": 4}])
    assert report.ok
    assert [s.sizes for s in report.skipped] == [{"n": 0}]
    assert "attempt to get argmax" in report.skipped[0].why


def test_only_the_sizes_given():
    f = sod2.jit(lambda x: x * 2, shapes="a, b")
    assert sod2.verify(f, jnp.ones((1, 1)), sizes=[{"a": 3, "b": 4}]).checked == ({"a": 3, "b": 4},)
    report = sod2.verify(f, jnp.ones((1, 1)), sizes={"a": [3]}, most=6)
    assert len(report.checked) == 6
    assert {sizes["a"] for sizes in report.checked} == {3}


def test_without_shapes_the_dims_must_be_named():
    f = sod2.jit(lambda x: x * 2)
    with pytest.raises(errors.SpecError, match="needs to know which dims of <lambda> vary"):
        sod2.verify(f, jnp.ones(3))
    assert sod2.verify(f, jnp.ones(3), shapes="n", most=5).ok
    (n,) = jax.export.symbolic_shape("n")
    report = sod2.verify(f, jax.ShapeDtypeStruct((n,), jnp.float32), most=5)
    assert report.ok
    assert all(sizes["n"] >= 1 for sizes in report.checked)  # symbols of jax.export are


def test_arguments_are_like_the_examples():
    seen = []

    def f(table, tokens, scale, flag):
        seen.append((table.shape, tokens.shape))
        return table[tokens] * scale + flag

    jitted = sod2.jit(f, shapes=(None, "b, s", None, None), static_argnames="flag", donate_argnums=0)
    report = sod2.verify(jitted, jnp.arange(9.0), np.array([[0, 8, 3]], np.int32), 2.0, kwargs={"flag": 3}, most=6, special=True)
    assert report.ok, report
    assert {shape for shape, _ in seen} == {(9,)}


def test_memory_bounds_the_sizes():
    f = sod2.jit(lambda x: x[:, None] * x[None, :], shapes="n")
    report = sod2.verify(f, jnp.ones(3), memory=4 * 3 * 50 * 50)
    assert report.ok
    assert max(sizes["n"] for sizes in report.checked) <= 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": {"k": [1]}}, "sizes= names 'k'; the dims of <lambda> are n"),
        ({"sizes": [{"k": 1}]}, "the dims of <lambda> are n"),
        ({"sizes": [{"n": 9}]}, "n=9, which breaks"),
        ({"shapes": "n"}, "has shapes= of its own"),
        ({"memory": 0}, "found no sizes"),
    ],
)
def test_mistakes(arguments, message):
    f = sod2.jit(lambda x: x * 2, shapes="n", constraints=("1 <= n", "n <= 8"))
    with pytest.raises(errors.SpecError, match=message):
        sod2.verify(f, jnp.ones(3), **arguments)


def test_not_a_function_of_ours():
    with pytest.raises(errors.SpecError, match="decorate it"):
        sod2.verify(jnp.tanh, jnp.ones(3))


def test_examples_that_break_the_contract():
    with pytest.raises(errors.ShapeError, match="rank 2"):
        sod2.verify(sod2.jit(lambda x: x, shapes="n"), jnp.ones((3, 3)))


def test_the_public_names():
    assert isinstance(sod2.verify(sod2.jit(lambda x: x, shapes="n"), jnp.ones(3), most=2), sod2.VerifyReport)
    from sod2jax.verification import verify as module

    assert callable(sod2.verify)
    assert module.verify is sod2.verify


def test_typed_keys_are_arguments_and_results():
    f = sod2.jit(lambda keys, x: (jax.vmap(jax.random.normal)(keys) + x, jax.random.split(keys[0])), shapes="n")
    assert sod2.verify(f, jax.random.split(jax.random.key(0), 3), np.ones(3, np.float32))
