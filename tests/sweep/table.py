"""The sweep's outcomes as a page: totals, what is wrong, then a row for each function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .calls import table


def by_function(outcomes: Iterable[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for outcome in outcomes:
        found.setdefault(outcome["function"], []).append(outcome)
    return dict(sorted(found.items()))


def totals(outcomes: Iterable[dict]) -> list[str]:
    functions = by_function(o for o in outcomes if o["status"] not in ("skipped", "bad"))
    outcomes = [o for found in functions.values() for o in found]
    wrong = [name for name, found in functions.items() if any(o["status"] == "wrong" for o in found)]
    static = [name for name, found in functions.items() if any(o["static"] for o in found)]
    once = [name for name, found in functions.items() if all(o["compiles"] <= 1 for o in found)]
    general = [name for name, found in functions.items() if all(o["general"] <= 1 for o in found)]
    return [
        f"{len(functions)} functions, {len(outcomes)} calls of them",
        f"{len(functions) - len(wrong)} right at all sizes (or refused, as by `jax.jit`), {len(wrong)} wrong",
        f"{len(once)} compile once for all sizes, {len(general)} once for all sizes of 2 and more",
        f"{len(static)} compile once per size ({len(static) / max(len(functions), 1):.1%})",
    ]


def page(outcomes: Iterable[dict]) -> str:
    return "\n".join(_page(list(outcomes))) + "\n"


def _page(outcomes: list[dict]) -> Iterator[str]:
    yield "# The public functions of JAX, compiled once and called at many sizes"
    yield ""
    yield "Every public function of `jax.numpy`, `jax.lax`, `jax.nn`, `jax.random`, `jax.scipy`, `jax.image` and `jax.ops`, with"
    yield "all dims symbolic: compiled at ordinary sizes, then called at 0, 1, 2, equal and unequal sizes, with NaN and"
    yield "infinities, and compared with `jax.jit` in value, dtype, weak type and shape, or error. Made by"
    yield ""
    yield "    python tests/sweep/run.py --table docs/api_sweep.md"
    yield ""
    yield from (f"- {line}" for line in totals(outcomes))
    yield ""
    yield "Compilations: the largest number that one of the calls needed. A version of its own for a size of 0 or 1 is one, too."
    yield "In the calls `F` is the function; `f`, `i`, `b`, `c` make floats, integers, truth values, complex numbers of a shape."
    yield ""
    yield "| function | calls | right at all sizes | compilations | reason |"
    yield "|---|---|---|---|---|"
    for name, found in by_function(o for o in outcomes if o["status"] != "bad").items():
        yield _row(name, found)
    yield ""
    yield "## Functions without a call"
    yield ""
    for name, reason in sorted(table()[1].items()):
        yield f"- `{name}`: {reason}"


def _row(name: str, found: list[dict]) -> str:
    refused = all(o["status"] == "refused" for o in found)
    wrong = [o for o in found if o["status"] == "wrong"]
    right = "refused by `jax.jit`, too" if refused else "yes" if not wrong else f"**no**: {_cell(wrong[0]['problems'][0])}"
    most = max(found, key=lambda o: (o["static"], o["compiles"]))
    reason = ""
    if most["compiles"] > 1:
        kind = "sizes static" if most["static"] else "versions"
        reason = f"{kind}, `{most['text'].replace('|', chr(92) + '|')}`: {_cell(most['reasons'][-1])}"
    return f"| `{name}` | {len(found)} | {right} | {most['compiles'] or ''} | {reason} |"


def _cell(text: str) -> str:
    return (text if len(text) <= 160 else text[:159] + "…").replace("|", "\\|")
