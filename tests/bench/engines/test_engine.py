"""The table of engines: names are checked without importing anything, and what is missing is told in one line."""

import importlib

import pytest

from sod2jax.bench.engines import ENGINES, EngineError, check, engine, load
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
    assert issubclass(load(name), engine.Engine)


def test_sod2_is_loaded_whole_or_without_parts():
    make = load("sod2-fusion-order")
    assert make is not load("sod2")


@pytest.mark.parametrize("package", ["iree.compiler", "onnxruntime", "openvino", "torch", "jax2onnx", "onnx2torch"])
def test_a_package_that_is_not_installed_is_named_with_its_extra(package, monkeypatch):
    def missing(name, *_):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(EngineError) as caught:
        engine.installed(package)
    assert str(caught.value) == f"{package.split('.')[0]} is not installed; pip install 'sod2jax[bench]' brings it"


def test_reasons_are_one_short_line():
    assert str(EngineError("a\n  b\tc")) == "a b c"
    assert len(str(EngineError("long " * 1000))) == 300
