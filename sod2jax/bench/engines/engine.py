"""The engine protocol, and the table of engines.

* An engine is made from a workload, its params, a number of threads and what it shares with others. What can be converted or
  compiled before any size is known, it does then. What it cannot do is an EngineError, one line.
* A call is `call(take(inputs, size), size)`, timed without `take`, and is over when its result is ready.
* `sod2-fusion-order` is sod2.jit without these parts of its compiler (`compiler_options={"disable": ...}`).
* A name is looked up without importing the engine: the peers are installed by `pip install 'sod2jax[bench]'`, or are not.
"""

from __future__ import annotations

import importlib
import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax

from sod2jax.bench.workload import Workload
from sod2jax.options import DISABLE

ENGINES = {  # name: where it is
    "sod2": "sod2jax.bench.engines.sod2:Sod2",
    "jax": "sod2jax.bench.engines.xla:Exact",
    "jax-pad": "sod2jax.bench.engines.xla:Padded",
    "iree": "sod2jax.bench.engines.iree:Iree",
    "onnxruntime": "sod2jax.bench.engines.onnxruntime:OnnxRuntime",
    "openvino": "sod2jax.bench.engines.openvino:OpenVino",
    "torch": "sod2jax.bench.engines.torch:Torch",
}
EXTRA = "sod2jax[bench]"

Size = Mapping[str, int]


class EngineError(Exception):
    """Why an engine cannot run a workload, or stopped: one line."""

    def __init__(self, reason: str):
        super().__init__(one_line(reason))


class Shared:
    """What is made once for several engines of a workload, such as a converted model: files in a folder that they have in common.

    The engines start one after the other. Who asks first makes it, and it counts as the work of each engine that takes it:
    `seconds` is what this engine did not have to do. What could not be made is not tried again, nor what an engine did not live
    to finish. Without a folder, everything is made where it is asked for.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder) if folder else None
        self.seconds = 0.0

    def get(self, name: str, make: Callable[[], bytes]) -> bytes:
        """What `make` returns, or the EngineError that it raises."""
        if self.folder is None:
            return make()
        file, begun = self.folder / name, self.folder / "begun"
        if file.exists():
            seconds, found = pickle.loads(file.read_bytes())
            self.seconds += seconds
        elif begun.exists():
            raise EngineError(f"{begun.read_text()}: the engine that began to make it did not finish")
        else:
            begun.write_text(name)
            start = time.perf_counter()
            try:
                found = make()
            except EngineError as err:
                found = err
            file.write_bytes(pickle.dumps((time.perf_counter() - start, found)))
            begun.unlink()
        if isinstance(found, EngineError):
            raise found
        return found


class Engine(ABC):
    """A workload, ready to be called at any size."""

    def __init__(self, workload: Workload, params: Any, threads: int, shared: Shared | None = None):
        self.workload, self.params, self.threads, self.shared = workload, params, threads, shared or Shared()
        self.prepare()

    def prepare(self) -> None:
        """Converts and compiles what can be before any size is known; EngineError says why it cannot."""
        return None

    @classmethod
    def import_packages(cls) -> None:
        """Imports what the engine stands on, which is no part of its preparing; EngineError names what is not installed."""
        return None

    def result_tree(self) -> Any:
        """The structure of a result."""
        inputs = self.workload.make_inputs(self.workload.steady[0])
        return jax.tree.structure(jax.eval_shape(self.workload.fun, self.params, *inputs))

    def take(self, inputs: tuple, size: Size) -> Any:
        """The inputs as `call` wants them."""
        return jax.block_until_ready(jax.tree.map(jax.numpy.asarray, inputs))

    @abstractmethod
    def call(self, taken: Any, size: Size) -> Any:
        """The result, a pytree of arrays as `workload.fun` returns it, ready."""

    def compilations(self) -> int | None:
        """So far. None: the engine compiles nothing, or cannot tell."""
        return None

    def temp_bytes(self, inputs: tuple, size: Size) -> int | None:
        """Peak temporary memory of a call. What is compiled to find out counts nowhere."""
        return None

    def kept_bytes(self) -> int | None:
        """What is kept between calls besides the params, such as packed weights. Known after a call of `temp_bytes`."""
        return None

    def padding(self, size: Size) -> float:
        """The share of padding among the elements of the inputs."""
        return 0.0

    def facts(self) -> dict[str, Any]:
        """Versions, counts of eqns and kernels, what is special."""
        return {}


def check(name: str) -> None:
    """EngineError unless there is an engine of this name; nothing is imported."""
    family, *disabled = name.split("-")
    if name not in ENGINES and not (family == "sod2" and set(disabled) <= set(DISABLE)):
        raise EngineError(f"no engine {name!r}; there are {', '.join(ENGINES)}, and sod2-PART-PART without parts of {DISABLE}")


def load(name: str) -> Callable[..., Engine]:
    """What makes the engine of this name; EngineError if there is none, or if its packages are not installed."""
    check(name)
    disabled = () if name in ENGINES else tuple(name.split("-")[1:])
    found = find("sod2" if disabled else name)
    found.import_packages()
    return partial(found, disable=disabled) if disabled else found


def find(name: str) -> type[Engine]:
    """The class that the table names."""
    module, _, what = ENGINES[name].partition(":")
    return getattr(importlib.import_module(module), what)


def installed(package: str) -> Any:
    """The module of this name; EngineError names the pip extra if it is not there."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as err:
        missing = (err.name or package).split(".")[0]
        raise EngineError(f"{missing} is not installed; pip install '{EXTRA}' brings it") from None


def one_line(text: object, most: int = 300) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 3] + "..."
