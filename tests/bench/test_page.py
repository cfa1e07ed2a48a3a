"""The page: it stands alone, shows every row, and is harmless whatever names and reasons say."""

import math
import re
import sys

import pytest

from sod2jax.bench.measurement import Row
from sod2jax.bench.page import html, require, size_axis


@pytest.fixture
def page(monkeypatch):
    """The page of a measurement with a short text for plotly's JavaScript."""
    pytest.importorskip("plotly")
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "/* plotly */")
    return html


def test_a_page_stands_alone(made, made_result):
    pytest.importorskip("plotly")
    text = html(made(made_result("BERT"), made_result("SAM", ("h", "w"))))
    assert text.count("plotly.js v") == 1, "the JavaScript stands there once"
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", text), "nothing is loaded"


def test_what_a_page_shows(page, made, made_result):
    text = page(made(made_result("BERT"), made_result("SAM", ("b", "h", "w"))))
    for words in (
        "sod2 bench zoo",
        "2026-01-31",
        "A CPU of 8 cores",
        "onnxruntime 1.22",
        "threads 2",
        "407 layers",
        "zoo/bert.py",
    ):
        assert words in text
    assert text.count("<td>iree") == 2 + 1, "a row for each workload, and a mean"
    assert text.count("Plotly.newPlot(") == 2
    assert "b=1 s=128" in text, "hovering gives the size"


def test_an_ablation(page, made, made_result):
    text = page(made(made_result("BERT", engines=("sod2-order-memory", "sod2-memory", "sod2"))))
    assert "Steady time over that without order, memory" in text
    assert "<th>+ order\n(SEP)<th>+ memory\n(DMP)" in text
    assert "<td>geometric mean<td>1.00<td>" in text


def test_reasons_and_differences(page, made, made_result):
    result = made_result("BERT", engines=("sod2", "jax"))
    result.rows.append(Row("iree", reason="cannot convert"))
    result.rows[1].steady[0].difference = math.nan
    text = page(made(result))
    assert "<li>iree on BERT: cannot convert" in text
    assert "<td>iree<td>-<td>-" in text
    assert '<span class="bad">nan !</span>' in text


def test_names_and_reasons_are_text(page, made, made_result):
    bad = "</script><script>alert(1)</script>"
    result = made_result(bad, engines=(bad, "sod2"))
    result.rows.append(Row("x", reason=bad))
    measurement = made(result)
    measurement.command = measurement.machine["cpu"] = bad
    assert "<script>alert" not in page(measurement)


@pytest.mark.parametrize("engines", [(), ("sod2",), ("jax",), ("sod2", *(f"engine {k}" for k in range(12)))])
@pytest.mark.parametrize("rounds", [0, 1])
def test_with_few_and_many_engines(page, made, made_result, engines, rounds):
    text = page(made(made_result("BERT", engines=engines, rounds=rounds)))
    assert "BERT" in text
    assert all(f"<td>{e}<td>" in text for e in engines)


def test_missing_figures(page, made, made_result):
    result = made_result("BERT", engines=("sod2", "jax"), calls=0)
    for row in result.rows:
        row.compilations = row.process_bytes = None
        for s in row.steady:
            s.temp_bytes = s.difference = s.switch = None
    assert "BERT" in page(made(result))
    assert "sod2 bench" in page(made())


def test_no_temporary_memory_at_all_is_no_logarithm(page, made, made_result):
    result = made_result("BERT", engines=("sod2", "jax"))
    for s in result.row("sod2").steady:
        s.temp_bytes = 0
    assert "BERT" in page(made(result))


def test_the_axis_is_what_varies(made_result):
    result = made_result("SAM", ("b", "h", "w"))
    label, place = size_axis(result)
    assert label == "h \u00b7 w"
    assert [place(s) for s in result.rows[0].steady] == [32**2, 128**2, 512**2]
    one = made_result("GPT", ("s",))
    assert size_axis(one)[0] == "s"
    del one.rows[0].steady[1:], one.rows[1:]
    assert size_axis(one)[0] == "s", "even where nothing varies"


def test_without_plotly_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sod2jax\[bench\]'"):
        require()


def test_a_wrong_result_is_not_plotted(page, made, made_result):
    result = made_result("BERT", engines=("sod2", "iree"))
    text = page(made(result))
    assert '"y":["iree","sod2"]' in text
    assert text.count('"legendgroup":"iree"') == 2
    result.row("iree").steady[0].difference = math.inf
    text = page(made(result))
    assert '"legendgroup":"iree"' not in text
    assert '"y":["sod2"]' in text
    assert "! iree on BERT differs" in text
