"""Errors of sod2jax: each says where, which rule broke in the user's words, the values, and what to do.

Each kind is also the built-in exception that `jax.jit` would raise in its place, so code that catches JAX's errors works on.
Where JAX has a word for the mistake (a non-array argument, a deleted array, a leaked tracer), JAX's own error is raised instead.
"""

from __future__ import annotations


class Sod2Error(Exception):
    """Base of all errors that sod2jax raises by itself."""


class ShapeError(Sod2Error, TypeError):
    """An argument does not fit `shapes=` or `constraints=`: names its path, the axis, the rule and the value."""


class SpecError(Sod2Error, ValueError):
    """`shapes=`, `constraints=` or another option of `sod2.jit` is malformed or contradicts itself."""


class UnsupportedError(Sod2Error, NotImplementedError):
    """Something that JAX can do and sod2jax cannot do yet: names it, the user's source line and the way out."""


class CompileLimitError(Sod2Error, RuntimeError):
    """A call would compile more than `max_compiles` versions: names the reason of each compilation."""


class OutOfMemoryError(Sod2Error, MemoryError):
    """The arena of a call could not be had: names the bytes asked for and their formula in the dims."""


class VerifyError(Sod2Error, AssertionError):
    """`sod2.verify` found a difference to plain JAX, or nothing that it could compare: the text is its report."""


class GuardError(Sod2Error, ValueError):
    """A check in the middle of a trace failed at these sizes: names the condition, the values and the user's source line."""


class StaticSizeWarning(UserWarning):
    """A symbolic size became a number, so each of its values compiles anew: names the size, who needed the number, the user's
    line and what to write instead. Given once per function and line; `cache_info()` says the same."""


class InternalError(Sod2Error, RuntimeError):
    """The compiler failed in its own words, a mistake of sod2jax: names the function and the stage; the cause is chained."""


def internal(name: str, stage: str, cause: Exception) -> InternalError:
    """The error for an exception that a stage should not raise; raise it `from` that."""
    return InternalError(
        f"sod2jax failed to compile {name} (stage {stage!r}): {type(cause).__name__}: {cause}. This is a mistake of sod2jax, not "
        "of the function: please report it with the function and its sizes. Until it is mended, jax.jit computes the same."
    )


def unsupported_primitive(name: str, where: str = "", *, detail: str = "", remedy: str = "") -> UnsupportedError:
    """The error for an eqn that no rule covers. `where` is the user's line (`compat.user_line(eqn)`)."""
    message = f"sod2jax does not support the primitive `{name}` yet"
    if detail:
        message += f" ({detail})"
    if where:
        message += f", bound at {where}"
    remedy = remedy or (
        "Call that part of the function under jax.jit outside of the sod2.jit function, or express it with supported "
        "operations (the README lists them)."
    )
    return UnsupportedError(f"{message}. {remedy}")


def not_yet(what: str, *, remedy: str = "") -> UnsupportedError:
    """The error for a documented option that is designed but not built."""
    return UnsupportedError(f"{what} is not supported yet." + (f" {remedy}" if remedy else ""))
