"""Lines that fold along an axis: reductions, normalisation, running folds, orders."""

from __future__ import annotations

import numpy as np
from programs.terms import EXACT, LARGE_SIZES, SINGLE, ZERO_SIZES, Builder, size

from sod2jax.ir.expr import const


class Folds(Builder):
    def op_reduce(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        if x is None:
            return None
        axes = sorted({self.below(len(x.shape)) for _ in range(1 + self.below(2))})
        keep = self.chance(0.4)
        count = size([x.shape[k] for k in axes]).eval(LARGE_SIZES)
        shape = [const(1) if k in axes else d for k, d in enumerate(x.shape) if keep or k not in axes]
        args = f"{x.name}, axis={tuple(axes)}, keepdims={keep}"
        if x.dtype == "bool":
            return self.add(f"jnp.{self.one(['any', 'all'])}({args})", [x], shape, "bool", 1)
        if x.dtype == "uint32":
            t = self.one(["jnp.sum({}, dtype=jnp.uint32)", "jnp.bitwise_xor.reduce({})", "jnp.max({}, initial=0)"])
            return self.add(t.format(args), [x], shape, "uint32", 0)
        if x.dtype == "complex64":
            return self.add(f"jnp.sum({args})", [x], shape, x.dtype, x.bound * count)
        if x.dtype not in (*SINGLE, "int32"):  # XLA rounds after every addition, or does not; jnp.sum widens integers
            return None
        options = [
            (f"jnp.sum({{}}, dtype=jnp.{x.dtype})", x.bound * count),
            ("jnp.max({}, initial=-2)", max(2, x.bound)),
            ("jnp.min({}, initial=3)", max(3, x.bound)),
            ("jnp.mean({})", x.bound),
        ]
        t, bound = self.one(options)
        if "mean" in t:
            if x.dtype == "int32" or any(x.shape[k].eval(ZERO_SIZES) == 0 for k in axes):
                return None
            return self.add(t.format(args), [x], shape, x.dtype, bound, exact=False)
        return self.add(t.format(args), [x], shape, x.dtype, bound if "sum" not in t or x.exact else bound / np.sqrt(count))

    def op_arg(self):
        x = self.pick(lambda t: t.exact and len(t.shape) > 0 and t.dtype in (*SINGLE, "int32"))
        if x is None:
            return None
        axis = self.below(len(x.shape))
        if x.shape[axis].eval(ZERO_SIZES) == 0:  # JAX refuses the largest of nothing
            return None
        shape = [d for k, d in enumerate(x.shape) if k != axis]
        return self.add(
            f"jnp.{self.one(['argmax', 'argmin'])}({x.name}, axis={axis}).astype(jnp.int32)", [x], shape, "int32", 20000
        )

    def op_normalise(self):
        x = self.single(lambda t: len(t.shape) > 0 and t.bound < 1e4)
        if x is None:
            return None
        axis = self.one([-1, -1, self.below(len(x.shape))])
        if self.chance(0.5):
            return self.add(f"jax.nn.softmax({x.name}, axis={axis})", [x], x.shape, x.dtype, 1, exact=False)
        shape = [const(1) if k == axis % len(x.shape) else d for k, d in enumerate(x.shape)]
        t = f"jnp.sum({x.name}, {axis}, keepdims=True) / ({x.shape[axis]} + 1)"
        mean = self.add(t, [x], shape, x.dtype, x.bound, exact=False)
        if mean is None:
            return None
        t = f"({x.name} - {mean.name}) * lax.rsqrt(jnp.sum(jnp.square({x.name}), {axis}, keepdims=True) + 1)"
        return self.add(t, [x, mean], x.shape, x.dtype, 2, exact=False)

    # -- running folds and orders

    def op_running(self):
        x = self.pick(lambda t: len(t.shape) > 0 and t.dtype in (*SINGLE, "int32", "uint32"))
        if x is None:
            return None
        axis, reverse = self.below(len(x.shape)), self.chance(0.3)
        count = x.shape[axis].eval(LARGE_SIZES)
        options = [("cumsum", x.bound * count)]
        if not self.smooth:  # the gradients of equal elements depend on the order
            options += [("cummax", x.bound), ("cummin", x.bound)]
        if x.dtype in SINGLE:
            options += [("cumlogsumexp", x.bound + 5)] if x.bound < 30 else []
            options += [("cumprod", 1)] if x.bound <= 1 else []
        kind, bound = self.one(options)
        exact = kind not in ("cumlogsumexp", "cumprod")
        return self.add(f"lax.{kind}({x.name}, axis={axis}, reverse={reverse})", [x], x.shape, x.dtype, bound, exact)

    def op_sort(self):
        x = self.pick(lambda t: len(t.shape) > 0 and t.dtype != "complex64")
        if x is None:
            return None
        axis = self.below(len(x.shape))
        options = ["jnp.sort({x}, axis={axis})", "jnp.sort({x}, axis={axis}, descending=True)", "-jnp.sort(-{x}, axis={axis})"]
        if x.exact:
            options += [
                "jnp.argsort({x}, axis={axis}).astype(jnp.int32)",
                "lax.sort(({x}, {x}), dimension={axis}, num_keys=1)[1]",
            ]
        t = self.one(options if x.dtype not in ("bool", "uint32", "uint8") else [o for o in options if "-jnp" not in o])
        dtype, bound = ("int32", 20000) if "argsort" in t else (x.dtype, x.bound)
        return self.add(t.format(x=x.name, axis=axis), [x], x.shape, dtype, bound)

    def op_sort_by_key(self):
        """Several operands in the order of some."""
        key = self.whole(lambda t: len(t.shape) > 0)
        if key is None:
            return None
        others = [self.pick(lambda t: t.shape == key.shape) for _ in range(1 + self.below(2))]
        axis, operands = self.below(len(key.shape)), [key, *others]
        keys = 2 if self.chance(0.3) and others[0].exact and others[0].dtype != "complex64" else 1
        last = operands[-1]
        if len(operands) == keys:
            keys = 1
        t = f"lax.sort(({', '.join(x.name for x in operands)}), dimension={axis}, num_keys={keys}, is_stable=True)[-1]"
        return self.add(t, operands, key.shape, last.dtype, last.bound, exact=last.exact)

    def op_top(self):
        x = self.whole(lambda t: len(t.shape) > 0 and t.shape[-1].eval(ZERO_SIZES) > 0)
        if x is None:
            return None
        k = 1 + self.below(min(4, x.shape[-1].eval(ZERO_SIZES)))
        shape = (*x.shape[:-1], k)
        if self.chance(0.4):
            return self.add(f"lax.top_k({x.name}, {k})[1]", [x], shape, "int32", 20000)
        return self.add(f"lax.top_k({x.name}, {k})[0]", [x], shape, x.dtype, x.bound)

    def op_count(self):
        """Integers into bins, of a number that is known."""
        x = self.pick(lambda t: t.dtype == "int32" and len(t.shape) > 0)
        if x is None:
            return None
        n = self.one([4, 7])
        t = self.one(
            [
                "jnp.bincount({x}.reshape(-1) % {n}, length={n}).astype(jnp.int32)",
                "jnp.searchsorted(jnp.arange({n}), {x}.reshape(-1)).astype(jnp.int32)",
                "jax.nn.one_hot({x}.reshape(-1) % {n}, {n}, dtype=jnp.int32).sum(0, dtype=jnp.int32)",
            ]
        )
        if "searchsorted" in t:
            return self.add(t.format(x=x.name, n=n), [x], (size(x.shape),), "int32", n)
        return self.add(t.format(x=x.name, n=n), [x], (n,), "int32", min(size(x.shape).eval(LARGE_SIZES), EXACT["int32"]))
