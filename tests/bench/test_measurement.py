"""Measurements: what is written is read again, ratios are taken within rounds, what is missing is None."""

import math

import pytest

from sod2jax.bench.measurement import Call, Measurement, Result, Row, Steady, geometric_mean, read


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
    (tmp_path / "m.json").write_text(example().text())
    assert read(tmp_path / "m.json") == example()


def test_figures_of_a_row():
    ours, exact, lost = example().results[0].rows
    assert (ours.first_pass, ours.quantile(0.5), ours.quantile(0.99)) == (2.5, 0.5, 2.0)
    assert (ours.difference, ours.temp_bytes, ours.steady[0].seconds) == (2e-6, 300, 2.0)
    assert (exact.difference, exact.temp_bytes) == (None, None)
    assert (lost.first_pass, lost.quantile(0.5), lost.difference) == (None, None, None)
    ours.steady[0].difference = math.nan
    assert math.isnan(ours.difference)

    assert (ours.switch_ratio, ours.padding) == (pytest.approx((0.75 * 1.25) ** 0.5), None)
    assert (lost.switch_ratio, lost.padding) == (None, None)
    exact.prepare = 1.0
    assert exact.first_pass == 3.0, "conversion ahead of the first call stands by itself"


def test_what_differs_too_much_is_wrong():
    result = example().results[0]
    ours, exact, _ = result.rows
    assert not result.wrong(ours)
    assert not result.wrong(exact), "not known"
    for difference in (math.nan, math.inf, 2e-4):
        ours.steady[1].difference = difference
        assert result.wrong(ours)
        assert result.right("sod2") is None


def test_ratios():
    result = example().results[0]
    assert result.ratio("sod2", "jax", 0) == 1.0, "the median of 0.5, 1 and 1.5"
    assert result.ratio("sod2", "jax", 1) is None, "jax was not measured there"
    assert result.mean_ratio("sod2", "jax") == 1.0
    assert result.mean_ratio("iree", "jax") is None
    assert result.row("torch") is None
    assert result.first_pass_ratio("sod2", "jax") is None, "jax did not come to the end of the trace"
    result.row("jax").trace.append(Call({"s": 9}, 2.0))
    assert result.first_pass_ratio("sod2", "jax") == 0.5
    assert result.temp_ratio("sod2", "jax") is None
    result.row("jax").steady[0].temp_bytes = 200
    assert result.temp_ratio("sod2", "jax") == 0.5, "at the size that both know"
    assert result.temp_ratio("jax", "torch") is None
    result.row("jax").steady[0].difference = 1.0
    figures = result.mean_ratio("sod2", "jax"), result.first_pass_ratio("sod2", "jax"), result.temp_ratio("sod2", "jax")
    assert figures == (None, None, None), "a wrong result is not compared"
    assert Result("b", "b.py", False, [], 0.0).calls == 0


def test_engines_and_means():
    assert example().engines == ["sod2", "jax", "iree"]
    assert geometric_mean([2.0, None, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([None]) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "results": [{}]}', '{"format": 1, "results": [], "more": 1}']
)
def test_files_that_are_no_measurements(tmp_path, text):
    file = tmp_path / "m.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"m\.json"):
        read(file)
