"""Showing measurements: a table for people, a file of JSON for machines.

* A measurement is a list of rows; a row is a dict from key to text, count or number.
* Columns are given as {heading: key}; units stand in the heading.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table


class Report:
    """A console that shows progress only in a terminal, and is wide enough for a table where there is none."""

    def __init__(self, console: Console | None = None):
        console = console or Console(highlight=False)
        self.console = console if console.is_terminal else Console(highlight=False, file=console.file, width=110)

    def progress(self, items: Sequence, what: str) -> Iterator:
        """The items, with a bar that goes away at the end."""
        yield from track(items, what, console=self.console, transient=True, disable=not self.console.is_terminal)

    def say(self, *lines: str) -> None:
        for line in lines:
            self.console.print(line, soft_wrap=True)

    def table(self, title: str, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
        table = Table(title=title, box=SIMPLE_HEAD, title_style="bold")
        for i, heading in enumerate(columns):
            table.add_column(heading, justify="right" if i else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(number(row[key]) for key in columns.values()))
        self.console.print(table)


def number(value: Any) -> str:
    """Three digits are enough for a measured number; counts and texts stay as they are."""
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    if size == 0 or 1e-3 <= size < 10:
        return f"{value:.2f}" if size == 0 or size >= 1 else f"{value:.3f}"
    return f"{value:.1e}" if size < 1e-3 else f"{value:.1f}" if size < 100 else f"{value:.0f}"


def save(rows: Sequence[Mapping[str, Any]], path: str | None) -> None:
    """Writes the rows to a JSON file, if a path is given."""
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(list(rows), file, indent=2)
