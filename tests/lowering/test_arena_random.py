"""Random programs about memory: nested loops of several states, states handed on in other places or never read, values gathered
from what is overwritten next, branches that hand through, results that lie over states, donation.

* Numbers are small integers in f32, so that every result is exact: equal to JAX's op by op, to the last bit.
* Each runs with memory filled while it holds nothing (SOD2_CHECK=2), and without the memory plan; small sizes make one kernel of
  a loop, large ones many steps. The interpreter with shadow bytes runs some of them, too.
* Each run has a fresh seed; `--seed S` repeats one, `--programs N` runs N of them in the place of a few.
"""

from __future__ import annotations

import importlib.util
import random
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import sod2jax as sod2
from sod2jax import binding
from sod2jax.ir.execute import execute
from sod2jax.ir.expr import const
from sod2jax.ir.loops import Local
from sod2jax.lowering import jit

FEW = 3
SIZES = (3, 8, 1500)
HEAD = "import jax.numpy as jnp\nfrom jax import lax\n\n\n"
EXPRESSIONS = (
    "({a} + {b}) % 7", "({a} * 2 + 1) % 7", "{a}[::-1]", "jnp.sort({a})", "jnp.cumsum({a}) % 7", "{a}[u]", "{a}.at[u].set({b})",
    "{a}.at[u].add({b}) % 7", "{a}.at[u].set({a}[u] + 1) % 7", "{a}.at[u].set(({a}[u] + 1) * {a}[u]).at[u].max({a}[u]) % 7",
    "lax.dynamic_update_slice({a}, {b}[:2], ({i},))", "lax.dynamic_update_slice({a}, {a}[1:3] + 1, (0,)) % 7", "jnp.roll({a}, 1)",
    "jnp.where({a} > {b}, {a}, {b}[::-1])", "jnp.full_like({a}, 3)", "{a}.at[0].set({b}.sum() % 7)", "jnp.maximum({a}, {b})",
    "jnp.ones_like({a}) * ({a}.sum() % 7)", "({a} + {i}) % 7", "{a}.at[{i}].add({b}[0]) % 7", "({a} + {b}[::-1] + {a}[u]) % 7",
)  # fmt: skip


class Writer:
    """Writes a function of x, y (f32[n]) and u (i32[n], places with duplicates)."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.lines: list[str] = []
        self.count = 0

    def source(self) -> str:
        self.lines = ["def f(x, y, u):"]
        env = self.block(["x", "y"], "1", 1, 0, 3 + self.rng.randrange(4))
        self.put(1, f"return {', '.join(self.some(env, 1, 4))},")
        return HEAD + "\n".join(self.lines) + "\n"

    def put(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def some(self, env: list[str], least: int, most: int) -> list[str]:
        return [self.rng.choice(env[-5:] if self.rng.random() < 0.7 else env) for _ in range(self.rng.randint(least, most))]

    def block(self, env: list[str], i: str, depth: int, nested: int, length: int) -> list[str]:
        env = list(env)
        for _ in range(length):
            kinds = ["value"] * 3 + (["fori", "while", "scan", "cond", "switch"] if nested < 3 else [])
            env += getattr(self, self.rng.choice(kinds))(env, i, depth, nested)
        return env

    def value(self, env, i, depth, nested) -> list[str]:
        a, b = self.some(env, 2, 2)
        v = self.name("v")
        self.put(depth, f"{v} = {self.rng.choice(EXPRESSIONS).format(a=a, b=b, i=i)}")
        return [v]

    def body(self, head: str, env, i, states, depth, nested, result="{}", most=4) -> None:
        """A function that gives as many arrays as there are states: states in other places, and what it made of them."""
        self.put(depth, head)
        if len(states) > 0 and "*" not in head:
            self.put(depth + 1, f"{', '.join(states)}, = c")
        inner = self.block([*env[-2:], *states], i, depth + 1, nested + 1, self.rng.randrange(most))
        self.put(depth + 1, "return " + result.format(f"({', '.join(self.some([*states, *inner], len(states), len(states)))},)"))

    def states(self, env) -> tuple[list[str], list[str]]:
        start = self.some(env, 1, 4)
        return start, [self.name("c") for _ in start]

    def fori(self, env, i, depth, nested) -> list[str]:
        start, states = self.states(env)
        name, k = self.name("body"), self.name("i")
        self.body(f"def {name}({k}, c):", env, k, states, depth, nested)
        out = [self.name("v") for _ in states]
        self.put(depth, f"{', '.join(out)}, = lax.fori_loop(0, {self.rng.choice([0, 1, 2, 3])}, {name}, ({', '.join(start)},))")
        return out

    def while_(self, env, i, depth, nested) -> list[str]:
        start, states = self.states(env)
        name, k = self.name("body"), self.name("i")
        self.put(depth, f"def {name}(s):")
        self.put(depth + 1, f"{k}, {', '.join(states)}, = s")
        inner = self.block([*env[-2:], *states], k, depth + 1, nested + 1, self.rng.randrange(3))
        self.put(depth + 1, f"return {k} + 1, {', '.join(self.some([*states, *inner], len(states), len(states)))}")
        out = [self.name("v") for _ in states]
        limit = self.rng.choice(["s[0] < 2", "s[0] < 3", "s[0] < s[1][0] % 3", "(s[0] < 2) & (s[1].sum() >= 0)", "s[0] < 0"])
        self.put(depth, f"_, {', '.join(out)}, = lax.while_loop(lambda s: {limit}, {name}, (0, {', '.join(start)}))")
        return out

    def scan(self, env, i, depth, nested) -> list[str]:
        start, states = self.states(env)
        name, row = self.name("body"), self.name("row")
        rows = self.some(env, 1, 1)[0]
        self.put(depth, f"def {name}(c, {row}):")
        self.put(depth + 1, f"{', '.join(states)}, = c")
        inner = self.block([*env[-2:], *states], "1", depth + 1, nested + 1, self.rng.randrange(3))
        news = self.some([*states, *inner], len(states), len(states))
        ys = self.some([*states, *inner], 2, 2)
        first = self.name("v")
        self.put(depth + 1, f"{first} = ({news[0]} + {row}) % 7")
        news[0] = first
        self.put(depth + 1, f"return ({', '.join(news)},), ({ys[0]}, {ys[1]})")
        out, ys = [self.name("v") for _ in states], self.name("v")
        backwards = ", reverse=True" * (self.rng.random() < 0.3)
        self.put(depth, f"({', '.join(out)},), {ys} = lax.scan({name}, ({', '.join(start)},), {rows}[:2]{backwards})")
        self.put(depth, f"{ys} = ({ys}[0][1] + {ys}[1].sum(0)) % 7")
        return [*out, ys]

    def choice(self, env, i, depth, nested, how: str, number: int) -> list[str]:
        start, states = self.states(env)
        names = [self.name("case") for _ in range(number)]
        for name in names:
            self.put(depth, f"def {name}({', '.join(states)}):")
            inner = self.block([*env[-2:], *states], i, depth + 1, nested + 1, self.rng.randrange(3))
            # Most of them hand some operand through where it is.
            results = [s if self.rng.random() < 0.5 else self.some([*states, *inner], 1, 1)[0] for s in states]
            self.put(depth + 1, f"return {', '.join(results)},")
        out = [self.name("v") for _ in states]
        self.put(depth, f"{', '.join(out)}, = {how.format(', '.join(names))}, {', '.join(start)})")
        return out

    def cond(self, env, i, depth, nested) -> list[str]:
        test = self.rng.choice([f"{i} % 2 == 0", f"{env[-1]}[0] > 2", f"{env[-1]}.sum() % 2 == 0"])
        return self.choice(env, i, depth, nested, f"lax.cond({test}, {{}}", 2)

    def switch(self, env, i, depth, nested) -> list[str]:
        return self.choice(env, i, depth, nested, f"lax.switch(jnp.int32({env[-1]}[0]) % 3, [{{}}]", 3)


setattr(Writer, "while", Writer.while_)


def function(text: str, folder, seed: int):
    """The program as a module of a user's."""
    path = folder / f"program_{seed}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.f


def arguments(n: int):
    rng = np.random.default_rng(n)
    x, y = (rng.integers(0, 7, n).astype(np.float32) for _ in range(2))
    return x, y, (np.arange(n) // 2 * 3 % n).astype(np.int32)


def run_of_library(program):
    """Runs the runtime's own kernels, which the interpreter does not know."""
    addresses = binding.library_kernels(program)
    scratch = (Local("scratch", np.dtype(np.uint8), const(1 << 16)),)

    def run(kernel, buffers, sizes, extent):
        signature = SimpleNamespace(buffers=kernel.buffers, sizes=kernel.sizes, locals=scratch)
        jit.call(signature, addresses[kernel.name], buffers, sizes, 0, extent)

    return run


def pytest_generate_tests(metafunc):
    if "number" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--programs")
        metafunc.parametrize("number", range(asked if asked > 40 else FEW))


def test_memory_is_right(number, pytestconfig, tmp_path, monkeypatch):
    seed = pytestconfig.getoption("--seed") + number
    text = Writer(seed).source()
    f = function(text, tmp_path, seed)
    monkeypatch.setenv("SOD2_CHECK", "2")
    symbolic = {"shapes": ("n", "n", "n"), "constraints": ("n >= 3",)} if seed % 3 else {}
    donated = {"donate_argnums": (0, 1)} if seed % 2 else {}
    planned = sod2.jit(f, **symbolic, **donated)
    plain = sod2.jit(f, **symbolic, compiler_options={"disable": ["memory"]})
    for n in SIZES[:2] if seed % 4 else SIZES:
        given = arguments(n)
        with jax.disable_jit():
            want = f(*map(jax.numpy.asarray, given))
        got, other = planned(*map(jax.numpy.array, given)), plain(*given)
        for k, (a, b, c) in enumerate(zip(got, other, want, strict=True)):
            message = f"result {k} at n = {n}; seed {seed} (--seed {seed}):\n{text}"
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=f"with the memory plan and without it: {message}")
            np.testing.assert_array_equal(np.asarray(a), np.asarray(c), err_msg=f"with JAX op by op: {message}")
        if n == SIZES[0] and seed % 2:
            program = planned.lower(*given)._executable.program
            for k, (a, b) in enumerate(zip(execute(program, given, run_of_library(program), checked=True), want, strict=True)):
                np.testing.assert_array_equal(a, np.asarray(b), err_msg=f"by the interpreter, result {k}; seed {seed}:\n{text}")


def test_a_temporary_of_a_branch_over_memory_from_outside(monkeypatch):
    """The checks of SOD2_CHECK=2 filled it before the branch had read it."""
    monkeypatch.setenv("SOD2_CHECK", "2")

    def taken(y):
        t = y * 2
        return jnp.cumsum(t) + t

    f = lambda x: lax.cond(x[0] > -9, taken, lambda y: jnp.ones(y.shape), jnp.cumsum(x))
    x = np.arange(8, dtype=np.float32)
    np.testing.assert_array_equal(sod2.jit(f, shapes="n")(x), jax.jit(f)(x))
