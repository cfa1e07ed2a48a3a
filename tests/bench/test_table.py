"""What the tables of a measurement say: each row has its line, nothing unknown is made up, nothing known is lost."""

import io
import math

import pytest
from rich.console import Console

from sod2jax.bench.measurement import Row, Steady
from sod2jax.bench.report import Report
from sod2jax.bench.table import difference, markdown, ratio, show


def shown(measurement, details=False, width=None):
    file = io.StringIO()
    report = Report(Console(file=file))
    if width:
        report.console = Console(file=file, width=width, force_terminal=True, color_system=None)
    show(measurement, report, details)
    return file.getvalue()


def line(text, *words):
    """The figures of the line that starts with these words."""
    found = [li.split() for li in text.splitlines() if li.split()[: len(words)] == list(words)]
    assert len(found) == 1, (words, text)
    return found[0][len(words) :]


def test_summary(made, made_result):
    text = shown(made(made_result("BERT"), made_result("SAM", ("h", "w"))))
    assert all(len(li) <= 110 for li in text.splitlines()), "it fits where there is no terminal"
    assert text.count("  onnxruntime  ") == 2 + 1, "a line for each workload, and one for the mean"
    for heading in ("prepare", "first", "p50", "p99", "switch", "temp", "RSS"):
        assert heading in text
    padded = next(li.split() for li in text.splitlines() if "jax-padded" in li)
    assert padded[1] == "-"
    assert padded[5] == "12"
    assert padded[-3:-1] == ["21", "%"]


def test_sod2_takes_less_time_than_an_engine(made, made_result):
    result = made_result("m", engines=("sod2", "jax"), rounds=3)
    for ours, theirs in zip(*(row.steady for row in result.rows), strict=True):
        ours.rounds, theirs.rounds = [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]
    text = shown(made(result))
    assert "0.50" in line(text, "jax", "1")[0], "the mean, over one workload"
    assert "0.50" in markdown(made(result))


def test_rows_that_did_not_run_have_a_line_and_a_reason(made, made_result):
    result = made_result("BERT", engines=("sod2", "jax", "torch"))
    result.rows.append(Row("iree", reason="cannot convert f32[b,s] [/bold]"))
    torch = result.row("torch")
    torch.reason, torch.trace, torch.steady = "stopped at call 3", torch.trace[:2], []
    text = shown(made(result))
    assert line(text, "iree", "-") == ["-"] * 10
    assert line(text, "torch", "-", ">")
    assert "iree on BERT: cannot convert f32[b,s] [/bold]\n" in text
    assert "torch on BERT: stopped at call 3\n" in text
    assert line(text, "torch", "0") == ["-", "-", "-"], "no mean of what did not run"
    assert "- iree on BERT: cannot convert f32[b,s] [/bold]" in markdown(made(result))


def test_wrong_results_are_marked(made, made_result):
    result = made_result("BERT", engines=("sod2", "jax", "iree"))
    result.row("jax").steady[0].difference = math.nan
    result.row("iree").steady[0].difference = 0.5
    text = shown(made(result), details=True)
    assert "! jax on BERT differs from plain JAX by nan" in text
    assert "! iree on BERT differs from plain JAX by 0.500" in text
    assert "! sod2" not in text
    assert text.count("nan !") == 2
    assert text.count("5e-01 !") == 2


def test_details_has_a_line_for_each_size_and_engine(made, made_result):
    result = made_result("BERT", engines=("sod2", "jax"))
    result.row("jax").steady.pop()
    text = shown(made(result), details=True)
    assert [text.count(f"b=1 s={n} ") for n in (32, 128, 512)] == [1, 1, 1]
    assert line(text[text.index("s=512") : text.index("Workloads")], "jax") == ["-"] * 6, "not measured there"


@pytest.mark.parametrize("engines", [(), ("sod2",), ("jax",), ("jax", "iree")])
@pytest.mark.parametrize("rounds", [0, 1])
def test_with_few_engines_and_rounds(made, made_result, engines, rounds):
    measurement = made(made_result("BERT", engines=engines, rounds=rounds))
    text = shown(measurement, details=True)
    assert "BERT" in text
    assert all(text.count(f"  {e}  ") >= 1 for e in engines)
    assert "BERT" in markdown(measurement)


def test_nothing_measured(made):
    assert "Workloads" in shown(made(), details=True)
    assert markdown(made()).startswith("| workload |")


def test_a_narrow_terminal_cuts_no_figure(made, made_result):
    name = "A model with a name longer than any column could be, " * 3
    text = shown(made(made_result(name, engines=("sod2", "sod2-fusion-order-memory-variants"))), width=60)
    assert "…" not in text
    assert name in text
    assert "sod2-fusion-order-memory-variants" in text


def test_markdown(made, made_result):
    text = markdown(made(made_result("a|b"), made_result("SAM")))
    lines = text.splitlines()
    assert len({li.count("|") for li in lines}) == 1, "as many cells in each line"
    assert len(lines) == 2 + 2 + 1
    assert lines[-1].startswith("| geometric mean |")
    assert "over jax-padded" in lines[0]


@pytest.mark.parametrize(
    ("value", "want"), [(None, "-"), (0.5, "0.50"), (12.345, "12.3"), (0.0123, "0.012"), (1234.5, "1234"), (math.nan, "nan")]
)
def test_ratio(value, want):
    assert ratio(value) == want


@pytest.mark.parametrize(
    ("value", "want"), [(None, "-"), (0.0, "0e+00"), (1e-5, "1e-05"), (2e-4, "2e-04 !"), (math.inf, "inf !"), (math.nan, "nan !")]
)
def test_difference(value, want):
    assert difference(value, 1e-4) == want


def test_a_steady_size_without_rounds_has_no_time():
    assert Steady({"s": 1}).seconds is None
