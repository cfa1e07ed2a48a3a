"""Programs of any length, one kind of line over and over. To compile one of twice the length may take twice the time, no more.
 `KINDS[name](n)` is a program with about n times the kind's lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclass(frozen=True)
class Growing:
    """A function, its `shapes=` and arguments for one call."""

    function: Callable
    shapes: Sequence[str | None] | None
    arguments: tuple


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32))


def line(step: Callable, shapes: str = "a", shape: tuple[int, ...] = (61,)) -> Callable[[int], Growing]:
    """`x = step(x)`, n times."""

    def function(n, x):
        for _ in range(n):
            x = step(x)
        return x

    return lambda n: Growing(partial(function, n), (shapes,), (normal(*shape),))


def numbered(step: Callable, shapes: str = "a", shape: tuple[int, ...] = (61,)) -> Callable[[int], Growing]:
    """`x = step(x, k)` for k below n."""

    def function(n, x):
        for k in range(n):
            x = step(x, k)
        return x

    return lambda n: Growing(partial(function, n), (shapes,), (normal(*shape),))


def static(kind: Callable[[int], Growing]) -> Callable[[int], Growing]:
    """The same with all sizes known."""

    def known(n):
        program = kind(n)
        return Growing(program.function, None, program.arguments)

    return known


# -- moving elements


def concatenated(x):
    p = jnp.concatenate([x[-1:], x, x[:1]])
    return 0.4 * (p[2:] + p[:-2] - p[1:-1])


def padded(mode: str, x):
    p = jnp.pad(x, 1, mode=mode)
    return 0.3 * (p[2:] + p[:-2] + x)


def padded2(mode: str, x):
    p = jnp.pad(x, 1, mode=mode)
    return 0.2 * (p[2:, 1:-1] + p[:-2, 1:-1] + p[1:-1, 2:] + p[1:-1, :-2] + x)


def rolled(x):
    return 0.5 * (jnp.roll(x, 1) + jnp.roll(x, -2))


def rolled2(x):
    return 0.25 * (jnp.roll(x, 1, 0) + jnp.roll(x, -1, 0) + jnp.roll(x, 1, 1) + jnp.roll(x, -1, 1))


def inner_stencil(x):
    """The border stays: slices and an update."""
    return x.at[1:-1].set(0.3 * (x[2:] + x[:-2] + x[1:-1]))


def stacked(x):
    pair = jnp.stack([x, -x])
    return pair[0] + 0.5 * pair[1] * pair[0]


def interleaved(x):
    return jnp.stack([x[: x.shape[0] // 2], x[x.shape[0] // 2 :]], 1).reshape(-1) + 1


def gathered(x):
    at = jnp.clip(jnp.abs(x * 7).astype(jnp.int32), 0, x.shape[0] - 1)
    return x[at] + x


def gathers_of_gathers(n: int) -> Growing:
    """Indices through indices."""

    def function(x, at):
        for _ in range(n):
            at = at[at] + at
            at = at % x.shape[0]
        return x[at]

    return Growing(function, ("a", "a"), (normal(61), jnp.arange(61, dtype=jnp.int32)[::-1]))


def moved(x):
    """Transposes and reshapes with something between them."""
    return (x.T.reshape(x.shape) * 0.5 + x).reshape(x.shape[1], x.shape[0]).T.reshape(x.shape)


def reversed_halves(x):
    return jnp.flip(x) + jnp.tile(x, 2)[: x.shape[0]]


def repeated(x):
    return jnp.repeat(x, 2)[: x.shape[0]] + x


def dynamic(x):
    at = jnp.abs(x[0]).astype(jnp.int32) % 3
    part = lax.dynamic_slice(jnp.concatenate([x, x]), (at,), (x.shape[0],))
    return part + 0.5 * x


def shifted_rows(x):
    return jnp.concatenate([x[1:], x[:1]], 0) + 0.5 * jnp.concatenate([x[:, -1:], x[:, :-1]], 1)


# -- elementwise


def diamond(x):
    return x + x * 0.01


def costly_diamond(x):
    return jnp.sin(x) + jnp.cos(x) * x


def ladder(x, k):
    return jnp.where(x > 0.01 * k, x * 0.9, x + 0.1)


def selected(x, k):
    return jnp.select([x > 0.5, x > 0, x > -0.5], [x - 0.1, x * 0.5, x + 0.2], x)


def integers(n: int) -> Growing:
    def function(x):
        for k in range(n):
            x = (x * (2 * k + 3) + (x >> 3)) ^ (x % (k + 2))
        return x

    return Growing(function, ("a",), (jnp.arange(61, dtype=jnp.int32),))


def sizes(n: int) -> Growing:
    """Arithmetic of sizes as values."""

    def function(x):
        total = jnp.asarray(x.shape[0])
        for k in range(n):
            total = total // 2 + x.shape[0] * (k % 5) + jnp.arange(x.shape[0])[-1]
        return x * total

    return Growing(function, ("a",), (normal(61),))


def scalars(n: int) -> Growing:
    """Unrolled scalar arithmetic."""

    def function(x):
        a, b = x[0], x[1]
        for k in range(n):
            a, b = a * 0.5 + b, b - 0.25 * a * (k + 1) / (k + 2)
        return a + b + x

    return Growing(function, ("a",), (normal(61),))


def elements(n: int) -> Growing:
    """An unrolled loop over elements."""

    def function(x):
        total = jnp.float32(0)
        for k in range(n):
            total = total * 0.5 + x[k] * x[k + 1]
        return total

    return Growing(function, None, (normal(n + 1),))


def updates(n: int) -> Growing:
    def function(x):
        for k in range(n):
            x = x.at[k % 50].set(x[(k + 1) % 50] + 1)
        return x

    return Growing(function, None, (normal(61),))


def fibonacci(n: int) -> Growing:
    """Two values back."""

    def function(x):
        a, b = x, x * 0.5
        for _ in range(n):
            a, b = b, jnp.tanh(a) + b
        return b

    return Growing(function, ("a",), (normal(61),))


def all_before(n: int) -> Growing:
    """Every line reads many of the lines before it."""

    def function(x):
        found = [x]
        for k in range(n):
            found.append(jnp.tanh(found[k] + found[k // 2] * 0.5 + found[k // 3]))
        return found[-1]

    return Growing(function, ("a",), (normal(61),))


# -- folds


def softmax(x):
    return jax.nn.softmax(x, -1) + x


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


def both_means(x):
    return x - 0.5 * x.mean(0) - 0.5 * x.mean(1, keepdims=True)


def to_scalar(x):
    return x / (1 + jnp.abs(x).sum())


def cumulative(x):
    return jnp.cumsum(x) * 0.01 + x


def sums(x):
    return x + lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "SAME") * 0.3


def sorted_(x):
    return jnp.sort(x) * 0.9 + x


# -- products


def mlp(n: int) -> Growing:
    def function(weights, x):
        for w, b in weights:
            x = jax.nn.relu(x @ w + b)
        return x

    return Growing(function, (None, "a, 16"), ([(normal(16, 16) * 0.3, normal(16)) for _ in range(n)], normal(5, 16)))


def attention(n: int) -> Growing:
    def function(weights, x):
        for w in weights:
            x = x + jax.nn.softmax((x @ w) @ x.T, -1) @ x * 0.1
        return x

    return Growing(function, (None, "a, 16"), ([normal(16, 16) * 0.1 for _ in range(n)], normal(5, 16)))


def convolutions(n: int) -> Growing:
    def function(weights, x):
        for w in weights:
            x = jax.nn.relu(lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
        return x

    return Growing(function, (None, "1, a, b, 4"), ([normal(3, 3, 4, 4) * 0.2 for _ in range(n)], normal(1, 7, 9, 4)))


def depthwise(n: int) -> Growing:
    def function(weights, x):
        for w in weights:
            x = lax.conv_general_dilated(
                x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4
            )
        return x

    return Growing(function, (None, "1, a, b, 4"), ([normal(3, 3, 1, 4) * 0.2 for _ in range(n)], normal(1, 7, 9, 4)))


def small_products(x):
    return x + (x @ x.T)[:, :1]


# -- writes


def scattered(x):
    at = jnp.clip(jnp.abs(x * 7).astype(jnp.int32), 0, x.shape[0] - 1)
    return x.at[at].add(0.1 * x) * 0.5


# -- control flow


def nested_cond(n: int) -> Growing:
    n = min(n, 40)  # Python's stack ends with JAX's own recursion somewhere beyond

    def function(x):
        def level(k, x):
            if k == n:
                return x * 2
            return lax.cond(x[0] > 0.1 * k, partial(level, k + 1), lambda x: x - 1, x * 0.9)

        return level(0, x)

    return Growing(function, ("a",), (normal(61),))


def cond_chain(x):
    return lax.cond(x.sum() > 0, lambda x: x * 0.5, lambda x: x + 1, x)


def scan_body(n: int) -> Growing:
    """A long body."""

    def function(x, xs):
        def body(c, row):
            for k in range(n):
                c = jnp.tanh(c * 0.9 + row * (k + 1))
            return c, c

        return lax.scan(body, x, xs)

    return Growing(function, ("a", "t, a"), (normal(61), normal(3, 61)))


def scan_chain(n: int) -> Growing:
    def function(x):
        for _ in range(n):
            x, _ = lax.scan(lambda c, _: (c * 0.9 + 1, None), x, None, length=3)
        return x

    return Growing(function, ("a",), (normal(61),))


def nested_loops(n: int) -> Growing:
    """Loops within loops, as deep as the logarithm of n."""

    def function(x):
        def level(k, x):
            if k <= 0:
                return x * 0.5 + 1
            return lax.fori_loop(0, 2, lambda _, x: level(k - 1, x) + x, x)

        return level(int(np.log2(n)), x)

    return Growing(function, ("a",), (normal(61),))


# -- many


def outputs(n: int) -> Growing:
    def function(x):
        return [x * (k + 1) + k for k in range(n)]

    return Growing(function, ("a",), (normal(61),))


def chained_outputs(n: int) -> Growing:
    """Every line is an output, too."""

    def function(x):
        found = []
        for _ in range(n):
            x = jnp.tanh(x) + 0.1
            found.append(x)
        return found

    return Growing(function, ("a",), (normal(61),))


def inputs(n: int) -> Growing:
    def function(xs):
        total = xs[0]
        for x in xs[1:]:
            total = total * 0.5 + x
        return total

    return Growing(function, (["a"] * n,), ([normal(61)] * n,))


def many_sums(n: int) -> Growing:
    """A row's folds, all asked for by one value."""

    def function(x):
        return sum(jnp.sum(x * (k + 1), -1, keepdims=True) for k in range(n)) * x

    return Growing(function, ("a, b",), (normal(5, 13),))


def optimizer(n: int) -> Growing:
    """An update of n parameters by one global norm."""

    def function(params, grads):
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in grads))
        return [p - 0.1 * g / (norm + 1) for p, g in zip(params, grads, strict=True)]

    return Growing(function, (["a"] * n, ["a"] * n), ([normal(61)] * n, [normal(61)] * n))


def gradient(n: int) -> Growing:
    def function(x):
        def loss(x):
            for _ in range(n):
                x = jnp.sin(x) * x
            return x.sum()

        return jax.grad(loss)(x)

    return Growing(function, ("a",), (normal(61),))


PADS = ("constant", "edge", "reflect", "symmetric", "wrap", "linear_ramp")
KINDS: dict[str, Callable[[int], Growing]] = {
    "sin": line(jnp.sin),
    "sin, static": static(line(jnp.sin)),
    "add": line(lambda x: x + 1),
    "diamond": line(diamond),
    "costly diamond": line(costly_diamond),
    "where ladder": numbered(ladder),
    "select": numbered(selected),
    "integers": integers,
    "sizes": sizes,
    "scalars": scalars,
    "elements": elements,
    "updates": updates,
    "fibonacci": fibonacci,
    "all before": all_before,
    "concatenate": line(concatenated),
    "concatenate, static": static(line(concatenated)),
    **{f"pad {mode}": line(partial(padded, mode)) for mode in PADS},
    **{f"2-D pad {mode}": line(partial(padded2, mode), "a, b", (11, 13)) for mode in PADS[:5]},
    "2-D pad edge, static": static(line(partial(padded2, "edge"), "a, b", (11, 13))),
    "roll": line(rolled),
    "2-D roll": line(rolled2, "a, b", (11, 13)),
    "inner stencil": line(inner_stencil),
    "stack": line(stacked),
    "interleave": line(interleaved, "2*a", (62,)),
    "gather": line(gathered),
    "gathers of gathers": gathers_of_gathers,
    "transpose, reshape": line(moved, "a, b", (11, 13)),
    "reverse": line(reversed_halves),
    "repeat": line(repeated),
    "dynamic slice": line(dynamic),
    "shifted rows": line(shifted_rows, "a, b", (11, 13)),
    "softmax": line(softmax, "a, b", (5, 13)),
    "layer norm": line(layer_norm, "a, b", (5, 13)),
    "both means": line(both_means, "a, b", (5, 13)),
    "to scalar": line(to_scalar),
    "cumsum": line(cumulative),
    "window": line(sums),
    "sort": line(sorted_),
    "mlp": mlp,
    "attention": attention,
    "conv": convolutions,
    "depthwise conv": depthwise,
    "small products": line(small_products, "a, 8", (5, 8)),
    "scatter": line(scattered),
    "nested cond": nested_cond,
    "cond chain": line(cond_chain),
    "scan body": scan_body,
    "scan chain": scan_chain,
    "nested loops": nested_loops,
    "outputs": outputs,
    "chained outputs": chained_outputs,
    "inputs": inputs,
    "many sums": many_sums,
    "optimizer": optimizer,
    "gradient": gradient,
}
