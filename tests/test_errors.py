"""The errors are what `jax.jit` would raise in their place, and say what is asked of them."""

import pytest

from sod2jax import errors


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ShapeError, TypeError),
        (errors.SpecError, ValueError),
        (errors.UnsupportedError, NotImplementedError),
        (errors.CompileLimitError, RuntimeError),
        (errors.OutOfMemoryError, MemoryError),
        (errors.GuardError, ValueError),
        (errors.VerifyError, AssertionError),
        (errors.InternalError, RuntimeError),
    ],
)
def test_kinds_are_sod2errors_and_builtins(kind, builtin):
    assert issubclass(kind, errors.Sod2Error)
    assert issubclass(kind, builtin)


def test_unsupported_primitive_names_primitive_line_and_way_out():
    message = str(errors.unsupported_primitive("cholesky", "model.py:12 (solve)", detail="f32[n, n]"))
    assert "`cholesky`" in message
    assert "model.py:12 (solve)" in message
    assert "f32[n, n]" in message
    assert "jax.jit" in message
