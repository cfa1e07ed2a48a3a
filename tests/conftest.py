"""What all tests share: the installed package, JAX on the CPU, deterministic hypothesis runs, golden texts.

* `python -m pytest` puts the repository on `sys.path`, where the folder `sod2jax/` would hide the installed package with its
  compiled runtime. It is taken off again, so tests see what `pip install` made: a copy, or with `-e` these very files.
* `golden(name, text)` compares with `tests/golden/<name>`; `pytest --update-golden` writes it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

pytest_plugins = ["harness.report", "programs.report", "sweep.options"]
ROOT = Path(__file__).parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; tests interrupt loops that never end
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("SOD2_CHECK", "1")  # every stage checks what it is given
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")  # of JAX's programs, which are the oracles: run once

import hypothesis  # noqa: E402  (after the environment is set: hypothesis plugins may import JAX)

hypothesis.settings.register_profile("plain", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.register_profile("long", deadline=None, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "plain"))


def pytest_addoption(parser):
    parser.addoption("--calls", type=int, default=120, help="calls per thread of the stress test in tests/test_api_threads.py")
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/* instead of comparing with them")
    parser.addoption("--growth", type=int, default=40, help="lines of the programs of tests/test_compile_growth.py, at most")


@pytest.fixture
def golden(request):
    """Compares a text with the file of that name in tests/golden."""

    def compare(name: str, text: str):
        path = ROOT / "tests" / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"{path} is missing; write it with `pytest --update-golden` and review it"
        assert text == path.read_text(), f"{path} differs; if that is meant, run `pytest --update-golden` and review the change"

    return compare


@pytest.fixture
def agrees():
    """Compiles a function once for symbolic sizes and compares it with JAX at each of several sizes.

    `agrees(fun, ("b, s", "s"), [{"b": 2, "s": 5}, ...], make=...)`: `make(rng, shape)` gives an argument, by default f32 normals
    with NaN, infinities, zeros of both signs and denormals sprinkled in where `special` says so. `compiles`: how many
    compilations the sizes take, where a size of 0 or 1 is a version of its own because JAX computes something else there.
    """
    import jax
    import numpy as np

    import sod2jax as sod2

    def normal(rng, shape):
        return rng.standard_normal(shape).astype(np.float32)

    def compare(fun, shapes, sizes, make=normal, rtol=2e-5, atol=2e-5, special=False, compiles=1):
        makers = make if isinstance(make, (tuple, list)) else [make] * len(shapes)
        compiled = sod2.jit(fun, shapes=tuple(shapes))
        for number, env in enumerate(sizes):
            rng = np.random.default_rng(number)
            arguments = []
            for text, maker in zip(shapes, makers, strict=True):
                shape = tuple(eval(d, {}, dict(env)) for d in text.split(",") if d.strip())
                x = maker(rng, shape)
                if special and x.size and x.dtype.kind == "f":
                    flat = x.reshape(-1)
                    places = rng.integers(0, x.size, min(x.size, 6))
                    values = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42 if special is True else 0.0]
                    flat[places] = rng.choice(values, len(places))
                arguments.append(x)
            found, expected = jax.tree.leaves(compiled(*arguments)), jax.tree.leaves(jax.jit(fun)(*arguments))
            assert len(found) == len(expected)
            for f, e in zip(found, expected, strict=True):
                assert (f.shape, f.dtype, f.weak_type) == (e.shape, e.dtype, e.weak_type), env
                exact = np.dtype(e.dtype).kind in "biu"
                np.testing.assert_allclose(f, e, rtol=0 if exact else rtol, atol=0 if exact else atol, err_msg=str(env))
        assert compiled.cache_info().compiles == compiles, compiled.cache_info()
        return compiled

    return compare


def pytest_runtest_teardown(item, nextitem):
    """JAX keeps what it compiled for the oracles as long as their functions live, as long as the test files: gigabytes."""
    if nextitem is None or nextitem.path != item.path:
        import jax

        jax.clear_caches()
