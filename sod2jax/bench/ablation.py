"""What parts of the compiler are worth: `sod2 bench --disable` measures sod2 without them, then with one more at a time.

* The order is that of SoD2's Figures 5 and 6: fusion, execution order (SEP), memory plan (DMP), kernel versions by size (MVC).
* An engine named "sod2-fusion-order" is sod2 without fusion and order. The first one, without all of them, is the baseline.
* Two tables have a column for each step: steady time and temporary memory over the baseline's. Below 1 is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.markup import escape

from sod2jax.bench.measurement import OURS, Measurement, Result, geometric_mean
from sod2jax.bench.report import Report
from sod2jax.bench.table import made, notes, put, ratio, rows_of
from sod2jax.errors import SpecError
from sod2jax.options import DISABLE

PAPER = {"order": "SEP", "memory": "DMP", "variants": "MVC"}


def steps(disable: Sequence[str]) -> list[tuple[str, str]]:
    """(label, engine name) of each step: all of `disable` left out, then one part more, up to all of sod2."""
    if wrong := [part for part in disable if part not in DISABLE]:
        raise SpecError(f"{wrong[0]!r} cannot be left out; the parts are {', '.join(DISABLE)}")
    parts = [part for part in DISABLE if part in disable]
    return [(_label(parts[k - 1] if k else ""), engine_name(parts[k:])) for k in range(len(parts) + 1)]


def is_ablation(measurement: Measurement) -> bool:
    return len(_steps_of(measurement)) > 1


def engine_name(disabled: Sequence[str]) -> str:
    return "-".join((OURS, *disabled))


def tables(measurement: Measurement) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(title, label of each step, lines of a name and a figure for each step); the last line is the geometric mean."""
    found = _steps_of(measurement)
    baseline = found[0][1]
    for title, of in (("Steady time", Result.mean_ratio), ("Temporary memory", Result.temp_ratio)):
        columns = [[of(result, engine, baseline) for result in measurement.results] for _, engine in found]
        lines = [[r.name, *(ratio(column[i]) for column in columns)] for i, r in enumerate(measurement.results)]
        lines.append(["geometric mean", *(ratio(geometric_mean(column)) for column in columns)])
        yield f"{title} over that without {_without(baseline)}", [label for label, _ in found], lines


def show(measurement: Measurement, report: Report) -> None:
    """Prints the tables of a measurement of the engines that `steps` names."""
    for title, labels, lines in tables(measurement):
        table = made(labels)
        for k, (name, *figures) in enumerate(lines):
            table.add_row(escape(name), *figures, end_section=k == len(lines) - 2)
        put(title, table, report)
    report.say(*map(escape, notes(measurement)))


def markdown(measurement: Measurement) -> str:
    """The tables for a README, and what did not run."""
    found = (f"{title}:\n\n{rows_of([['', *labels], *lines])}" for title, labels, lines in tables(measurement))
    return "\n".join((*found, "".join(f"- {note}\n" for note in notes(measurement))))


def _steps_of(measurement: Measurement) -> list[tuple[str, str]]:
    """The steps whose engines are in the measurement."""
    engines = [e for e in measurement.engines if e.split("-")[0] == OURS and set(e.split("-")[1:]) <= set(DISABLE)]
    return steps({part for engine in engines for part in engine.split("-")[1:]})


def _label(part: str) -> str:
    return f"+ {part}\n({PAPER[part]})" if part in PAPER else f"+ {part}" if part else "baseline"


def _without(engine: str) -> str:
    return ", ".join(engine.split("-")[1:]) or "nothing"
