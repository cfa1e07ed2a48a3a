"""The table of engines: names are checked without importing anything, and what is missing is told in one line."""

import sys

import pytest

from sod2jax.bench.engines import ENGINES, EngineError, Shared, check, engine, load
from sod2jax.options import DISABLE


def test_names():
    for name in (*ENGINES, "sod2-fusion", "sod2-" + "-".join(DISABLE)):
        check(name)
    for name in ("tvm", "sod2-", "sod2-speed", "jax-fusion", "sod2-fusion,order", ""):
        with pytest.raises(EngineError, match="no engine"):
            check(name)
    with pytest.raises(EngineError, match="no engine 'tvm'; there are sod2, jax, "):
        load("tvm")


@pytest.mark.parametrize("name", list(ENGINES))
def test_every_engine_is_where_the_table_says(name):
    assert issubclass(engine.find(name), engine.Engine)


def test_sod2_is_loaded_whole_or_without_parts():
    assert load("sod2") is engine.find("sod2")
    assert load("sod2-fusion-order").keywords == {"disable": ("fusion", "order")}


@pytest.mark.parametrize(
    ("name", "package"),
    [("iree", "iree.compiler"), ("onnxruntime", "jax2onnx"), ("openvino", "jax2onnx"), ("torch", "jax2onnx")],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError) as caught:
        load(name)
    assert str(caught.value) == f"{package.split('.')[0]} is not installed; pip install 'sod2jax[bench]' brings it"


def test_reasons_are_one_short_line():
    assert str(EngineError("a\n  b\tc")) == "a b c"
    assert len(str(EngineError("long " * 1000))) == 300


def test_what_engines_share_is_made_once(tmp_path):
    made = []
    make = lambda: made.append(1) or b"model"
    first, second, alone = Shared(tmp_path), Shared(tmp_path), Shared()
    assert [first.get("a", make), second.get("a", make), second.get("b", make), len(made)] == [b"model"] * 3 + [2]
    assert first.seconds == 0 < second.seconds
    assert alone.get("a", make) == alone.get("a", make) == b"model"
    assert len(made) == 4


def test_what_cannot_be_made_is_not_tried_again(tmp_path):
    def make():
        tried.append(1)
        raise EngineError("no rule for sort")

    tried = []
    for _ in range(2):
        with pytest.raises(EngineError, match=r"^no rule for sort$"):
            Shared(tmp_path).get("a", make)
    assert len(tried) == 1


def test_what_an_engine_did_not_finish_is_not_tried_again(tmp_path):
    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Shared(tmp_path).get("a", killed)
    for name in "ab":
        with pytest.raises(EngineError, match=r"^a: the engine that began to make it did not finish$"):
            Shared(tmp_path).get(name, lambda: b"model")
