"""The calls of the sweep over JAX's public functions: `calls/*.txt`, read into functions of arrays.

* `[module]` says where the names of the lines below it come from. `names | expression | expression` are calls of each of the
  names, which the expressions call `F`; the first expression is run at more sizes than the others.
* Arguments are made in the expression: `f(n, m)` is a float32 of shape [n, m], `i(k)` an int32 (`MAKERS` has them all). The names
  `SYMBOLS` are sizes: each is a symbol of `sod2.jit`, and in the expression the size itself, read from an argument's shape. A
  size that no argument has gets an argument of its own.
* `names ? expression`: what `jax.jit` refuses at any size, and so must we. `names ! reason`: no function of arrays.
"""

from __future__ import annotations

import ast
import importlib
import linecache
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

FOLDER = Path(__file__).with_name("calls")
ORDINARY = {"n": 5, "m": 7, "k": 3, "p": 4}
SYMBOLS = tuple(ORDINARY)

MODULES = (
    "jax.numpy", "jax.numpy.linalg", "jax.numpy.fft", "jax.lax", "jax.lax.linalg", "jax.nn", "jax.nn.initializers",
    "jax.random", "jax.image", "jax.ops", "jax.scipy.cluster.vq", "jax.scipy.fft", "jax.scipy.integrate",
    "jax.scipy.interpolate", "jax.scipy.linalg", "jax.scipy.ndimage", "jax.scipy.optimize", "jax.scipy.signal",
    "jax.scipy.sparse.linalg", "jax.scipy.spatial.transform", "jax.scipy.special", "jax.scipy.stats",
    *(f"jax.scipy.stats.{name}" for name in (
        "bernoulli", "beta", "betabinom", "binom", "cauchy", "chi2", "dirichlet", "expon", "gamma", "gennorm", "geom", "gumbel_l",
        "gumbel_r", "laplace", "logistic", "multinomial", "multivariate_normal", "nbinom", "norm", "pareto", "poisson", "t",
        "truncnorm", "uniform", "vonmises", "wrapcauchy",
    )),
)  # fmt: skip


def normals(rng, *shape):
    return (rng.standard_normal(shape) * 2).astype(np.float32)


def positives(rng, *shape):
    return rng.uniform(0.1, 3, shape).astype(np.float32)


def dominant(rng, n):
    return normals(rng, n, n) + 4 * n * np.eye(n, dtype=np.float32)


def definite(rng, n):
    a = normals(rng, n, n)
    return a @ a.T + n * np.eye(n, dtype=np.float32)


def simplex(rng, *shape):
    x = positives(rng, *shape)
    return x / x.sum(0, keepdims=True)


# name -> (dtype, whether NaN and infinities may stand in it, (rng, *shape) -> array)
MAKERS: dict[str, tuple[str, bool, Callable]] = {
    "f": ("float32", True, normals),
    "h": ("float16", True, normals),
    "bf": ("bfloat16", True, normals),
    "c": ("complex64", True, lambda rng, *shape: normals(rng, *shape) + 1j * normals(rng, *shape)),
    "g": ("float32", False, normals),
    "pf": ("float32", False, positives),
    "uf": ("float32", False, lambda rng, *shape: rng.uniform(0.01, 0.99, shape)),
    "i": ("int32", False, lambda rng, *shape: rng.integers(-5, 10, shape)),
    "pi": ("int32", False, lambda rng, *shape: rng.integers(1, 7, shape)),
    "u": ("uint32", False, lambda rng, *shape: rng.integers(0, 40, shape)),
    "b": ("bool", False, lambda rng, *shape: rng.integers(0, 2, shape)),
    "srt": ("float32", False, lambda rng, n: np.sort(normals(rng, n))),
    "sq": ("float32", False, dominant),
    "spd": ("float32", False, definite),
    "probs": ("float32", False, simplex),
    "at": ("int32", False, lambda rng, bound, *shape: rng.integers(0, max(bound, 1), shape)),  # positions below a bound
    "key": ("key", False, lambda rng: jax.random.key(int(rng.integers(1000)))),
}
_SQUARE = ("sq", "spd")


@dataclass(frozen=True)
class Argument:
    maker: str
    given: tuple[str, ...]  # what the maker is called with, as texts

    @property
    def dims(self) -> tuple[str, ...]:
        if self.maker == "at":
            return self.given[1:]
        return self.given * 2 if self.maker in _SQUARE else self.given

    @property
    def spec(self) -> str | None:
        """What `shapes=` says of it."""
        return None if self.maker == "key" else ", ".join(self.dims)

    def at(self, sizes: dict[str, int], rng, special: bool):
        """Its value at these sizes; `special`: with NaN, infinities and zeros of both signs in it."""
        dtype, sprinkled, make = MAKERS[self.maker]
        x = make(rng, *(eval(text, {}, dict(sizes)) for text in self.given))
        if dtype == "key":
            return x
        x = np.asarray(x).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        if special and sprinkled and x.size:
            flat = x.reshape(-1)
            places = rng.integers(0, x.size, min(x.size // 2 + 1, 5))
            flat[places] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], len(places))
        return x


@dataclass(frozen=True)
class Call:
    """One call of one public function; `arguments` are what it is a function of, `source` its code."""

    function: str
    number: int  # among the calls of this function
    text: str
    refused: bool  # by jax.jit, at any size
    arguments: tuple[Argument, ...]
    symbols: tuple[str, ...]
    source: str

    def __str__(self):
        return f"{self.function}-{self.number}"

    def build(self) -> Callable:
        module, _, name = self.function.rpartition(".")
        names = {"F": getattr(importlib.import_module(module), name), "jax": jax, "jnp": jnp}
        file = f"<sweep {self}>"
        linecache.cache[file] = (len(self.source), None, self.source.splitlines(True), file)
        exec(compile(self.source, file, "exec"), names)
        return names["call"]

    def values(self, sizes: dict[str, int], special: bool) -> tuple:
        rng = np.random.default_rng(zlib.crc32(f"{self.function} {self.text} {sorted(sizes.items())} {special}".encode()))
        return tuple(a.at(sizes, rng, special) for a in self.arguments)

    def sizes(self, all_of_them: bool = True) -> Iterator[tuple[dict[str, int], bool]]:
        """(sizes, whether with special values): the ordinary ones first. Few, or all: each size 0 or 1 alone, two equal, ..."""
        ordinary = {s: ORDINARY[s] for s in self.symbols}
        yield ordinary, False
        if not self.symbols:
            return
        yield dict.fromkeys(self.symbols, 0), False
        yield dict.fromkeys(self.symbols, 1), False
        yield dict(zip(self.symbols, (9, 4, 6, 11))), True
        if not all_of_them:
            return
        yield dict.fromkeys(self.symbols, 2), False
        if len(self.symbols) > 1:
            yield dict.fromkeys(self.symbols, 6), False
            yield dict(zip(self.symbols, (8, 3, 13, 5))), False
            for s in self.symbols:
                yield ordinary | {s: 0}, False
                yield ordinary | {s: 1}, False
        else:
            yield dict.fromkeys(self.symbols, 16), True
        if len(self.symbols) > 2:
            yield ordinary | {self.symbols[0]: 7, self.symbols[1]: 7}, True


class _Arguments(ast.NodeTransformer):
    """Calls of makers become the names of arguments."""

    def __init__(self):
        self.found: list[Argument] = []

    def visit_Call(self, node):
        if isinstance(node.func, ast.Name) and node.func.id in MAKERS:
            self.found.append(Argument(node.func.id, tuple(map(ast.unparse, node.args))))
            return ast.Name(f"a{len(self.found) - 1}", ast.Load())
        return self.generic_visit(node)


def read(function: str, number: int, text: str, refused: bool) -> Call:
    tree = ast.parse(text, mode="eval")
    bound = {a.arg for node in ast.walk(tree) if isinstance(node, ast.Lambda) for a in node.args.args}
    makers = _Arguments()
    tree = makers.visit(tree)
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - bound
    in_dims = {s for a in makers.found for d in a.given for s in SYMBOLS if s in _names(d)}
    symbols = tuple(s for s in SYMBOLS if s in named | in_dims)
    arguments = list(makers.found)
    for s in symbols:
        if not any(s in a.dims for a in arguments):
            arguments.append(Argument("f", (s,)))
    lines = [f"def call({', '.join(f'a{j}' for j in range(len(arguments)))}):"]
    for s in symbols:
        if s in named:
            j, axis = next((j, a.dims.index(s)) for j, a in enumerate(arguments) if s in a.dims)
            lines.append(f"    {s} = a{j}.shape[{axis}]")
    lines.append(f"    return {ast.unparse(tree)}")
    return Call(function, number, text, refused, tuple(arguments), symbols, "\n".join(lines) + "\n")


def _names(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


@cache
def table() -> tuple[tuple[Call, ...], dict[str, str]]:
    """All calls, and the functions that have none, with the reason."""
    calls: dict[str, list[Call]] = {}
    without: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.txt")):
        module = ""
        for line in path.read_text().splitlines():
            if line.startswith("["):
                module = line.strip("[] ")
            elif line and not line.startswith("#"):
                sign = min((s for s in (" | ", " ? ", " ! ") if s in line), key=line.index)
                names, *texts = line.split(sign)
                for name in names.split():
                    function = f"{module}.{name}"
                    if sign == " ! ":
                        without[function] = texts[0]
                        continue
                    own = calls.setdefault(function, [])
                    own += [read(function, number, text, sign == " ? ") for number, text in enumerate(texts, len(own))]
    return tuple(call for own in calls.values() for call in own), without


@cache
def public_functions() -> tuple[str, ...]:
    """What can be called in `MODULES`, and is neither a module nor a type."""
    found = []
    for module in MODULES:
        found_in = importlib.import_module(module)
        for name in dir(found_in):
            member = getattr(found_in, name)
            if not name.startswith("_") and callable(member) and not isinstance(member, type):
                found.append(f"{module}.{name}")
    return tuple(found)
