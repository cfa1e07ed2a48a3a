"""A made-up Measurement, as complete or as full of holes as a test wants it."""

import random

import pytest

from sod2jax.bench.measurement import Call, Measurement, Result, Row, Steady

SPEED = {"sod2": 1.0, "jax": 1.5, "jax-padded": 1.9, "onnxruntime": 1.3, "iree": 2.2, "torch": 1.7}  # steady time, in ours
COMPILE = {"sod2": 4.0, "jax": 1.5, "jax-padded": 1.5, "onnxruntime": 0.0, "iree": 0.0, "torch": 0.2}


def result(name: str, dims=("b", "s"), engines=tuple(SPEED), seed=0, calls=12, rounds=7) -> Result:
    rng = random.Random(f"{name}{seed}")
    steady = [{d: 1 if d == "b" else 32 * 4**i for d in dims} for i in range(3)]
    trace = [{d: 1 if d == "b" else rng.randrange(16, 512) for d in dims} for _ in range(calls)]
    weight = rng.uniform(1e-5, 4e-5)
    rows = []
    for engine in engines:
        cost = lambda size, e=engine: SPEED.get(e, 1.2) * weight * max(size.values()) * rng.uniform(0.9, 1.1)
        one = engine.startswith("sod2")
        row = Row(engine, compilations=1 if one else calls, kept_bytes=30_000_000 if one else None, process_bytes=900_000_000)
        for i, size in enumerate(trace):
            row.trace.append(Call(size, cost(size) + (COMPILE.get(engine, 4.0) if i == 0 or not one else 0.0)))
        for size in steady:
            temp = int(4e4 * max(size.values()) * (1.0 if one else 1.4))
            padding = 0.21 if engine == "jax-padded" else None
            times = [cost(size) for _ in range(rounds)]
            row.steady.append(Steady(size, times, 1.1 * cost(size), temp, padding, rng.uniform(1e-7, 4e-6)))
        row.prepare = 12.5 if engine in ("iree", "onnxruntime") else None
        rows.append(row)
    return Result(name, f"zoo/{name.lower()}.py", False, list(dims), 1e-4, {"SoD2 Table 5": 407}, rows)


def measurement(*results: Result) -> Measurement:
    machine = {"cpu": "A CPU of 8 cores", "cores": 8, "memory": "32 GB", "system": "Linux"}
    versions = {"sod2jax": "0.1.0", "jax": "0.10.2", "onnxruntime": "1.22"}
    return Measurement("sod2 bench zoo/*.py --page page.html", "2026-01-31 12:00", machine, versions, 2, list(results))


@pytest.fixture
def made_result():
    return result


@pytest.fixture
def made():
    return measurement
