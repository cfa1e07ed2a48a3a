"""ONNX Runtime, on its CPU provider."""

from __future__ import annotations

from typing import Any

from sod2jax.bench.engines.engine import Size, installed
from sod2jax.bench.engines.onnx_model import OnnxEngine


class OnnxRuntime(OnnxEngine):
    packages = ("onnxruntime",)

    def start(self, model) -> None:
        runtime = installed("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        # Its threads spin for a while after a call, as they do for its users; other engines' turns begin with an uncounted call.
        self._session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._names = {x.name for x in self._session.get_inputs()}

    def call(self, taken: dict, size: Size) -> Any:
        return self.result(self._session.run(None, {name: x for name, x in taken.items() if name in self._names}))

    def compilations(self) -> int:
        return 1
