"""The workload protocol: sizes are checked where they are given, traces are read and drawn, files are loaded."""

import json

import numpy as np
import pytest

from sod2jax.bench import Workload, lognormal, read_trace, sample
from sod2jax.bench.workload import load
from sod2jax.errors import ShapeError, SpecError
from sod2jax.userfile import Mistake


def make(**changes):
    given = {
        "name": "double",
        "fun": lambda w, x: w * x,
        "params": lambda: np.float32(2),
        "inputs": lambda rng, b, s: (rng.standard_normal((b, s), dtype=np.float32),),
        "shapes": ("b, s",),
        "constraints": ("1 <= s <= 64", "s % 2 == 0"),
        "steady": [{"b": 1, "s": 8}],
        "trace": [{"b": 2, "s": 16}, {"b": 1, "s": 2}],
    }
    return Workload(**(given | changes))


def test_dims_stand_in_the_order_of_shapes():
    assert make().dims == ("b", "s")
    assert make(shapes=({"x": "s, b"},)).dims == ("s", "b")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"steady": []}, "steady has no size"),
        ({"steady": [{"b": 1}]}, "but the dims in shapes= are b, s"),
        ({"steady": [{"b": 1, "s": 66}]}, "steady has the size {'b': 1, 's': 66}, which breaks the constraint '1 <= s <= 64'"),
        ({"trace": [{"b": 1, "s": 3}]}, "trace has the size {'b': 1, 's': 3}, which breaks the constraint 's % 2 == 0'"),
        ({"trace": [{"b": -1, "s": 2}]}, "b must be an integer from 0 upwards"),
        ({"trace": [{"b": 1.5, "s": 2}]}, "b must be an integer from 0 upwards"),
    ],
)
def test_sizes_are_checked(changes, told):
    with pytest.raises((ShapeError, SpecError)) as caught:
        make(**changes)
    assert told in str(caught.value)


def test_inputs_are_the_same_for_the_same_seed():
    w = make()
    a, b, c = (w.make_inputs({"b": 2, "s": 4}, seed)[0] for seed in ((0,), (0,), (1,)))
    assert a.shape == (2, 4)
    assert (a == b).all()
    assert (a != c).any()


def test_inputs_of_another_size_are_told():
    w = make(inputs=lambda rng, b, s: (np.zeros((b, s + 2), np.float32),))
    with pytest.raises(ShapeError, match=r"has the size {'b': 1, 's': 6}"):
        w.make_inputs({"b": 1, "s": 4})
    with pytest.raises(SpecError, match="a tuple of the inputs is needed"):
        make(inputs=lambda rng, b, s: np.zeros((b, s))).make_inputs({"b": 1, "s": 4})


def test_traces_from_files(tmp_path):
    file = tmp_path / "sizes.jsonl"
    file.write_text('{"b": 1, "s": 2}\n\n' + json.dumps({"b": 3, "s": 64}))
    assert read_trace(file) == ({"b": 1, "s": 2}, {"b": 3, "s": 64})
    assert make(trace=file).trace == read_trace(file)
    file.write_text('{"b": 1}\n{"b": true}')
    with pytest.raises(SpecError, match=r"sizes.jsonl:2: '{\"b\": true}' is no size"):
        read_trace(file)
    with pytest.raises(SpecError, match="cannot read the trace"):
        read_trace(tmp_path / "none")


def test_samples_are_drawn_with_a_seed():
    draw = lambda seed: sample(50, seed=seed, b=[1, 2, 4], s=lognormal(20, 1.0, 2, 64, step=2), h=range(32, 65, 16), w=7)
    assert draw(0) == draw(0) != draw(1)
    for size in draw(0):
        assert size["b"] in (1, 2, 4)
        assert size["s"] in range(2, 65, 2)
        assert size["h"] in (32, 48, 64)
        assert size["w"] == 7
    assert len({size["s"] for size in draw(0)}) > 10


FILE = """
import numpy as np
from sod2jax.bench import Workload

def workload(small=False):
    return Workload(
        name="small" if small else "large", fun=lambda w, x: x, params=(), inputs=lambda rng, n: (np.zeros(n),),
        shapes=("n",), constraints="n <= 8", steady=[{"n": SIZE}], trace=[{"n": 1}],
    )
"""


def test_files(tmp_path):
    file = tmp_path / "model_for_files.py"
    file.write_text(FILE.replace("SIZE", "8"))
    assert [w.name for w in load(file)] == ["large"]
    assert [w.name for w in load(file, small=True)] == ["small"]
    file.write_text(FILE.replace("SIZE", "9"))
    with pytest.raises(Mistake, match=r"model_for_files.py:6: ShapeError: workload 'large': steady has the size {'n': 9}"):
        load(file)
    for text, told in (
        ("x = 1", r"py: no workload\(\) there"),
        ("\nworkload = 1 / 0", "py:2: ZeroDivisionError"),
        ("\n\ndef workload():\n    return 1", r"py:3: workload\(\) returned int"),
        ("def workload():\n    return []", r"py:1: workload\(\) returned no workload"),
    ):
        file.write_text(text)
        with pytest.raises(Mistake, match=told):
            load(file)
