"""OpenVINO, on its CPU plugin."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from sod2jax.bench.engines.engine import EngineError, Size, installed
from sod2jax.bench.engines.onnx_model import OnnxEngine, reason


class OpenVino(OnnxEngine):
    packages = ("openvino",)

    def start(self, model) -> None:
        core = installed("openvino").Core()
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": "f32"}
        try:
            compiled = core.compile_model(core.read_model(BytesIO(model.SerializeToString())), "CPU", config)
        except RuntimeError as err:
            raise EngineError(f"OpenVINO cannot compile it: {reason(err)}") from err
        self._request = compiled.create_infer_request()
        self._types = [(port, port.get_element_type().to_dtype()) for port in compiled.inputs]
        self._outputs = compiled.outputs

    def take(self, inputs: tuple, size: Size) -> dict:
        named = super().take(inputs, size)
        return {port.any_name: np.asarray(_named(port, named), dtype) for port, dtype in self._types}

    def call(self, taken: dict, size: Size) -> Any:
        found = self._request.infer(taken, share_inputs=True, share_outputs=True)  # valid until the next call
        return self.result(found[port] for port in self._outputs)

    def compilations(self) -> int:
        return 1


def _named(port, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """OpenVINO may fold a cast into an input: the port has the names of both."""
    return next(x for name, x in arrays.items() if name in port.get_names())
