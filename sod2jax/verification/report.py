"""What `sod2.verify` gives back: which sizes agree, which were skipped, and for each failure a script that reproduces it."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Group
from rich.syntax import Syntax
from rich.text import Text

from sod2jax.errors import VerifyError

MOST_LEAVES = 12  # of one argument that a script spells out
MOST_ELEMENTS = 16  # of one array that a script spells out

Sizes = Mapping[str, int]


def sizes_text(sizes: Sizes) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items()) or "the sizes given"


@dataclass(frozen=True)
class Skip:
    """Sizes at which plain JAX raises, so that there is nothing to compare with."""

    sizes: Sizes
    why: str


@dataclass(frozen=True)
class Failure:
    """One way to fail, at the smallest sizes that show it.

    `path` is the output ("" is the whole result), `message` what differs and where most, `found_at` the sizes at which it was met
    first, and `script` a Python program that shows it.
    """

    sizes: Sizes
    path: str
    message: str
    found_at: tuple[Sizes, ...]
    script: str

    def __str__(self):
        more = f", first met at {sizes_text(self.found_at[0])}" if self.found_at[0] != self.sizes else ""
        more += f" and {len(self.found_at) - 1} more" if len(self.found_at) > 1 else ""
        return f"{sizes_text(self.sizes)}{more}:\n  output{self.path and ' ' + self.path}: {self.message}"


@dataclass(frozen=True)
class VerifyReport:
    """The outcome of `sod2.verify`: prints as text, in a terminal with colours (`rich.print(report)`).

    `checked` are the sizes that were compared, `skipped` those at which JAX raises; `compiles` counts what `f` compiled for them.
    """

    name: str
    checked: tuple[Sizes, ...]
    skipped: tuple[Skip, ...]
    failures: tuple[Failure, ...]
    compiles: int

    @property
    def ok(self) -> bool:
        """Whether something was compared, and nothing differed."""
        return bool(self.checked) and not self.failures

    def raise_if_failed(self) -> None:
        """Raises `errors.VerifyError`, an AssertionError with this report as its text, unless `ok`."""
        if not self.ok:
            raise VerifyError(str(self))

    def headline(self) -> str:
        failing = len({tuple(s.items()) for f in self.failures for s in f.found_at})
        agree = len(self.checked) - failing
        parts = [f"{agree} size{'s' * (agree != 1)} agree{'s' * (agree == 1)} with jax.jit"]
        parts += [f"{failing} differ{'s' * (failing == 1)}"] if failing else []
        parts += [f"{len(self.skipped)} skipped because JAX raises"] if self.skipped else []
        parts.append(f"{self.compiles} compilation{'s' * (self.compiles != 1)}")
        return f"{self.name}: {', '.join(parts)}"

    def _note(self) -> str:
        return f"JAX raises at every size, first: {self.skipped[0].why}" if self.skipped and not self.checked else ""

    def __str__(self):
        lines = [self.headline(), *filter(None, [self._note()])]
        for number, f in enumerate(self.failures, 1):
            lines += ["", f"{number}. {f}", "  To reproduce:", "", *("    " + line for line in f.script.splitlines())]
        return "\n".join(lines)

    def __rich__(self):
        parts: list[Any] = [Text(self.headline(), style="bold green" if self.ok else "bold red")]
        parts += [Text(self._note())] if self._note() else []
        for number, f in enumerate(self.failures, 1):
            parts += [Text(f"\n{number}. {f}\n  To reproduce:\n"), Syntax(f.script, "python", background_color="default")]
        return Group(*parts)


# -- scripts


class Source:
    """A Python expression that is its own repr: pytrees of these print as programs."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self):
        return self.text


def literal(value: Any) -> Source | None:
    """A small array or scalar, spelled out."""
    x = np.asarray(value)
    if isinstance(value, (bool, int, float, complex)):
        return Source(_numbers(repr(value)))
    if x.size > MOST_ELEMENTS:
        return None
    return Source(f'jnp.array({_numbers(repr(x.tolist()))}, "{x.dtype.name}")')


def _numbers(text: str) -> str:
    return text.replace("nan", "np.nan").replace("inf", "np.inf")


def script(
    fun: Callable,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    about: str,
    rtol: float,
    atol: float | None,
) -> str:
    """A program that calls `fun` and its plain version side by side; leaves of the arguments are `Source`s.

    `options` are those of `jax.jit` that matter, such as static_argnums.
    """
    name = getattr(fun, "__name__", "f")
    jitted = "".join(f", {k}={v!r}" for k, v in options.items() if v)
    call = "*args, **kwargs" if kwargs else "*args"
    lines = [
        *(f"# {line}" for line in about.splitlines()),
        "import jax",
        "import jax.numpy as jnp",
        "import numpy as np",
        "from sod2jax.verification.values import draw",
        _import(fun, name),
        "",
        "args = (",
        *(f"    {_argument(a, f'positional argument {i}')}" for i, a in enumerate(args)),
        ")",
    ]
    if kwargs:
        lines += ["kwargs = {", *(f"    {k!r}: {_argument(v, f'argument {k!r}')}" for k, v in kwargs.items()), "}"]
    lines += [
        f"found, expected = {name}({call}), jax.jit({name}.__wrapped__{jitted})({call})",
        "for (path, e), f in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(found), strict=True):",
        "    assert (f.shape, f.dtype, f.weak_type) == (e.shape, e.dtype, e.weak_type), (path, f.aval, e.aval)",
        "    if np.size(e):",
        f"        least = {f'{rtol} * np.max(np.abs(e), initial=0, where=np.isfinite(e))' if atol is None else atol}",
        f"        np.testing.assert_allclose(f, e, rtol={rtol}, atol=least, err_msg=str(path))",
    ]
    return "\n".join(lines) + "\n"


def _import(fun: Callable, name: str) -> str:
    module, qualname = getattr(fun, "__module__", None), getattr(fun, "__qualname__", name)
    if module == "__main__" and (file := getattr(sys.modules[module], "__file__", None)):
        module = Path(file).stem
    if module and module != "__main__" and qualname.isidentifier():
        return f"from {module} import {qualname}"
    try:
        inner = inspect.unwrap(fun)
        where = f"{inspect.getsourcefile(inner)}:{inspect.getsourcelines(inner)[1]}"
    except (TypeError, OSError):
        where = "defined by you"
    return f"{name} = ...  # the function, {where}"


def _argument(value: Any, what: str) -> str:
    text = repr(value)
    leaves = len(jax.tree.leaves(value))
    if leaves <= MOST_LEAVES and _is_plain(text):
        return f"{text},"
    return f"...,  # {what}, {leaves} array{'s' * (leaves != 1)}: as you gave it"


def _is_plain(text: str) -> bool:
    """Whether this is Python over literals, `draw`, `np` and `jnp`."""
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return all(node.id in ("draw", "np", "jnp") for node in ast.walk(tree) if isinstance(node, ast.Name))
