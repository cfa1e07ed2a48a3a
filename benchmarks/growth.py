"""Does memory grow? Calls at random sizes, and functions made and dropped; resident memory is printed on the way.

    python benchmarks/growth.py                        # 20,000 calls, 2,000 functions, 500 sizes of what XLA computes
    python benchmarks/growth.py --calls 2000 --functions 200 --islands 100

The last column is what was added since a tenth of the way, when every table has had its first entries. JAX's own bounded caches
are full after some hundred functions.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir

import sod2jax as sod2

opaque = Primitive("opaque")
opaque.def_abstract_eval(lambda x: x)
mlir.register_lowering(opaque, mlir.lower_fun(lambda x: jnp.sin(x) * 2, multiple_results=False))


def resident() -> float:
    """MB in memory, after what is garbage has gone and the allocator has given its free pages back."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def calls(total: int):
    """One function, called at random sizes."""
    f = sod2.jit(lambda x, y: (jnp.sort(x), x[:, None] * y, jnp.mean(y), jax.nn.softmax(y)), shapes=("n", "m"))
    rng = np.random.default_rng(0)
    for i in range(total):
        n, m = rng.integers(0, 300, 2)
        f(np.ones(n, np.float32), np.ones(m, np.float32))
        yield i
    assert f.cache_info().compiles == 1


def functions(total: int):
    """Functions of their own machine code, each called at two sizes and dropped."""
    alive = []
    for i in range(total):
        f = sod2.jit(lambda w, x, i=i: (jnp.tanh(x @ w) * (i + 0.5), jax.nn.softmax(x), jnp.cumsum(x, 0)), shapes=(None, "n, 8"))
        for n in (3, 5):
            f(jnp.ones((8, 8)), jnp.ones((n, 8)))
        alive.append(weakref.ref(f))
        del f
        yield i
    gc.collect()
    assert not any(f() for f in alive)


def islands(total: int):
    """One function with an operation that XLA compiles for each size."""
    f = sod2.jit(opaque.bind, shapes="n")
    for i in range(total):
        f(np.ones(i + 1, np.float32))
        yield i


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, total in (("calls", 20_000), ("functions", 2_000), ("islands", 500)):
        parser.add_argument(f"--{kind}", type=int, default=total)
    arguments = vars(parser.parse_args())
    for kind in (calls, functions, islands):
        total = arguments[kind.__name__]
        if not total:
            continue
        first = None
        for i in kind(total):
            if (i + 1) % max(total // 10, 1) == 0:
                now = resident()
                first = now if first is None else first
                print(f"{kind.__name__:10} {i + 1:7} {now:8.0f} MB {now - first:+8.1f} MB", flush=True)


if __name__ == "__main__":
    main()
