"""Random programs against `jax.jit`: each is compiled once with symbolic sizes and run at several.

A program is source text, a line per value, so that a failure prints what reproduces it. `--programs N` runs N of them.

* A value has a shape in the symbols a and b, a dtype, and a bound on its magnitude. It is exact if all of its elements are small
  integers, whatever the order of operations: only such values reach comparisons, rounding and positions, where the last bit of a
  float would decide.
* A line takes one to three earlier values at random, late ones more often, so that subterms are shared and chains get long.
* What `jax.jit` refuses at a size (an argmax of nothing) is not compared at that size.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ir.expr import Expr, as_expr, const, floordiv, sym

A, B = sym("a"), sym("b")
SIZES = [(0, 5), (1, 1), (7, 0), (16, 3), (1, 64), (33, 2), (2, 33), (130, 7), (13, 64), (64, 17), (5, 130)]
ZERO_SIZES, LARGE_SIZES = {"a": 0, "b": 0}, {"a": 130, "b": 130}
LARGEST = 64 * 130 * 130  # elements of a value at those
EXACT = {"float32": 1 << 22, "int32": 1 << 28, "bfloat16": 1 << 7, "bool": 2}


# How often each way to make a value is drawn, relative to the others.
OPS = {
    "unary": 4, "exact_unary": 3, "binary": 5, "divide": 1, "compare": 2, "logical": 1, "select": 2, "convert": 2, "size": 1,
    "iota": 1, "broadcast": 2, "reshape": 3, "transpose": 3, "slice": 2, "pad": 2, "concatenate": 2, "tile": 0.5, "take": 2,
    "reduce": 3, "arg": 1, "normalise": 2, "dot": 4, "dense": 3, "conv": 2, "pool": 1.5,
}  # fmt: skip


@dataclass(frozen=True)
class Term:
    """One value of a program."""

    name: str
    shape: tuple[Expr, ...]
    dtype: str
    bound: float
    exact: bool


@dataclass(frozen=True)
class Line:
    term: Term
    text: str
    uses: frozenset[str]


@dataclass(frozen=True)
class Random:
    """A program: the first input has the shape (a, b)."""

    inputs: tuple[Term, ...]
    lines: tuple[Line, ...]
    outputs: tuple[str, ...]

    def source(self) -> str:
        body = ["a, b = x0.shape", *(f"{line.term.name} = {line.text}" for line in self.lines)]
        body.append(f"return {', '.join(self.outputs)},")
        return f"def f({', '.join(x.name for x in self.inputs)}):\n" + textwrap.indent("\n".join(body), "    ") + "\n"

    def specs(self) -> tuple[str, ...]:
        return tuple(", ".join(map(str, x.shape)) for x in self.inputs)

    def function(self):
        scope = {"jnp": jnp, "lax": lax, "jax": jax, "np": np}
        exec(self.source(), scope)
        return scope["f"]

    def arguments(self, env, seed=0) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [_sample(rng, x, tuple(d.eval(env) for d in x.shape)) for x in self.inputs]


def _sample(rng, x: Term, shape):
    if x.dtype == "bool":
        return rng.random(shape) < 0.5
    if x.exact:
        return rng.integers(-3, 4, shape).astype(jnp.dtype(x.dtype))
    return rng.standard_normal(shape).astype(jnp.dtype(x.dtype))


def size(shape) -> Expr:
    result = const(1)
    for d in shape:
        result = result * d
    return result


def text(shape) -> str:
    return "(" + "".join(f"{d}, " for d in shape) + ")"


class Generator:
    """Adds lines at random. Each method named `op_...` adds one, or gives None where it does not apply to what it drew."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Term] = []
        self.lines: list[Line] = []
        self.terms: list[Term] = []
        self.input((A, B), exact=self.chance(0.5))
        for _ in range(self.below(3)):
            shape = self.one([(A, B), (B,), (A,), (A, B, const(8)), (B, const(16)), (const(8), A), (A, const(4), const(4)), ()])
            self.input(shape, self.one(["float32"] * 6 + ["int32", "bool", "bfloat16"]), self.chance(0.5))

    # -- choices

    def below(self, n: int) -> int:
        return int(self.rng.integers(n))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def one(self, options):
        return options[self.below(len(options))]

    def pick(self, want=lambda t: True) -> Term | None:
        """A term for which `want` holds, late ones more often."""
        found = [t for t in self.terms if want(t)]
        if not found:
            return None
        late = len(found) - 1 - int(min(self.rng.exponential(3), len(found) - 1))
        return found[late] if self.chance(0.8) else self.one(found)

    def real(self, want=lambda t: True) -> Term | None:
        return self.pick(lambda t: t.dtype in ("float32", "bfloat16") and want(t))

    def single(self, want=lambda t: True) -> Term | None:
        return self.pick(lambda t: t.dtype == "float32" and want(t))

    # -- making terms

    def input(self, shape, dtype="float32", exact=False) -> Term:
        exact = exact or dtype in ("int32", "bool")
        x = Term(f"x{len(self.inputs)}", tuple(map(as_expr, shape)), dtype, {"bool": 1}.get(dtype, 3), exact)
        self.inputs.append(x)
        self.terms.append(x)
        return x

    def add(self, text_, uses, shape, dtype, bound, exact=True) -> Term | None:
        shape = tuple(map(as_expr, shape))
        if len(shape) > 5 or size(shape).eval(LARGE_SIZES) > LARGEST or bound > 1e7:
            return None
        exact = exact and all(u.exact for u in uses) and bound <= EXACT[dtype]
        if dtype in ("int32", "bool") and not exact:
            return None
        term = Term(f"v{len(self.lines)}", shape, dtype, float(bound), exact)
        self.lines.append(Line(term, text_, frozenset(u.name for u in uses)))
        self.terms.append(term)
        return term

    def like(self, x: Term) -> Term | None:
        """A term of x's dtype that broadcasts to its shape."""

        def fits(t):
            pairs = zip(reversed(t.shape), reversed(x.shape), strict=False)
            return t.dtype == x.dtype and len(t.shape) <= len(x.shape) and all(p == q or p.value == 1 for p, q in pairs)

        same = self.pick(lambda t: t is not x and fits(t))
        return same or x

    # -- elementwise

    def op_unary(self):
        x = self.real()
        if x is None:
            return None
        tame = x.bound <= 8
        options = [("jnp.tanh({})", 1), ("jax.nn.sigmoid({})", 1), ("jnp.exp(-jnp.abs({}))", 1), ("jnp.sin({})", 1),
                   ("jnp.cos({})", 1), ("lax.erf({})", 1), ("jnp.log1p(jnp.abs({}))", 1 + np.log1p(x.bound)),
                   ("jnp.sqrt(jnp.abs({}) + 1)", 1 + x.bound), ("lax.rsqrt(jnp.square({}) + 1)", 1),
                   ("jax.nn.gelu({})", x.bound)]  # fmt: skip
        if tame:
            options += [("jnp.exp({})", np.exp(x.bound)), ("jnp.expm1({} * 0.5)", np.exp(x.bound))]
        if x.bound > 1e3:  # large arguments of sin and cos lose their last digits before they come here
            options = options[:3]
        elif x.bound > 30:
            options = [o for o in options if "sin" not in o[0] and "cos" not in o[0]]
        t, bound = self.one(options)
        return self.add(t.format(x.name), [x], x.shape, x.dtype, bound, exact=False)

    def op_exact_unary(self):
        x = self.pick(lambda t: t.dtype != "bool")
        if x is None:
            return None
        options = [("-{}", x.bound), ("jnp.abs({})", x.bound), ("jnp.square({})", x.bound**2), ("{} * 3", 3 * x.bound),
                   ("{} + 1", x.bound + 1), ("jnp.maximum({}, 0)", x.bound), ("lax.integer_pow({}, 3)", x.bound**3),
                   ("jnp.clip({}, -2, 5)", 5)]  # fmt: skip
        if x.exact:
            options += [("jnp.sign({})", 1)]
            if x.dtype == "float32":
                options += [("jnp.floor({} / 4)", x.bound), ("jnp.round({} * 0.25)", x.bound), ("jnp.ceil({} / 2)", x.bound)]
        t, bound = self.one(options)
        return self.add(t.format(x.name), [x], x.shape, x.dtype, bound)

    def op_binary(self):
        x = self.pick(lambda t: t.dtype != "bool")
        if x is None:
            return None
        y = self.like(x)
        more, most = x.bound + y.bound, max(x.bound, y.bound)
        t, bound = self.one([("{} + {}", more), ("{} - {}", more), ("{} * {}", x.bound * y.bound), ("jnp.maximum({}, {})", most),
                             ("jnp.minimum({}, {})", most)])  # fmt: skip
        shape = x.shape
        if self.chance(0.3):
            x, y = y, x
        return self.add(t.format(x.name, y.name), [x, y], shape, x.dtype, bound)

    def op_divide(self):
        x = self.real()
        if x is None:
            return None
        y = self.like(x)
        return self.add(f"{x.name} / (1 + jnp.abs({y.name}))", [x, y], x.shape, x.dtype, x.bound, exact=False)

    def op_compare(self):
        x = self.pick(lambda t: t.exact and t.dtype != "bool")
        if x is None:
            return None
        y = self.like(x)
        if not y.exact:
            return None
        return self.add(f"{x.name} {self.one(['<', '<=', '==', '!=', '>'])} {y.name}", [x, y], x.shape, "bool", 1)

    def op_logical(self):
        x = self.pick(lambda t: t.dtype == "bool")
        if x is None:
            return None
        y = self.like(x)
        t = self.one(["{} & {}", "{} | {}", "{} ^ {}", "~{} & {}"])
        return self.add(t.format(x.name, y.name), [x, y], x.shape, "bool", 1)

    def op_select(self):
        c = self.pick(lambda t: t.dtype == "bool")
        if c is None:
            return None
        x = self.pick(lambda t: t.shape == c.shape and t.dtype != "bool")
        if x is None:
            return None
        y = self.like(x)
        return self.add(f"jnp.where({c.name}, {x.name}, {y.name})", [c, x, y], x.shape, x.dtype, max(x.bound, y.bound))

    def op_convert(self):
        x = self.pick()
        options = {"float32": ["bfloat16"] + ["int32"] * x.exact, "bfloat16": ["float32"] * 3, "int32": ["float32"] * 3,
                   "bool": ["float32", "int32"]}[x.dtype]  # fmt: skip
        to = self.one(options)
        exact = x.exact and x.bound <= EXACT[to]
        if x.exact and not exact:
            return None
        return self.add(f"{x.name}.astype(jnp.{to})", [x], x.shape, to, x.bound)

    def op_size(self):
        x = self.single()
        if x is None:
            return None
        t = self.one(["{} / (a + 1)", "{} * (2 * a + b)", "{} + a // 2", "{} - jnp.float32(a * b)"])
        bound = {"/": x.bound, "*": 400 * x.bound, "+": x.bound + 70, "-": x.bound + 17000}[t.split()[1]]
        return self.add(t.format(x.name), [x], x.shape, "float32", bound, exact="/" not in t or "//" in t)

    def op_iota(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        axis, dtype = self.below(len(x.shape)), self.one(["float32", "int32"])
        return self.add(f"lax.broadcasted_iota(jnp.{dtype}, {text(x.shape)}, {axis})", [], x.shape, dtype, 20000)

    # -- movement

    def op_broadcast(self):
        x = self.pick(lambda t: len(t.shape) < 4)
        extra = self.one([(const(1),), (const(3),), (A,), (B,), (A, B)])
        if self.chance(0.4):
            axis = self.below(len(x.shape) + 1)
            shape = (*x.shape[:axis], const(1), *x.shape[axis:])
            return self.add(f"jnp.expand_dims({x.name}, {axis})", [x], shape, x.dtype, x.bound)
        shape = (*extra, *x.shape)
        return self.add(f"lax.broadcast({x.name}, {text(extra)})", [x], shape, x.dtype, x.bound)

    def op_reshape(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        rank, shape = len(x.shape), None
        how = self.below(5)
        if how == 0 and rank > 1:
            k = self.below(rank - 1)
            shape = (*x.shape[:k], x.shape[k] * x.shape[k + 1], *x.shape[k + 2 :])
        elif how == 1:
            shape = (size(x.shape),)
        elif how == 2:
            for k, d in enumerate(x.shape):
                if (n := d.value) and n % 4 == 0:
                    shape = (*x.shape[:k], *self.one([(2, n // 2), (n // 4, 4), (4, n // 4)]), *x.shape[k + 1 :])
        elif how == 3:
            for k, d in enumerate(x.shape):
                for parts in ((A, B), (B, A)):
                    if d == A * B:
                        shape = (*x.shape[:k], *parts, *x.shape[k + 1 :])
        elif rank > 1:  # the same elements in another grid
            shape = tuple(x.shape[k] for k in self.rng.permutation(rank))
        if shape is None:
            return None
        return self.add(f"jnp.reshape({x.name}, {text(shape)})", [x], shape, x.dtype, x.bound)

    def op_transpose(self):
        x = self.pick(lambda t: len(t.shape) > 1)
        if x is None:
            return None
        order = [int(k) for k in self.rng.permutation(len(x.shape))]
        return self.add(f"jnp.transpose({x.name}, {order})", [x], [x.shape[k] for k in order], x.dtype, x.bound)

    def op_slice(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        axis = self.below(len(x.shape))
        if self.chance(0.3):
            return self.add(f"jnp.flip({x.name}, {axis})", [x], x.shape, x.dtype, x.bound)
        d = x.shape[axis]
        low = d.eval(ZERO_SIZES)  # every dim grows with the symbols
        shape = (*x.shape[:axis], floordiv(d + 1, 2), *x.shape[axis + 1 :])
        if low < 2 or self.chance(0.2):
            return self.add(f"lax.slice_in_dim({x.name}, 0, None, 2, {axis})", [x], shape, x.dtype, x.bound)
        t, new = self.one([("1:", d - 1), (":-1", d - 1), ("1:-1", d - 2), (f":{low}", const(low)), ("1::2", floordiv(d, 2))])
        return self.add(f"{x.name}[{':, ' * axis}{t}]", [x], (*x.shape[:axis], new, *x.shape[axis + 1 :]), x.dtype, x.bound)

    def op_pad(self):
        x = self.pick(lambda t: len(t.shape) > 0 and t.dtype != "bool")
        if x is None:
            return None
        config, shape = [], []
        for d in x.shape:
            low, high, hole = self.one([(0, 0, 0), (1, 0, 0), (0, 2, 0), (1, 2, 0), (-1, 2, 0), (2, -1, 0), (1, 1, 1), (0, 1, 2)])
            if hole and d.eval(ZERO_SIZES) == 0:
                hole = 0
            config.append((low, high, hole))
            shape.append(d + low + high + (d - 1) * hole)
        return self.add(f"lax.pad({x.name}, jnp.array(1, {x.name}.dtype), {config})", [x], shape, x.dtype, max(x.bound, 1))

    def op_concatenate(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        axis = self.below(len(x.shape))

        def fits(t):
            return (t.dtype == x.dtype and len(t.shape) == len(x.shape)
                    and all(p == q or k == axis for k, (p, q) in enumerate(zip(t.shape, x.shape, strict=True))))  # fmt: skip

        others = [self.pick(fits) for _ in range(1 + self.below(2))]
        parts = [x, *others]
        total = sum((p.shape[axis] for p in others), x.shape[axis])
        names, bound = ", ".join(p.name for p in parts), max(p.bound for p in parts)
        if self.chance(0.3) and all(p.shape == x.shape for p in parts):
            shape = (*x.shape[:axis], len(parts), *x.shape[axis:])
            return self.add(f"jnp.stack([{names}], axis={axis})", parts, shape, x.dtype, bound)
        shape = (*x.shape[:axis], total, *x.shape[axis + 1 :])
        return self.add(f"jnp.concatenate([{names}], axis={axis})", parts, shape, x.dtype, bound)

    def op_tile(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        reps = [self.one([1, 1, 2, 3]) for _ in x.shape]
        return self.add(f"jnp.tile({x.name}, {reps})", [x], [d * r for d, r in zip(x.shape, reps, strict=True)], x.dtype, x.bound)

    def op_take(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        at = self.pick(lambda t: t.dtype == "int32" and len(t.shape) < 3)
        if at is None:
            return None
        axis, mode = self.below(len(x.shape)), self.one(["clip", "fill"])
        if mode == "fill" or x.shape[axis].eval(ZERO_SIZES) == 0:
            mode = "clip"  # fill gives NaN, and its place does not stay in the line
        shape = (*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])
        return self.add(f'jnp.take({x.name}, {at.name}, axis={axis}, mode="{mode}")', [x, at], shape, x.dtype, x.bound)

    # -- folds

    def op_reduce(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        axes = sorted({self.below(len(x.shape)) for _ in range(1 + self.below(2))})
        keep = self.chance(0.4)
        count = size([x.shape[k] for k in axes]).eval(LARGE_SIZES)
        shape = [const(1) if k in axes else d for k, d in enumerate(x.shape) if keep or k not in axes]
        args = f"{x.name}, axis={tuple(axes)}, keepdims={keep}"
        if x.dtype == "bool":
            return self.add(f"jnp.{self.one(['any', 'all'])}({args})", [x], shape, "bool", 1)
        if x.dtype == "bfloat16":  # XLA rounds after every addition, or does not
            return None
        t, bound = self.one([("jnp.sum({})", x.bound * count), ("jnp.max({}, initial=-2)", max(2, x.bound)),
                             ("jnp.min({}, initial=3)", max(3, x.bound)), ("jnp.mean({})", x.bound)])  # fmt: skip
        if "mean" in t:
            if x.dtype != "float32" or any(x.shape[k].eval(ZERO_SIZES) == 0 for k in axes):
                return None
            return self.add(t.format(args), [x], shape, x.dtype, bound, exact=False)
        return self.add(t.format(args), [x], shape, x.dtype, bound if "sum" not in t or x.exact else bound / np.sqrt(count))

    def op_arg(self):
        x = self.pick(lambda t: t.exact and len(t.shape) > 0 and t.dtype in ("float32", "int32"))
        if x is None:
            return None
        axis = self.below(len(x.shape))
        shape = [d for k, d in enumerate(x.shape) if k != axis]
        return self.add(f"jnp.{self.one(['argmax', 'argmin'])}({x.name}, axis={axis})", [x], shape, "int32", 20000)

    def op_normalise(self):
        x = self.single(lambda t: len(t.shape) > 0 and t.bound < 1e4)
        if x is None:
            return None
        axis = self.one([-1, -1, self.below(len(x.shape))])
        if self.chance(0.5):
            return self.add(f"jax.nn.softmax({x.name}, axis={axis})", [x], x.shape, "float32", 1, exact=False)
        shape = [const(1) if k == axis % len(x.shape) else d for k, d in enumerate(x.shape)]
        t = f"jnp.sum({x.name}, {axis}, keepdims=True) / ({x.shape[axis]} + 1)"
        mean = self.add(t, [x], shape, "float32", x.bound, exact=False)
        if mean is None:
            return None
        t = f"({x.name} - {mean.name}) * lax.rsqrt(jnp.sum(jnp.square({x.name}), {axis}, keepdims=True) + 1)"
        return self.add(t, [x, mean], x.shape, "float32", 2, exact=False)

    def op_dot(self):
        x = self.single(lambda t: 0 < len(t.shape) < 5)
        if x is None:
            return None
        y = self.single(lambda t: 0 < len(t.shape) < 5 and any(d in x.shape for d in t.shape))
        if y is None:
            return None
        batch, contract, free = [], [], set(range(len(y.shape)))
        for i, d in enumerate(x.shape):
            same = [j for j in sorted(free) if y.shape[j] == d]
            if same and self.chance(0.6):
                free.discard(j := self.one(same))
                (contract if self.chance(0.6) else batch).append((i, j))
        self.rng.shuffle(batch)
        shape = [x.shape[i] for i, _ in batch]
        shape += [d for i, d in enumerate(x.shape) if all(i != k for k, _ in batch + contract)]
        shape += [d for j, d in enumerate(y.shape) if all(j != k for _, k in batch + contract)]
        count = size([x.shape[i] for i, _ in contract]).eval(LARGE_SIZES)
        work = size(shape).eval(LARGE_SIZES) * count
        if work > 3e8:
            return None
        numbers = tuple(tuple([int(p[k]) for p in pairs] for k in (0, 1)) for pairs in (contract, batch))
        bound = x.bound * y.bound * (count if x.exact and y.exact else np.sqrt(count))
        return self.add(f"lax.dot_general({x.name}, {y.name}, {numbers})", [x, y], shape, "float32", bound)

    def op_dense(self):
        x = self.single(lambda t: t.shape and t.shape[-1].value not in (None, 0, 1))
        if x is None or len(self.inputs) > 6:
            return None
        k, n = x.shape[-1].value, self.one([1, 3, 16, 40])
        w = self.input((k, n), exact=self.chance(0.5))
        bound = x.bound * w.bound * (k if x.exact and w.exact else np.sqrt(k))
        return self.add(f"{x.name} @ {w.name}", [x, w], (*x.shape[:-1], n), "float32", bound)

    # -- windows

    def windowed(self):
        """A term of rank 3 or 4 with some channels, and how a window slides over it: (text of the arguments, spatial sizes)."""
        x = self.single(lambda t: 3 <= len(t.shape) <= 4)
        if x is None:
            return None
        spatial = len(x.shape) - 2
        window = [self.one([1, 2, 3]) for _ in range(spatial)]
        strides = [self.one([1, 1, 2]) for _ in range(spatial)]
        holes = [self.one([1, 1, 1, 2]) for _ in range(spatial)]
        reach = [(w - 1) * h for w, h in zip(window, holes, strict=True)]
        pads = [(low := self.below(r + 1), r - low + self.below(2)) for r in reach]
        out = [floordiv(d + low + high - r - 1, s) + 1
               for d, (low, high), r, s in zip(x.shape[1:-1], pads, reach, strides, strict=True)]  # fmt: skip
        return x, window, strides, holes, pads, out

    def op_conv(self):
        drawn = self.windowed()
        if drawn is None or len(self.inputs) > 6:
            return None
        x, window, strides, holes, pads, out = drawn
        channels = x.shape[-1].value
        if channels is None or not 0 < channels <= 16 or (count := channels * int(np.prod(window))) > 200:
            return None
        groups = self.one([g for g in (1, 1, 2, 4, channels) if channels % g == 0])
        features = groups * self.one([1, 2, 8])
        w = self.input((*window, channels // groups, features), exact=self.chance(0.5))
        letters = "HW"[: len(window)]
        t = (f"lax.conv_general_dilated({x.name}, {w.name}, {strides}, {pads}, rhs_dilation={holes}, "
             f'feature_group_count={groups}, dimension_numbers=("N{letters}C", "{letters}IO", "N{letters}C"))')  # fmt: skip
        bound = x.bound * w.bound * (count if x.exact and w.exact else np.sqrt(count))
        return self.add(t, [x, w], (x.shape[0], *out, features), "float32", bound)

    def op_pool(self):
        drawn = self.windowed()
        if drawn is None:
            return None
        x, window, strides, holes, pads, out = drawn
        start, fold, bound = self.one([("-jnp.inf", "lax.max", x.bound), ("0.0", "lax.add", x.bound * np.prod(window))])
        if start != "0.0" and any(high for _, high in pads):
            return None  # a window of nothing but padding would give infinities
        t = (f"lax.reduce_window({x.name}, {start}, {fold}, {(1, *window, 1)}, {(1, *strides, 1)}, {[(0, 0), *pads, (0, 0)]}, "
             f"window_dilation={(1, *holes, 1)})")  # fmt: skip
        return self.add(t, [x], (x.shape[0], *out, x.shape[-1]), "float32", bound)

    def program(self) -> Random:
        wanted = 3 + self.below(23)
        names, weights = list(OPS), np.array(list(OPS.values()))
        for _ in range(4 * wanted):
            if len(self.lines) >= wanted:
                break
            getattr(self, f"op_{names[int(self.rng.choice(len(names), p=weights / weights.sum()))]}")()
        used = {name for line in self.lines for name in line.uses}
        outputs = [line.term.name for line in self.lines if line.term.name not in used][-3:]
        if self.chance(0.3) and self.lines:
            outputs.append(self.one(self.lines).term.name)
        return cut(Random(tuple(self.inputs), tuple(self.lines), tuple(outputs or ["x0"])))


def cut(program: Random) -> Random:
    """Without the lines that no output needs."""
    needed, lines = set(program.outputs), []
    for line in reversed(program.lines):
        if line.term.name in needed:
            lines.append(line)
            needed |= line.uses
    inputs = [x for x in program.inputs if x.name in needed or x.name == "x0"]
    return Random(tuple(inputs), tuple(reversed(lines)), program.outputs)


def sizes_of(seed: int) -> list[dict[str, int]]:
    rng = np.random.default_rng(seed)
    chosen = [SIZES[int(k)] for k in rng.choice(len(SIZES), 4, replace=False)]
    chosen.sort(key=lambda pair: pair == (1, 1))  # never first: JAX asks whether a is b, and the first call's sizes may answer
    return [{"a": a, "b": b} for a, b in chosen]


def wrong(program: Random, sizes) -> str:
    """What differs from `jax.jit`, or ""."""
    fun = program.function()
    compiled = sod2.jit(fun, shapes=program.specs())
    narrow = "bfloat16" in program.source() + str(program.inputs)
    for env in sizes:
        arguments = program.arguments(env)
        try:
            wanted = jax.jit(fun)(*arguments)
        except (IndexError, TypeError, ValueError):
            continue  # not at this size, says JAX
        for k, (got, want) in enumerate(zip(compiled(*arguments), wanted, strict=True)):
            if (got.shape, got.dtype, got.weak_type) != (want.shape, want.dtype, want.weak_type):
                return f"{env}, output {k}: {got.aval} is not {want.aval}"
            if message := differs(got, want, narrow):
                return f"{env}, output {k}: {message}"
    versions = compiled.cache_info().versions
    if len(versions) > 1 and not all(v.guards for v in versions):  # guards come of what jax.numpy asks of sizes
        return str(compiled.cache_info())
    return ""


def differs(got, want, narrow: bool) -> str:
    """`narrow`: bfloat16 is involved, and XLA may skip roundings to it."""
    if not got.size:
        return ""
    if np.dtype(got.dtype).kind in "biu":
        return "" if (bad := np.sum(np.asarray(got) != np.asarray(want))) == 0 else f"{bad} of {got.size} differ"
    got, want = (np.asarray(x).astype(np.float64) for x in (got, want))
    tolerance = (2e-2 if narrow else 1e-4) * (1 + np.max(np.abs(want), initial=0, where=np.isfinite(want)))
    with np.errstate(invalid="ignore"):
        bad = ~((np.abs(got - want) <= tolerance) | (got == want) | (np.isnan(got) & np.isnan(want)))
    return f"{bad.sum()} of {got.size} differ, by up to {np.max(np.abs(got - want)):.3g} of {tolerance:.3g}" if bad.any() else ""


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--programs")))


def test_random_program(seed):
    program = Generator(seed).program()
    if message := wrong(program, sizes_of(seed)):
        pytest.fail(f"{message}\nshapes={program.specs()}\n{program.source()}")
