"""A random program: its source, its arguments, the file it is run from, and the script that shows what went wrong.

* The source is written to a file in a folder of its own, so that its lines count as a user's and errors show them.
* The arguments are made by the text that the script has, so that the script runs the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from programs.terms import Line, Term

HEAD = """\
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
"""
_folder = tempfile.TemporaryDirectory(prefix="random-programs-")
_number = itertools.count()


@dataclass(frozen=True)
class Program:
    """The first input has the shape (a, b); the second the shape (c,), if there is a `third` size.

    `symbolic`: compiled with `shapes=`. `donated` are positions of inputs.
    """

    inputs: tuple[Term, ...]
    lines: tuple[Line, ...]
    outputs: tuple[str, ...]
    third: bool = False
    x64: bool = False
    symbolic: bool = True
    donated: tuple[int, ...] = ()

    def source(self) -> str:
        head = ["a, b = x0.shape", *(["(c,) = x1.shape"] if self.third else [])]
        body = [*head, *map(str, self.lines), f"return {', '.join(self.outputs)},"]
        return f"def f({', '.join(x.name for x in self.inputs)}):\n" + textwrap.indent("\n".join(body), "    ") + "\n"

    def specs(self) -> tuple[str, ...]:
        return tuple(", ".join(map(str, x.shape)) for x in self.inputs)

    def jit_options(self) -> dict:
        """Of `sod2.jit`."""
        options = {"shapes": self.specs()} if self.symbolic else {}
        return options | ({"donate_argnums": self.donated} if self.donated else {})

    def function(self):
        """The function, of a file that stands neither in JAX nor in sod2jax nor in the standard library."""
        text = f"{HEAD}\n\n{self.source()}"
        path = Path(_folder.name, f"program_{hashlib.sha1(text.encode()).hexdigest()[:12]}_{next(_number)}.py")
        path.write_text(text)
        scope = {"__name__": path.stem, "__file__": str(path)}
        exec(compile(text, str(path), "exec"), scope)
        return scope["f"]

    def context(self):
        return jax.enable_x64(True) if self.x64 else contextlib.nullcontext()

    def arguments(self, env, seed=0) -> list[np.ndarray]:
        scope = {"np": np, "jnp": jax.numpy, "rng": np.random.default_rng(seed)}
        return [eval(self._argument(x, env), scope) for x in self.inputs]

    def _argument(self, x: Term, env) -> str:
        shape = tuple(d.eval(env) for d in x.shape)
        if x.dtype == "bool":
            return f"rng.random({shape}) < 0.5" if shape else "np.bool_(rng.random() < 0.5)"
        if x.dtype == "uint32":
            return f"rng.integers(0, 1 << 32, {shape}, np.uint32)"
        if x.exact:
            return f"rng.integers({0 if x.dtype == 'uint8' else -3}, 4, {shape}).astype(jnp.{x.dtype})"
        imaginary = f" + 1j * rng.standard_normal({shape})" if x.dtype == "complex64" else ""
        return f"np.asarray(rng.standard_normal({shape}){imaginary}).astype(jnp.{x.dtype})"

    def cut(self, donated=None) -> Program:
        """Without the lines that no output needs."""
        needed, lines = {*self.outputs, "x0", *(["x1"] if self.third else [])}, []
        for line in reversed(self.lines):
            if not needed.isdisjoint(t.name for t in line.terms):
                lines.append(line)
                needed |= line.uses
        kept = {self.inputs[k].name for k in (self.donated if donated is None else donated)}
        inputs = [x for x in self.inputs if x.name in needed]
        donated = tuple(k for k, x in enumerate(inputs) if x.name in kept)
        return Program(tuple(inputs), tuple(reversed(lines)), self.outputs, self.third, self.x64, self.symbolic, donated)

    def script(self, sizes) -> str:
        """A program of its own, which prints what differs at these sizes."""
        donate = f", donate_argnums={self.donated}" if self.donated else ""
        calls = "".join(
            f"    rng = np.random.default_rng(0)  # {env}\n    yield [{', '.join(self._argument(x, env) for x in self.inputs)}]\n"
            for env in sizes
        )
        return f"""{HEAD}
import sod2jax as sod2

{'jax.config.update("jax_enable_x64", True)' if self.x64 else ""}


{self.source()}

def arguments():
{calls}

g = sod2.jit(f{f", shapes={self.specs()}" if self.symbolic else ""}{donate})
for args in arguments():
    got, want = g(*map(jnp.array, args)), jax.jit(f)(*args)
    with jax.disable_jit():  # the arbiter, where the two differ
        eager = f(*map(jnp.array, args))
    for k, (x, y, z) in enumerate(zip(got, want, eager)):
        wide = np.complex128 if x.dtype.kind == "c" else np.float64
        x, y, z = (np.asarray(v).astype(wide) for v in (x, y, z))
        same = lambda p, q: (p == q) | (np.isnan(p) & np.isnan(q))
        worst = lambda p, q: np.max(np.where(same(p, q), 0, np.abs(p - q)), initial=0)  # nan where only one of them is
        off = [worst(p, q) if p.shape == q.shape else (p.shape, q.shape) for p, q in ((x, y), (x, z))]
        print([v.shape for v in args], "output", k, "differs from jax.jit by", off[0], "and from JAX op by op by", off[1])
print(g.cache_info())
"""

    def __str__(self):
        facts = f"x64={self.x64}, {self.jit_options()}, dtypes={[x.dtype for x in self.inputs]}"
        return f"# {facts}\n{self.source()}"

    __repr__ = __str__
