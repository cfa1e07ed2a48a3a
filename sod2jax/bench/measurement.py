"""What a benchmark measured: one Row for an engine on a workload. JSON keeps it; tables, pages and comparisons are made from it.

Times are in seconds, memory in bytes. What an engine cannot tell is None; an engine that stopped keeps what was measured, and
`reason` says why it stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from sod2jax.bench.timing import quantile

FORMAT = 1
OURS, REFERENCE = "sod2", "jax"


@dataclass
class Call:
    """A call of the trace: its size, and the seconds until its result was there, compilation included if there was one."""

    size: dict[str, int]
    seconds: float


@dataclass
class Steady:
    """Calls at one size after the first ones: `rounds` holds one time for each round; in a round every engine has its turn."""

    size: dict[str, int]
    rounds: list[float] = field(default_factory=list)
    switch: float | None = None  # the first call at this size when the call before it was at another, nothing to compile
    temp_bytes: int | None = None  # of temporary memory at this size: our arena, XLA's temp_size
    padding: float | None = None  # share of the elements of the inputs that is padding
    difference: float | None = None  # largest, to plain JAX, over the largest magnitude of JAX's result

    @property
    def seconds(self) -> float | None:
        return median(self.rounds) if self.rounds else None


@dataclass
class Row:
    """One engine on one workload."""

    engine: str
    reason: str = ""  # why it stopped or was not run: one line
    trace: list[Call] = field(default_factory=list)
    steady: list[Steady] = field(default_factory=list)
    prepare: float | None = None  # seconds of conversion and compilation before the first call
    compilations: int | None = None  # over trace and steady sizes
    kept_bytes: int | None = None  # besides params and temporary memory: packed weights
    process_bytes: int | None = None  # the process's high-water mark
    facts: dict[str, Any] = field(default_factory=dict)  # versions, counts of eqns and kernels, what is special

    @property
    def first_pass(self) -> float | None:
        """Seconds for the calls of the trace, and the compilations among them. `prepare` comes before."""
        return sum(c.seconds for c in self.trace) if self.trace else None

    def quantile(self, q: float) -> float | None:
        return quantile([c.seconds for c in self.trace], q) if self.trace else None

    @property
    def difference(self) -> float | None:
        known = [s.difference for s in self.steady if s.difference is not None]
        return max(known, default=None) if not any(map(math.isnan, known)) else math.nan

    @property
    def temp_bytes(self) -> int | None:
        return max((s.temp_bytes for s in self.steady if s.temp_bytes is not None), default=None)

    @property
    def switch_ratio(self) -> float | None:
        """The first call at another size over a steady one."""
        return geometric_mean(s.switch / s.seconds for s in self.steady if s.switch is not None and s.seconds)

    @property
    def padding(self) -> float | None:
        known = [s.padding for s in self.steady if s.padding is not None]
        return sum(known) / len(known) if known else None


@dataclass
class Result:
    """A workload, measured by several engines; the first row is sod2jax's. Rows whose results are wrong have no ratios."""

    name: str
    file: str
    small: bool
    dims: list[str]
    tolerance: float
    layers: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def row(self, engine: str) -> Row | None:
        return next((r for r in self.rows if r.engine == engine), None)

    def right(self, engine: str) -> Row | None:
        """The row, if its results are not wrong: how fast a wrong result comes says nothing."""
        row = self.row(engine)
        return None if row is None or self.wrong(row) else row

    def ratio(self, engine: str, over: str, at: int) -> float | None:
        """Time of `engine` over that of `over` at steady size number `at`: the median over the rounds that both have."""
        a, b = self.right(engine), self.right(over)
        if a is None or b is None or min(len(a.steady), len(b.steady)) <= at:
            return None
        pairs = list(zip(a.steady[at].rounds, b.steady[at].rounds, strict=False))
        return median(x / y for x, y in pairs) if pairs else None

    def mean_ratio(self, engine: str, over: str) -> float | None:
        """The geometric mean of `ratio` over the steady sizes that both have."""
        a = self.row(engine)
        found = (self.ratio(engine, over, i) for i in range(len(a.steady) if a else 0))
        return geometric_mean(r for r in found if r is not None)

    def first_pass_ratio(self, engine: str, over: str) -> float | None:
        """None if one of them did not come to the end of the trace."""
        a, b = self.right(engine), self.right(over)
        if a is None or b is None or not len(a.trace) == len(b.trace) == self.calls or not b.first_pass:
            return None
        return a.first_pass / b.first_pass

    def temp_ratio(self, engine: str, over: str) -> float | None:
        """Of the largest temporary memory, over the sizes that both know."""
        a, b = self.right(engine), self.right(over)
        both = zip(a.steady if a else (), b.steady if b else (), strict=False)
        known = [(x.temp_bytes, y.temp_bytes) for x, y in both if x.temp_bytes is not None and y.temp_bytes is not None]
        below = max((y for _, y in known), default=0)
        return max(x for x, _ in known) / below if below else None

    @property
    def calls(self) -> int:
        """Calls of the trace."""
        return max((len(r.trace) for r in self.rows), default=0)

    def wrong(self, row: Row) -> bool:
        """Whether the results of `row` differ by more than the tolerance."""
        return row.difference is not None and not row.difference <= self.tolerance


@dataclass
class Measurement:
    """One run of `sod2 bench`."""

    command: str
    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    threads: int
    results: list[Result] = field(default_factory=list)
    format: int = FORMAT

    @property
    def engines(self) -> list[str]:
        """All of them, in the order in which they were measured."""
        return list(dict.fromkeys(r.engine for result in self.results for r in result.rows))

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1)


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Of the values that are there and above zero."""
    known = [math.log(v) for v in values if v]
    return math.exp(sum(known) / len(known)) if known else None


def read(path: str | Path) -> Measurement:
    """The Measurement whose text is in the file; ValueError says what is wrong with the file."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if data.get("format") != FORMAT:
            raise ValueError(f"{path} has format {data.get('format')}, and this version reads {FORMAT}")
        results = [_result(r) for r in data.pop("results")]
        return Measurement(**data, results=results)
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise ValueError(f"{path} is no measurement of `sod2 bench --json`: {type(err).__name__}: {err}") from None


def _result(data: Mapping[str, Any]) -> Result:
    rows = [
        Row(**{**r, "trace": [Call(**c) for c in r["trace"]], "steady": [Steady(**s) for s in r["steady"]]}) for r in data["rows"]
    ]
    return Result(**{**data, "rows": rows})
