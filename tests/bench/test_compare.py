"""Comparing measurements: what counts as worse, what is noise, and that nothing is passed over in silence."""

import copy
import io
import math

import pytest
from rich.console import Console

from sod2jax.bench.compare import compare
from sod2jax.bench.measurement import Row
from sod2jax.bench.report import Report


@pytest.fixture
def pair(made, made_result):
    """Two equal measurements, the second one to be changed."""
    a = made(made_result("BERT", engines=("sod2", "jax", "iree")), made_result("SAM", ("h", "w"), engines=("sod2", "jax")))
    return a, copy.deepcopy(a)


def shown(comparison):
    file = io.StringIO()
    comparison.show(Report(Console(file=file)))
    return file.getvalue()


def worse(a, b, threshold=1.1):
    return [(c.workload, c.engine, c.figure) for c in compare(a, b, threshold).worse]


def slower(row, factor):
    for s in row.steady:
        s.rounds = [factor * t for t in s.rounds]
    for c in row.trace:
        c.seconds *= factor


def test_equal_measurements(pair):
    found = compare(*pair)
    assert found.ok
    assert {c.ratio for c in found.changes} == {1.0}
    assert not found.notes
    assert len([c for c in found.changes if c.workload == "SAM" and c.engine == "sod2"]) == 3 + 3 + 4
    assert "0 worse" in shown(found)


def test_a_slower_engine(pair):
    a, b = pair
    slower(b.results[0].row("sod2"), 1.3)
    found = compare(a, b)
    assert not found.ok
    assert {(c.workload, c.engine) for c in found.worse} == {("BERT", "sod2")}
    assert [c.figure for c in found.worse] == [*(f"steady at b=1 s={s}" for s in (32, 128, 512)), "first pass"]
    assert all(c.ratio == pytest.approx(1.3) and c.over_jax for c in found.worse)
    assert compare(a, b, 1.4).ok
    text = shown(found)
    assert "1.30   worse" in text
    assert "4 worse" in text
    assert compare(b, a).ok, "faster is no worse"
    assert "0.77" in shown(compare(b, a)), "but told"


def test_a_slower_machine_is_no_regression(pair):
    a, b = pair
    for result in b.results:
        for row in result.rows:
            slower(row, 2.0)
    assert compare(a, b).ok
    assert "2.00" in shown(compare(a, b)), "JAX's own times are shown"


def test_without_jax_times_are_compared(made, made_result):
    a = made(made_result("BERT", engines=("sod2", "iree")))
    b = copy.deepcopy(a)
    for row in b.results[0].rows:
        slower(row, 2.0)
    found = compare(a, b)
    assert not found.ok
    assert not any(c.over_jax for c in found.changes)


def test_rounds_that_overlap_are_noise(made, made_result):
    a = made(made_result("m", engines=("sod2",)))
    b = copy.deepcopy(a)
    a.results[0].rows[0].steady[0].rounds = [1.0, 1.1, 1.5, 1.9, 2.0]
    b.results[0].rows[0].steady[0].rounds = [1.0, 1.2, 1.8, 1.9, 2.0]
    found = compare(a, b)
    assert found.ok
    assert "1.20" in shown(found)


def test_a_slower_peer_is_shown_and_ok(pair):
    a, b = pair
    slower(b.results[0].row("iree"), 3.0)
    found = compare(a, b)
    assert found.worse
    assert found.ok
    assert "(none of sod2's)" in shown(found)


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        (lambda row: setattr(row, "compilations", 2), "compilations"),
        (lambda row: setattr(row, "kept_bytes", 40_000_000), "kept memory"),
        (lambda row: setattr(row.steady[1], "temp_bytes", 2 * row.steady[1].temp_bytes), "temp memory at b=1 s=128"),
        (lambda row: setattr(row.steady[0], "difference", 1e-3), "difference to plain JAX"),
        (lambda row: setattr(row.steady[0], "difference", math.nan), "difference to plain JAX"),
    ],
)
def test_counts_bytes_and_differences(pair, change, figure):
    a, b = pair
    change(b.results[0].row("sod2"))
    assert worse(a, b) == [("BERT", "sod2", figure)]
    assert figure in shown(compare(a, b))
    assert not worse(b, a)
    assert not worse(b, b), "wrong before, wrong after"


def test_bytes_that_were_none_at_all(pair):
    a, b = pair
    a.results[0].row("sod2").kept_bytes = 0
    assert worse(a, b) == [("BERT", "sod2", "kept memory")]
    assert "inf" in shown(compare(a, b))


def test_differences_within_the_tolerance_are_rounding(pair):
    a, b = pair
    for s in b.results[0].row("sod2").steady:
        s.difference *= 9
    assert not worse(a, b)


def test_what_stopped_is_worse(pair):
    a, b = pair
    b.results[0].rows[2] = Row("iree", reason="cannot convert [b]")
    assert compare(a, b).ok, "a peer"
    assert "worse: iree on BERT ran, and now: cannot convert [b]" in shown(compare(a, b))
    b.results[1].rows[0] = Row("sod2", reason="crashed")
    found = compare(a, b)
    assert not found.ok
    assert found.stopped == [("BERT", "iree", "cannot convert [b]"), ("SAM", "sod2", "crashed")]
    assert "runs now: sod2 on SAM" in compare(b, a).notes
    assert compare(b, b).ok


def test_what_is_in_one_only_is_told(pair, made_result):
    a, b = pair
    del b.results[1]
    a.results[0].rows.pop()
    b.results.append(made_result("YOLO", engines=("sod2",)))
    found = compare(a, b)
    assert found.notes == [
        "only before: sod2 on SAM", "only before: jax on SAM", "only after: iree on BERT", "only after: sod2 on YOLO",
    ]  # fmt: skip
    assert found.ok


def test_other_sizes_and_conditions_are_told(pair):
    a, b = pair
    row = b.results[0].row("iree")
    row.steady[0].size = {"b": 1, "s": 33}
    row.trace.pop()
    b.threads, b.machine["cores"], b.results[1].small = 4, 16, True
    b.versions |= {"jax": "0.11.0", "iree": "3.1"}
    text = shown(compare(a, b))
    for note in (
        "only before: iree on BERT at b=1 s=32",
        "only after: iree on BERT at b=1 s=33",
        "another trace: iree on BERT",
        "threads: 2 before, 4 after",
        "jax: 0.10.2 before, 0.11.0 after",
        "cores: 8 before, 16 after",
        "iree: unknown before, 3.1 after",
        "SAM: the small form in one of them only",
    ):
        assert note in text


def test_missing_figures(made, made_result):
    a = made(made_result("m", engines=("sod2", "jax"), rounds=0))
    for row in a.results[0].rows:
        row.trace, row.compilations, row.kept_bytes = [], None, None
        for s in row.steady:
            s.temp_bytes = s.difference = None
    for nothing in (compare(a, a), compare(made(), made())):
        assert nothing.changes == []
        assert not nothing.ok, "a comparison of nothing must not pass"
        assert "0 figures compared" in shown(nothing)
