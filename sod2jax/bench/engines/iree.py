"""IREE: compiled ahead for the CPU at hand (llvm-cpu), run by its task system (local-task).

* JAX's own road is tried first: `jax.export` with symbolic dims gives StableHLO. IREE has no rule for some of its dynamic ops, so
  what cannot be compiled goes by ONNX instead; which of the two it was is among the facts.
* By StableHLO the weights are arguments, by ONNX they are constants.
"""

from __future__ import annotations

import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from sod2jax.bench.engines.engine import Engine, EngineError, Size, installed, one_line
from sod2jax.bench.engines.onnx_model import reason, started
from sod2jax.bench.engines.symbolic import symbolic_inputs

_ASSERTIONS = re.compile(r"(?m)^\s*stablehlo\.custom_call @shape_assertion.*\n")  # of input shapes; IREE has no such call


class Iree(Engine):
    def prepare(self) -> None:
        runtime = installed("iree.runtime")
        runtime.flags.parse_flags(f"--task_topology_group_count={self.threads}")
        self._tree = self.result_tree()
        self._device = runtime.get_device("local-task")
        binary = self._compile()
        config = runtime.Config(device=self._device)
        module = runtime.load_vm_module(runtime.VmModule.copy_buffer(config.vm_instance, binary), config)
        self._function = module["main"]
        weights = jax.tree.leaves(self.params) if self.road == "StableHLO" else []
        self._weights = [runtime.asdevicearray(self._device, np.asarray(x)) for x in weights]

    @classmethod
    def import_packages(cls) -> None:
        for package in ("iree.compiler", "iree.runtime"):
            installed(package)

    def _compile(self) -> bytes:
        reasons = []
        for road, compiled in (("StableHLO", self._by_stablehlo), ("ONNX", self._by_onnx)):
            try:
                self.road = road
                return compiled()
            except EngineError as err:
                reasons.append(f"by {road}: {err}")
        raise EngineError("; ".join(reasons))

    def _by_stablehlo(self) -> bytes:
        specs = symbolic_inputs(self.workload)
        weights = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.params)
        try:
            exported = export.export(jax.jit(self.workload.fun, keep_unused=True), platforms=["cpu"])(weights, *specs)
        except Exception as err:
            raise EngineError(f"jax.export cannot trace it: {reason(err)}") from err
        return _binary(_ASSERTIONS.sub("", exported.mlir_module()), "stablehlo")

    def _by_onnx(self) -> bytes:
        importer = installed("iree.compiler.tools.import_onnx.__main__")

        def compiled(model) -> bytes:
            with tempfile.TemporaryDirectory() as folder:
                file, text = Path(folder, "model.onnx"), Path(folder, "model.mlir")
                file.write_bytes(model.SerializeToString())
                importer.main(importer.parse_arguments([str(file), "-o", str(text)]))
                return _binary(text.read_text(encoding="utf-8"), "onnx")

        return started(compiled, self.workload, self.params, 17, self.shared)

    def take(self, inputs: tuple, size: Size) -> list:
        runtime = installed("iree.runtime")
        return [runtime.asdevicearray(self._device, np.asarray(x)) for x in jax.tree.leaves(inputs)]

    def call(self, taken: list, size: Size) -> Any:
        found = self._function(*self._weights, *taken)
        return self._tree.unflatten([x.to_host() for x in (found if isinstance(found, list | tuple) else [found])])

    def compilations(self) -> int:
        return 1

    def facts(self) -> dict[str, Any]:
        return {name: version(name) for name in ("iree-base-compiler", "iree-base-runtime")} | {"imported by": self.road}


def _binary(text: str, kind: str) -> bytes:
    """The program compiled; EngineError says what stopped the compiler first."""
    compiler = installed("iree.compiler")
    try:
        return compiler.compile_str(
            text, target_backends=["llvm-cpu"], input_type=kind, extra_args=["--iree-llvmcpu-target-cpu=host"]
        )
    except compiler.CompilerToolError as err:
        raise EngineError(_diagnostic(str(err))) from None


def _diagnostic(text: str) -> str:
    """The first error among the compiler's messages, without where it stands."""
    found = re.search(r"error: (.*)", text)
    return one_line(found[1] if found else text, 120)
