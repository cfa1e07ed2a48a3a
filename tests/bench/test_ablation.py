"""Ablations: which engines they need, and the tables made of them."""

import io

import pytest
from rich.console import Console

from sod2jax.bench.ablation import engine_name, is_ablation, markdown, show, steps
from sod2jax.bench.measurement import Row
from sod2jax.bench.report import Report
from sod2jax.errors import SpecError
from sod2jax.options import DISABLE


def shown(measurement):
    file = io.StringIO()
    show(measurement, Report(Console(file=file)))
    return file.getvalue()


def test_steps_add_one_part_after_the_other_in_the_order_of_the_paper():
    assert steps(("memory", "variants", "fusion", "order")) == [
        ("baseline", "sod2-fusion-order-memory-variants"),
        ("+ fusion", "sod2-order-memory-variants"),
        ("+ order\n(SEP)", "sod2-memory-variants"),
        ("+ memory\n(DMP)", "sod2-variants"),
        ("+ variants\n(MVC)", "sod2"),
    ]
    assert steps(["memory"]) == [("baseline", "sod2-memory"), ("+ memory\n(DMP)", "sod2")]
    assert steps([]) == [("baseline", "sod2")]
    with pytest.raises(SpecError, match="'speed' cannot be left out"):
        steps(["speed"])


def test_engine_names():
    assert engine_name(()) == "sod2"
    assert engine_name(("order", "memory")) == "sod2-order-memory"


def measured(made_result, name="BERT", parts=DISABLE, rounds=3):
    """Each step takes 0.8 of the time and 0.4 of the memory of the step before."""
    engines = [engine for _, engine in steps(parts)]
    result = made_result(name, engines=engines, rounds=rounds)
    for k, row in enumerate(result.rows):
        for s in row.steady:
            s.rounds = [0.8**k] * rounds
            s.temp_bytes = round(100_000 * 0.4**k)
    return result


def test_tables(made, made_result):
    text = shown(made(measured(made_result), measured(made_result, "SAM")))
    figures = [li.split()[-5:] for li in text.splitlines() if "BERT" in li or "SAM" in li or "mean" in li]
    assert figures == 3 * [["1.00", "0.80", "0.64", "0.51", "0.41"]] + 3 * [["1.00", "0.40", "0.16", "0.064", "0.026"]]
    assert "Steady time over that without fusion, order, memory, variants" in text
    assert all(word in text for word in ("SEP", "DMP", "MVC", "baseline"))
    assert all(len(li) <= 110 for li in text.splitlines())


def test_markdown(made, made_result):
    result = measured(made_result, parts=("fusion", "order"))
    result.rows[1] = Row("sod2-order", reason="out of memory")
    lines = markdown(made(result)).splitlines()
    assert "| BERT | 1.00 | - | 0.64 |" in lines
    assert "|  | baseline | + fusion | + order (SEP) |" in lines
    assert lines[-1] == "- sod2-order on BERT: out of memory"


def test_what_did_not_run_is_told(made, made_result):
    result = measured(made_result, parts=("fusion", "order"))
    result.rows[1] = Row("sod2-order", reason="out of memory")
    text = shown(made(result))
    assert "sod2-order on BERT: out of memory" in text
    assert next(li.split() for li in text.splitlines() if "BERT" in li) == ["BERT", "1.00", "-", "0.64"]


def test_a_baseline_that_did_not_run(made, made_result):
    result = measured(made_result, parts=("fusion",))
    result.rows[0] = Row("sod2-fusion", reason="out of memory")
    assert next(li.split() for li in shown(made(result)).splitlines() if "BERT" in li) == ["BERT", "-", "-"]


def test_measurements_that_are_ablations(made, made_result):
    assert is_ablation(made(measured(made_result, parts=("order",))))
    assert not is_ablation(made(made_result("BERT")))
    assert not is_ablation(made())


def test_little_to_show(made, made_result):
    assert "BERT" in shown(made(measured(made_result, rounds=0)))
    assert "BERT" in shown(made(made_result("BERT", engines=("sod2", "jax")))), "not an ablation"
    assert "geometric mean" in shown(made())
