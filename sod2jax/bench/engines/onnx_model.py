"""JAX to ONNX with dynamic dims, by the package jax2onnx: for the engines that take ONNX.

* The weights are initializers of the model, so an engine can fold and pack them.
* jax2onnx replaces library functions such as Flax's layer norm by ONNX ops while it traces. Where that goes wrong, or makes a
  model that the engine refuses, the function is traced by JAX alone, and the model made from its jaxpr.
* What jax2onnx notes of the shapes of inner values is dropped: some of it is wrong, and engines infer them by themselves.
* An engine may drop an input that nothing reads, and tells the others apart by name.
* A model is converted once for all engines that want it.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from sod2jax.bench.engines.engine import Engine, EngineError, Shared, Size, installed, one_line
from sod2jax.bench.engines.onnx_forms import to_known_forms
from sod2jax.bench.engines.symbolic import symbolic_inputs
from sod2jax.bench.workload import Workload

OPSET = 23


class OnnxEngine(Engine):
    """An engine that is given an ONNX model."""

    packages: tuple[str, ...] = ("onnx",)  # as they are imported; all are needed
    opset = OPSET

    def prepare(self) -> None:
        self._tree = self.result_tree()
        started(self.start, self.workload, self.params, self.opset, self.shared)

    @abstractmethod
    def start(self, model) -> None:
        """Gets the engine ready to run an `onnx.ModelProto`. What it raises says that it cannot."""

    def take(self, inputs: tuple, size: Size) -> dict[str, np.ndarray]:
        return {_name(i): np.ascontiguousarray(x) for i, x in enumerate(jax.tree.leaves(inputs))}

    def result(self, leaves: Iterable[Any]) -> Any:
        return self._tree.unflatten(list(leaves))

    @classmethod
    def import_packages(cls) -> None:
        for package in ("jax2onnx", *cls.packages):
            installed(package)
        installed("jax2onnx.plugins.plugin_system").import_all_plugins()  # seconds; its first conversion would do it

    def facts(self) -> dict[str, Any]:
        names = [package.split(".")[0] for package in (*self.packages, "jax2onnx")]
        return {name: version(name) for name in names} | {"opset": self.opset}


def started(start: Callable, workload: Workload, params: Any, opset: int, shared: Shared) -> Any:
    """What `start(model)` returns for the first `onnx.ModelProto` that it takes; EngineError if it takes none."""
    onnx, reasons = installed("onnx"), []
    for name, make in onnx_models(workload, params, opset).items():
        try:
            return start(onnx.load_model_from_string(shared.get(name, make)))
        except Exception as err:  # of any kind: from the converter of an op, or from the engine's own compiler
            reasons.append(str(err) if isinstance(err, EngineError) else reason(err))
    raise EngineError("; from its jaxpr: ".join(dict.fromkeys(reasons)))


def onnx_models(workload: Workload, params: Any, opset: int) -> dict[str, Callable[[], bytes]]:
    """By name, functions that make the workload's function an ONNX model, its inputs named input0, input1 and so on."""
    to_onnx = installed("jax2onnx").to_onnx
    leaves, tree = jax.tree.flatten(symbolic_inputs(workload))

    def fun(*inputs):
        return tuple(jax.tree.leaves(workload.fun(params, *tree.unflatten(inputs))))

    def convert(fun: Callable) -> bytes:
        names = [_name(i) for i in range(len(leaves))]
        try:
            with warnings.catch_warnings(action="ignore"):  # of its own making
                model = to_onnx(fun, leaves, model_name="main", opset=opset, input_names=names)
            to_known_forms(model.graph)
            return model.SerializeToString()
        except Exception as err:  # of any kind: from the converter of an op, or the model has more than 2 GB
            raise EngineError(f"jax2onnx cannot convert it: {reason(err)}") from err

    def convert_jaxpr() -> bytes:
        try:
            traced = jax.make_jaxpr(fun)(*leaves)
        except Exception as err:
            raise EngineError(f"JAX cannot trace it with symbolic dims: {reason(err)}") from err
        return convert(jaxpr_as_fun(traced))

    return {f"ONNX {opset} from the function": partial(convert, fun), f"ONNX {opset} from its jaxpr": convert_jaxpr}


def _name(i: int) -> str:
    return f"input{i}"


def reason(err: Exception) -> str:
    """The first line of the innermost error, which names what is missing."""
    while err.__cause__ is not None and str(err.__cause__):
        err = err.__cause__
    lines = [line for line in str(err).splitlines() if line.strip()] or [""]
    return one_line(f"{type(err).__name__}: {lines[0]}", 200)
