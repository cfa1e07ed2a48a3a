"""Tables of a Measurement: for a terminal (`show`) and for a README (`markdown`).

* Every row of the measurement has its line; a figure that is not known is "-", and why an engine stopped stands below the table.
* Ratios are ours over theirs: "sod2 takes 0.48" of an engine's time. Below 1 is good.
* A difference to plain JAX beyond the workload's tolerance is marked with "!", and how fast such a result comes is not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sod2jax.bench.measurement import OURS, REFERENCE, Measurement, Result, Row, Steady, geometric_mean
from sod2jax.bench.report import Report, number

MISSING = "-"
ROW = ("prepare\ns", "first\npass s", "p50\nms", "p99\nms", "com-\npiled", "switch", "sod2\ntakes", "temp\nMB", "RSS\nMB",
       "pad-\nding", "differ-\nence")  # fmt: skip
SIZE = ("steady\nms", "switch\nms", "sod2\ntakes", "temp\nMB", "padding", "difference")
MEAN = ("workloads", "steady time", "first pass", "temp memory")
LEGEND = (
    "prepare: conversion before the first call; first pass: the trace, compilations included; p50, p99: its calls",
    "switch: the first call at another size over a steady one; sod2 takes: its steady time over the engine's",
)


def show(measurement: Measurement, report: Report, details: bool = False) -> None:
    """Prints the summary; with `details`, each workload's sizes before it."""
    if details:
        for result in measurement.results:
            sizes(result, report)
    table = made(ROW)
    for result in measurement.results:
        table.add_row(escape(result.name) if result.rows else f"{escape(result.name)}: no engine", style="bold")
        for row in result.rows:
            table.add_row(f"  {escape(row.engine)}", *map(marked, cells(result, row)))
    put("Workloads", table, report)
    report.say(*map(escape, LEGEND), *map(escape, notes(measurement)))
    means(measurement, report)


def sizes(result: Result, report: Report) -> None:
    """A line for each steady size and engine of a workload."""
    table = made(SIZE)
    longest = max((r.steady for r in result.rows), key=len, default=[])
    for i, first in enumerate(longest):
        table.add_row(size_text(first.size), style="bold")
        for row in result.rows:
            s = row.steady[i] if i < len(row.steady) else Steady(first.size)
            figures = scaled(s.seconds, 1e3), scaled(s.switch, 1e3), ours_over(result.ratio(OURS, row.engine, i), row)
            others = scaled(s.temp_bytes, 1e-6), percent(s.padding), difference(s.difference, result.tolerance)
            table.add_row(f"  {escape(row.engine)}", *map(marked, (*figures, *others)))
    put(result.name, table, report)


def means(measurement: Measurement, report: Report) -> None:
    """Geometric means over the workloads, one line for each engine that sod2 was measured with."""
    table = made(MEAN)
    for engine, *figures in mean_lines(measurement):
        table.add_row(escape(engine), *figures)
    if table.row_count:
        put("sod2 over each engine: geometric means over the workloads that both ran", table, report)


def mean_lines(measurement: Measurement) -> Iterator[tuple[str, ...]]:
    """(engine, and the figures of MEAN)"""
    for engine in measurement.engines:
        if engine != OURS:
            steady, first, temp = (
                [of(result, OURS, engine) for result in measurement.results]
                for of in (Result.mean_ratio, Result.first_pass_ratio, Result.temp_ratio)
            )
            yield engine, str(sum(x is not None for x in steady)), *(ratio(geometric_mean(x)) for x in (steady, first, temp))


def notes(measurement: Measurement) -> Iterator[str]:
    """Why rows are not complete, and which are wrong."""
    for result in measurement.results:
        for row in result.rows:
            if row.reason:
                yield f"{row.engine} on {result.name}: {row.reason}"
            if result.wrong(row):
                told = f"differs from plain JAX by {number(row.difference)}, and {number(result.tolerance)} is tolerated"
                yield f"! {row.engine} on {result.name} {told}"


def markdown(measurement: Measurement) -> str:
    """For a README: a row for each workload, the geometric means as the last one, reasons and differences below."""
    peers = [e for e in measurement.engines if e != OURS]
    over_jax = ("temp memory over jax", "first pass over jax") if REFERENCE in peers else ()
    lines = [["workload", "steady ms", *(f"over {p}" for p in peers), *over_jax, "compilations"]]
    for result in measurement.results:
        ours = result.row(OURS) or Row(OURS)
        line = [result.name, scaled(geometric_mean(s.seconds for s in ours.steady), 1e3)]
        line += [ratio(result.mean_ratio(OURS, p)) for p in peers]
        line += [ratio(of(OURS, REFERENCE)) for of in (result.temp_ratio, result.first_pass_ratio)] if over_jax else []
        lines.append([*line, count(ours.compilations)])
    if peers:
        means = {engine: figures for engine, _, *figures in mean_lines(measurement)}
        line = [means[p][0] for p in peers] + ([means[REFERENCE][2], means[REFERENCE][1]] if over_jax else [])
        lines.append(["geometric mean", "", *line, ""])
    told = "".join(f"- {note}\n" for note in notes(measurement))
    return rows_of(lines) + (told and f"\n{told}")


def rows_of(lines: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; its first line is the heading."""
    head, *body = lines
    rule = ["---", *["---:"] * (len(head) - 1)]
    clean = lambda cell: cell.replace("|", "&#124;").replace("\n", " ")
    return "".join(f"| {' | '.join(map(clean, line))} |\n" for line in (head, rule, *body))


# -- cells


def cells(result: Result, row: Row) -> tuple[str, ...]:
    """The figures of ROW."""
    unfinished = "> " if 0 < len(row.trace) < result.calls else ""
    times = seconds(row.prepare), unfinished + seconds(row.first_pass), *(scaled(row.quantile(q), 1e3) for q in (0.5, 0.99))
    steady = ratio(row.switch_ratio), ours_over(result.mean_ratio(OURS, row.engine), row)
    memory = scaled(row.temp_bytes, 1e-6), scaled(row.process_bytes, 1e-6)
    others = percent(row.padding), difference(row.difference, result.tolerance)
    return *times, count(row.compilations), *steady, *memory, *others


def ours_over(value: float | None, row: Row) -> str:
    return MISSING if row.engine == OURS else ratio(value)


def ratio(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}" if 0.1 <= value < 10 else number(value)


def count(value: int | None) -> str:
    return MISSING if value is None else str(value)


def scaled(value: float | None, unit: float) -> str:
    return MISSING if value is None else number(float(value * unit))


def seconds(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}" if value < 10 else number(value)


def percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.0f} %"


def difference(value: float | None, tolerance: float) -> str:
    if value is None:
        return MISSING
    return f"{value:.0e}" if value <= tolerance else f"{value:.0e} !"


def marked(cell: str) -> str:
    """For a terminal: what is wrong is red."""
    return f"[bold red]{cell}[/]" if cell.endswith("!") else cell


def size_text(size: dict[str, int]) -> str:
    return " ".join(f"{dim}={n}" for dim, n in size.items())


def made(columns: Sequence[str]) -> Table:
    """An empty table: names on the left, figures on the right."""
    table = Table(box=SIMPLE_HEAD)
    for heading in ("", *columns):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    return table


def put(title: str, table: Table, report: Report) -> None:
    """Prints a table with every name and figure whole: where the terminal is too narrow, lines are longer than it."""
    console = report.console
    needed = table.__rich_measure__(console, console.options.update(width=1000)).maximum
    if needed > console.width:
        console = Console(file=console.file, force_terminal=console.is_terminal, width=needed)
    report.say(f"[bold]{escape(title)}[/bold]")
    console.print(table)
