"""PyTorch, eager: the modules that onnx2torch makes from the ONNX model."""

from __future__ import annotations

from typing import Any

from sod2jax.bench.engines.engine import EngineError, Size, installed
from sod2jax.bench.engines.onnx_forms import to_torch_forms
from sod2jax.bench.engines.onnx_model import OnnxEngine, reason


class Torch(OnnxEngine):
    packages = ("onnx", "torch", "onnx2torch")
    opset = 17  # the last that onnx2torch has converters for

    def start(self, model) -> None:
        self._torch = installed("torch")
        self._torch.set_num_threads(self.threads)
        to_torch_forms(model)
        try:
            self._module = installed("onnx2torch").convert(model).eval()
        except Exception as err:  # of any kind, from a converter of an op
            raise EngineError(f"onnx2torch cannot convert it: {reason(err)}") from err
        self._names = [x.name for x in model.graph.input]

    def take(self, inputs: tuple, size: Size) -> list:
        named = super().take(inputs, size)
        return [self._torch.from_numpy(named[name].copy()) for name in self._names]

    def call(self, taken: list, size: Size) -> Any:
        with self._torch.inference_mode():
            found = self._module(*taken)
        return self.result(found if isinstance(found, list | tuple) else [found])
