"""Measurements: what is written is read again, ratios are taken within rounds, what is missing is None."""

import math

import pytest

from sod2jax.bench.measurement import Call, Measurement, Result, Row, Steady, read


def example() -> Measurement:
    ours = Row("sod2", trace=[Call({"s": 8}, 2.0), Call({"s": 9}, 0.5)], compilations=1, kept_bytes=10, facts={"kernels": 3})
    ours.steady = [Steady({"s": 8}, [1.0, 2.0, 3.0], 1.5, 100, None, 1e-6), Steady({"s": 16}, [4.0], 5.0, 300, None, 2e-6)]
    exact = Row("jax", trace=[Call({"s": 8}, 3.0)], steady=[Steady({"s": 8}, [2.0, 2.0, 2.0])])
    lost = Row("iree", reason="cannot convert")
    return Measurement(
        "sod2 bench a.py",
        "2026-01-01",
        {"cores": 2},
        {"jax": "0"},
        2,
        [Result("a", "a.py", False, ["s"], 1e-4, {}, [ours, exact, lost])],
    )


def test_what_is_written_is_read(tmp_path):
    example().save(tmp_path / "m.json")
    assert read(tmp_path / "m.json") == example()


def test_figures_of_a_row():
    ours, exact, lost = example().results[0].rows
    assert (ours.first_pass, ours.quantile(0.5), ours.quantile(0.99)) == (2.5, 0.5, 2.0)
    assert (ours.difference, ours.temp_bytes, ours.steady[0].seconds) == (2e-6, 300, 2.0)
    assert (exact.difference, exact.temp_bytes) == (None, None)
    assert (lost.first_pass, lost.quantile(0.5), lost.difference) == (None, None, None)
    ours.steady[0].difference = math.nan
    assert math.isnan(ours.difference)


def test_ratios():
    result = example().results[0]
    assert result.ratio("sod2", "jax", 0) == 1.0, "the median of 0.5, 1 and 1.5"
    assert result.ratio("sod2", "jax", 1) is None, "jax was not measured there"
    assert result.mean_ratio("sod2", "jax") == 1.0
    assert result.mean_ratio("iree", "jax") is None
    assert result.row("torch") is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "results": [{}]}', '{"format": 1, "results": [], "more": 1}']
)
def test_files_that_are_no_measurements(tmp_path, text):
    file = tmp_path / "m.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"m\.json"):
        read(file)
