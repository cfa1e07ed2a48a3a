"""The workload protocol: a model, how to make its inputs at a size, and the sizes to measure it at.

* A workload file defines `workload()`, which returns a Workload or several; with a parameter `small`, `sod2 bench --small` passes
  True, and the file gives a form of the model that takes seconds.
* The dims are the symbols of `shapes`; `constraints` give their ranges. A size is {dim: number}, and every size is checked when
  the Workload is made.
* A trace is the sizes of successive calls, as a server would see them: drawn by `sample`, or read from a file of JSON lines that
  `record` wrote.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sod2jax import specs, userfile
from sod2jax.errors import ShapeError, SpecError

Size = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A function to be measured at many sizes.

    fun          `fun(params, *inputs)`, a JAX function; its result is a pytree of arrays
    params       its weights: a pytree of arrays, or a function without arguments that makes it (each engine runs in a process of
                 its own, and makes them once)
    inputs       `inputs(rng, **dims)` makes the tuple of input arrays at a size, from a `numpy.random.Generator`
    shapes       one entry for each input, as `sod2.jit(shapes=)` takes them, such as "b, s"
    constraints  what holds for the dims: "1 <= s <= 512", "h % 32 == 0"
    steady       a few sizes, for the time of a call once everything is compiled
    trace        sizes of successive calls: a sequence, or the path of a JSON-lines file
    tolerance    largest difference to `jax.jit` that is all right, over the largest magnitude of its result
    layers       what papers count as this model's layers: {"SoD2 Table 5": 407}
    """

    name: str
    fun: Callable
    params: Any
    inputs: Callable[..., tuple]
    shapes: tuple
    constraints: tuple[str, ...] = ()
    steady: Sequence[Mapping[str, int]]
    trace: Sequence[Mapping[str, int]] | str | Path
    tolerance: float = 1e-4
    layers: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)
        put("shapes", tuple(self.shapes))
        put("constraints", (self.constraints,) if isinstance(self.constraints, str) else tuple(self.constraints))
        put("contract", specs.Contract(self.shapes, self.constraints))
        put("dims", _dims(self.contract))
        trace = read_trace(self.trace) if isinstance(self.trace, str | Path) else self.trace
        for name, sizes in (("steady", self.steady), ("trace", trace)):
            if not (sizes := tuple(dict(size) for size in sizes)):
                raise SpecError(f"workload {self.name!r}: {name} has no size")
            for size in sizes:
                self.check(size, name)
            put(name, sizes)

    dims: tuple[str, ...] = field(init=False)
    contract: specs.Contract = field(init=False, repr=False)

    def check(self, size: Mapping[str, int], where: str) -> None:
        """ShapeError unless `size` gives every dim a number that the constraints allow."""
        told = f"workload {self.name!r}: {where} has the size {dict(size)}"
        if set(size) != set(self.dims):
            raise ShapeError(f"{told}, but the dims in shapes= are {', '.join(self.dims) or '(none)'}")
        if wrong := [d for d, n in size.items() if not isinstance(n, int | np.integer) or n < 0]:
            raise ShapeError(f"{told}: {wrong[0]} must be an integer from 0 upwards")
        for text, cond in self.contract.constraints:
            if not specs.holds(cond, size):
                raise ShapeError(f"{told}, which breaks the constraint {text!r}")

    def make_params(self) -> Any:
        return self.params() if callable(self.params) else self.params

    def make_inputs(self, size: Mapping[str, int], seed: Sequence[int] = (0,)) -> tuple:
        """The inputs at a size, the same for the same seed; ShapeError if they do not have the shapes that `shapes` says."""
        inputs = self.inputs(np.random.default_rng((*seed, *(int(n) for _, n in sorted(size.items())))), **size)
        if not isinstance(inputs, tuple):
            raise SpecError(f"workload {self.name!r}: inputs() returned {type(inputs).__name__}; a tuple of the inputs is needed")
        paths = jax.tree_util.tree_leaves_with_path(inputs)
        leaves = [specs.Leaf(f"inputs{jax.tree_util.keystr(p)}", np.dtype(x.dtype), np.shape(x)) for p, x in paths]
        found = self.contract.solve(f"workload {self.name!r}", self.contract.leaf_specs(inputs, {}), leaves)
        if found != dict(size):
            raise ShapeError(f"workload {self.name!r}: inputs() for the size {dict(size)} has the size {found}")
        return inputs


def _dims(contract: specs.Contract) -> tuple[str, ...]:
    """The symbols, in the order in which they first stand in shapes=."""
    leaves = jax.tree.leaves(contract.shapes)
    return tuple(dict.fromkeys(n for spec in leaves for d in spec.dims if d is not None for n in sorted(d.free)))


# -- traces


def read_trace(path: str | Path) -> tuple[Size, ...]:
    """The sizes in a file of JSON lines, each an object such as {"b": 1, "s": 37}; SpecError names the line that is not."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as err:
        raise SpecError(f"cannot read the trace {path}: {err.strerror}") from None
    sizes = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            size = json.loads(line)
        except ValueError:
            size = None
        if not isinstance(size, dict) or not all(type(n) is int for n in size.values()):
            raise SpecError(f'{path}:{number}: {line[:60]!r} is no size; a line such as {{"b": 1, "s": 37}} is needed')
        sizes.append(size)
    return tuple(sizes)


def sample(count: int, *, seed: int = 0, **dims: Any) -> tuple[Size, ...]:
    """`count` sizes drawn with a seed. Each dim is a number, a sequence to choose from, a `range`, or a function of a
    `numpy.random.Generator`, such as `lognormal(...)` makes."""
    rng = np.random.default_rng(seed)

    def draw(how):
        if callable(how):
            return int(how(rng))
        return int(how) if isinstance(how, int) else int(how[rng.integers(len(how))])

    return tuple({name: draw(how) for name, how in dims.items()} for _ in range(count))


def lognormal(median: float, sigma: float, lo: int, hi: int, step: int = 1) -> Callable:
    """Sizes as texts and requests have them, most near `median` and a few many times longer; between `lo` and `hi`, in steps of
    `step`."""

    def draw(rng):
        size = step * round(math.exp(math.log(median) + sigma * rng.standard_normal()) / step)
        return min(max(size, lo), hi)

    return draw


# -- files


def load(path: str | Path, small: bool = False) -> tuple[Workload, ...]:
    """The workloads of a file; userfile.Mistake, one line, if it has none or its `workload()` raises."""
    module = userfile.load(path)
    make = getattr(module, "workload", None)
    if not callable(make):
        raise userfile.Mistake(f"{path}: no workload() there; it must return a sod2.bench.Workload")
    with userfile.UserCode(path):
        made = make(small=small) if "small" in inspect.signature(make).parameters else make()
    made = tuple(made) if isinstance(made, list | tuple) else (made,)
    if not made or (wrong := [w for w in made if not isinstance(w, Workload)]):
        what = f"returned {type(wrong[0]).__name__}" if made else "returned no workload"
        line = make.__code__.co_firstlineno if hasattr(make, "__code__") else 1
        raise userfile.Mistake(f"{path}:{line}: workload() {what}; a sod2.bench.Workload is needed")
    return made
