"""What a report prints, without a terminal."""

import io
import json

import pytest
from rich.console import Console

from sod2jax.bench.report import Report, number, save


@pytest.mark.parametrize(
    ("value", "want"),
    [("text", "text"), (64, "64"), (0.0, "0.00"), (7.1e-7, "7.1e-07"), (0.0125, "0.013"), (4.873, "4.87"), (458.7, "459")],
)
def test_number(value, want):
    assert number(value) == want


def test_table_keeps_every_number_whole_and_shows_no_progress_without_a_terminal():
    file = io.StringIO()
    report = Report(Console(file=file))
    rows = [{"name": "jax.jit, padded to powers of two", "a": 1.25, "b": 64}]
    assert list(report.progress([1, 2], "waiting")) == [1, 2]
    assert file.getvalue() == ""
    report.table("Title", rows, {"": "name", "first\npass s": "a", "compiled": "b"})
    report.say("word " * 40)
    text = file.getvalue()
    assert all(part in text for part in ("Title", "jax.jit, padded to powers of two", "1.25", "64", "first", "compiled"))
    assert text.splitlines()[-1] == "word " * 40


def test_save(tmp_path):
    save([{"a": 1}], str(tmp_path / "rows.json"))
    save([{"a": 1}], None)
    assert json.loads((tmp_path / "rows.json").read_text()) == [{"a": 1}]
