"""Two measurements, before and after: what became worse.

* Times of two runs differ by what else the machine did. Where both runs have plain JAX beside an engine, their times over JAX's,
  within rounds, are compared ("over jax"), and JAX itself is the yardstick; else the times themselves are. Both are shown.
* A time is worse if it is so by the factor `threshold` and if the middle half of its rounds lies above that of before.
* Bytes are worse by the factor, compilations by one more. A difference to plain JAX is worse if it came to be beyond the
  tolerance: below, it is rounding.
* What ran and has now a reason is worse. What is in one measurement only is listed, and so are sizes that are.
* `ok` asks for sod2's rows only: peers that became worse are shown, but are not ours to mend. Nothing to compare is not ok.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from rich.markup import escape

from sod2jax.bench.measurement import OURS, REFERENCE, Measurement, Result, Row
from sod2jax.bench.report import Report, number
from sod2jax.bench.table import made, put, ratio, size_text
from sod2jax.bench.timing import quantile

Times = tuple[list[float], list[float]]  # in rounds: seconds, and over JAX's
COLUMNS = ("before", "after", "over\njax", "after over\nbefore", "")


@dataclass(frozen=True)
class Change:
    """A figure of one engine on one workload, before and after, in `unit`."""

    workload: str
    engine: str
    figure: str
    unit: str
    before: float
    after: float
    ratio: float  # after over before; of times over JAX's where there are such
    over_jax: bool
    worse: bool


@dataclass
class Comparison:
    threshold: float
    changes: list[Change] = field(default_factory=list)
    stopped: list[tuple[str, str, str]] = field(default_factory=list)  # (workload, engine, reason) of rows that ran before
    notes: list[str] = field(default_factory=list)  # what cannot be compared, and what makes comparing doubtful

    @property
    def worse(self) -> list[Change]:
        return [c for c in self.changes if c.worse]

    @property
    def ok(self) -> bool:
        engines = [c.engine for c in self.worse] + [engine for _, engine, _ in self.stopped]
        return bool(self.changes) and not any(engine.split("-")[0] == OURS for engine in engines)

    def show(self, report: Report) -> None:
        """Prints what changed by the threshold, either way, and what cannot be compared."""
        moved = [c for c in self.changes if c.worse or not 1 / self.threshold <= c.ratio <= self.threshold]
        table = made(COLUMNS)
        for c in moved:
            values = (f"{number(v)}{c.unit and ' ' + c.unit}" for v in (c.before, c.after))
            how = ("yes" if c.over_jax else "no") if c.unit == "ms" else ""
            table.add_row(
                escape(f"{c.workload}, {c.engine}: {c.figure}"), *values, how, ratio(c.ratio), "worse" if c.worse else ""
            )
        if moved:
            put(f"Changed by more than {self.threshold:g}, or wrong", table, report)
        report.say(*map(escape, self.notes))
        report.say(*(escape(f"worse: {engine} on {workload} ran, and now: {why}") for workload, engine, why in self.stopped))
        count = len(self.worse) + len(self.stopped)
        report.say(f"{len(self.changes)} figures compared, {count} worse" + (" (none of sod2's)" if count and self.ok else ""))


def compare(a: Measurement, b: Measurement, threshold: float = 1.1) -> Comparison:
    """What changed from `a` to `b`."""
    found = Comparison(threshold, notes=list(_conditions(a, b)))
    before, after = ({(r.name, row.engine): (r, row) for r in m.results for row in r.rows} for m in (a, b))
    for there, these, those in (("before", before, after), ("after", after, before)):
        found.notes += [f"only {there}: {engine} on {workload}" for workload, engine in these if (workload, engine) not in those]
    for key in (key for key in before if key in after):
        (old_result, old), (new_result, new) = before[key], after[key]
        if new.reason and not old.reason:
            found.stopped.append((*key, new.reason))
        elif old.reason and not new.reason:
            found.notes.append(f"runs now: {key[1]} on {key[0]}")
        found.changes += _changes(_Side(old_result, old), _Side(new_result, new), threshold)
        found.notes += _sizes(key, old, new)
    return found


def _conditions(a: Measurement, b: Measurement) -> Iterator[str]:
    """What else is different."""
    known = [{**m.machine, "threads": m.threads, **m.versions} for m in (a, b)]
    for name in dict.fromkeys((*known[0], *known[1])):
        before, after = (k.get(name, "unknown") for k in known)
        if before != after:
            yield f"{name}: {before} before, {after} after"
    sizes = {r.name: r.small for r in a.results}
    for name in (r.name for r in b.results if r.small != sizes.get(r.name, r.small)):
        yield f"{name}: the small form in one of them only"


def _sizes(key: tuple[str, str], old: Row, new: Row) -> Iterator[str]:
    workload, engine = key
    if old.reason or new.reason:
        return
    sizes = [[size_text(s.size) for s in row.steady] for row in (old, new)]
    for there, these, those in (("before", *sizes), ("after", *reversed(sizes))):
        if only := [size for size in these if size not in those]:
            yield f"only {there}: {engine} on {workload} at {', '.join(only)}"
    if [c.size for c in old.trace] != [c.size for c in new.trace]:
        yield f"another trace: {engine} on {workload}; its first pass and compilations are not compared"


@dataclass(frozen=True)
class _Side:
    """A row and what it was measured beside."""

    result: Result
    row: Row

    @property
    def jax(self) -> Row | None:
        return self.result.row(REFERENCE) if self.row.engine != REFERENCE else None

    def steady(self) -> dict[str, tuple[Times, int | None]]:
        """Times and temporary memory by the size."""
        found = {}
        for i, s in enumerate(self.row.steady):
            reference = self.jax.steady[i].rounds if self.jax and i < len(self.jax.steady) else []
            found[size_text(s.size)] = (s.rounds, [x / y for x, y in zip(s.rounds, reference, strict=False)]), s.temp_bytes
        return found

    def first_pass(self) -> Times:
        over = self.result.first_pass_ratio(self.row.engine, REFERENCE) if self.jax else None
        return [self.row.first_pass], [] if over is None else [over]


def _changes(old: _Side, new: _Side, threshold: float) -> Iterator[Change]:
    name, engine = old.result.name, old.row.engine

    def times(figure: str, before: Times, after: Times):
        if not before[0] or not after[0]:
            return
        over_jax = bool(before[1] and after[1])
        x, y = before[over_jax], after[over_jax]
        change = _over(median(y), median(x))
        worse = change > threshold and quantile(y, 0.25) > quantile(x, 0.75) and engine != REFERENCE
        yield Change(name, engine, figure, "ms", 1e3 * median(before[0]), 1e3 * median(after[0]), change, over_jax, worse)

    def count(figure, unit, x, y, factor):
        if x is not None and y is not None:
            scale = 1e-6 if unit == "MB" else 1
            yield Change(name, engine, figure, unit, scale * x, scale * y, _over(y, x), False, y > factor * x)

    before, after = old.steady(), new.steady()
    for size in (size for size in before if size in after):
        yield from times(f"steady at {size}", before[size][0], after[size][0])
        yield from count(f"temp memory at {size}", "MB", before[size][1], after[size][1], threshold)
    if old.row.trace and [c.size for c in old.row.trace] == [c.size for c in new.row.trace]:
        yield from times("first pass", old.first_pass(), new.first_pass())
        yield from count("compilations", "", old.row.compilations, new.row.compilations, 1)
    yield from count("kept memory", "MB", old.row.kept_bytes, new.row.kept_bytes, threshold)
    x, y = old.row.difference, new.row.difference
    if x is not None and y is not None:
        was, is_wrong = old.result.wrong(old.row), new.result.wrong(new.row)
        change = 1.0 if was == is_wrong else _over(y, x)
        yield Change(name, engine, "difference to plain JAX", "", x, y, change, False, is_wrong and not was)


def _over(y: float, x: float) -> float:
    """y / x; 1 for 0 / 0."""
    if math.isnan(x) or math.isnan(y):
        return math.nan
    return y / x if x else (math.inf if y else 1.0)
