"""What parts of the compiler are worth: `sod2 bench --disable` measures sod2 without them, then with one more at a time.

* The order is that of SoD2's Figures 5 and 6: fusion, execution order (SEP), memory plan (DMP), kernel versions by size (MVC).
* An engine named "sod2-fusion-order" is sod2 without fusion and order. The first one, without all of them, is the baseline.
* Two tables have a column for each step: steady time and temporary memory over the baseline's. Below 1 is better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.markup import escape

from sod2jax.bench.measurement import OURS, Measurement, Result, geometric_mean
from sod2jax.bench.report import Report
from sod2jax.bench.table import made, notes, put, ratio
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


def show(measurement: Measurement, report: Report) -> None:
    """The two tables of a measurement of the engines that `steps` names."""
    found = _steps_of(measurement)
    baseline = found[0][1] if found else OURS
    for title, of in (("Steady time", Result.mean_ratio), ("Temporary memory", Result.temp_ratio)):
        _table(f"{title} over that without {_without(baseline)}", measurement, found, of, report)
    report.say(*map(escape, notes(measurement)))


def _table(title: str, measurement: Measurement, found, of: Callable[[Result, str, str], float | None], report: Report) -> None:
    table = made([label for label, _ in found])
    columns = [[of(result, engine, found[0][1]) for result in measurement.results] for _, engine in found]
    for i, result in enumerate(measurement.results):
        table.add_row(escape(result.name), *(ratio(column[i]) for column in columns))
    table.add_section()
    table.add_row("geometric mean", *(ratio(geometric_mean(column)) for column in columns))
    put(title, table, report)


def _steps_of(measurement: Measurement) -> list[tuple[str, str]]:
    """The steps whose engines are in the measurement."""
    engines = [e for e in measurement.engines if e.split("-")[0] == OURS and set(e.split("-")[1:]) <= set(DISABLE)]
    return steps({part for engine in engines for part in engine.split("-")[1:]})


def _label(part: str) -> str:
    return f"+ {part}\n({PAPER[part]})" if part in PAPER else f"+ {part}" if part else "baseline"


def _without(engine: str) -> str:
    return ", ".join(engine.split("-")[1:]) or "nothing"
