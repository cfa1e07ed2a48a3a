"""Lines with complex and random numbers, transforms and linear algebra."""

from __future__ import annotations

import numpy as np
from programs.terms import Builder

from sod2jax.ir.expr import const, floordiv


class Numbers(Builder):
    def complexes(self, want=lambda t: True):
        return self.pick(lambda t: t.dtype == "complex64" and want(t))

    def op_complex(self):
        x = self.single(lambda t: t.dtype == "float32")
        if x is None:
            return None
        y = self.pick(lambda t: t.dtype == "float32" and t.shape == x.shape)
        return self.add(f"lax.complex({x.name}, {y.name})", [x, y], x.shape, "complex64", x.bound + y.bound)

    def op_complex_unary(self):
        x = self.complexes()
        if x is None:
            return None
        options = [
            ("jnp.real({})", x.bound, "float32"),
            ("jnp.imag({})", x.bound, "float32"),
            ("jnp.conj({})", x.bound, "complex64"),
        ]
        rough = [("jnp.abs({})", x.bound, "float32"), ("jnp.sqrt({})", x.bound + 1, "complex64")]
        rough += [("{0} / (2 + jnp.abs({0}))", 1, "complex64"), ("jnp.exp({} * 1j)", np.exp(min(x.bound, 20)), "complex64")]
        t, bound, dtype = self.one(options + (rough if x.bound <= 8 else rough[:1]))
        return self.add(t.format(x.name), [x], x.shape, dtype, bound, exact=(t, bound, dtype) in options)

    def op_complex_dot(self):
        x = self.complexes(lambda t: len(t.shape) == 2)
        if x is None:
            return None
        shape = (x.shape[0], x.shape[0])
        bound = x.bound**2 * 130
        return self.add(f"{x.name} @ jnp.conj({x.name}.T)", [x], shape, "complex64", bound)

    def op_random(self):
        """Of a key that is a constant, or that data decide."""
        like = self.pick()
        shape = like.shape if like is not None and self.chance(0.7) else (const(self.one([1, 5, 8])),)
        key, uses = f"jax.random.key({self.below(4)})", []
        if self.chance(0.3) and (at := self.position()) is not None:
            key, uses = f"jax.random.fold_in({key}, {at.name})", [at]
        text = "(" + "".join(f"{d}, " for d in shape) + ")"
        t, dtype, bound, exact = self.one(
            [
                (f"jax.random.uniform({key}, {text}, jnp.float32)", "float32", 1, False),
                (f"jax.random.bits({key}, {text}, jnp.uint32)", "uint32", 0, True),
                (f"jax.random.normal({key}, {text}, jnp.float32)", "float32", 5, False),
                (f"jax.random.bernoulli({key}, 0.5, {text})", "bool", 1, True),
                (f"jax.random.randint({key}, {text}, 0, 9, jnp.int32)", "int32", 9, True),
                (f"jax.random.uniform(jax.random.split({key})[1], {text}, jnp.float32)", "float32", 1, False),
            ]
        )
        return self.add(t, uses, shape, dtype, bound, exact)

    def op_fft(self):
        x = self.pick(lambda t: t.dtype in ("float32", "complex64") and len(t.shape) > 0 and t.bound < 1e4)
        if x is None:
            return None
        axis = self.below(len(x.shape))
        kind = self.one(["fft", "ifft", "rfft"] if x.dtype == "float32" else ["fft", "ifft"])
        n = x.shape[axis]
        shape = (*x.shape[:axis], floordiv(n, 2) + 1 if kind == "rfft" else n, *x.shape[axis + 1 :])
        return self.add(f"jnp.fft.{kind}({x.name}, axis={axis})", [x], shape, "complex64", 130 * x.bound, exact=False)

    def op_linalg(self):
        """Of a matrix that is far from singular."""
        x = self.single(lambda t: t.dtype == "float32" and len(t.shape) == 2 and t.bound < 100)
        if x is None:
            return None
        n, m = x.shape
        matrix = f"({x.name} @ {x.name}.T / ({m} * {x.bound**2:.0f} + 1) + 2 * jnp.eye({n}, dtype=jnp.float32))"
        how = self.one(["jnp.linalg.cholesky({})", "jnp.linalg.inv({})", "jnp.linalg.solve({}, {})", "jnp.linalg.eigvalsh({})"])
        shape = (n,) if "eig" in how else (n, n) if "solve" not in how else (n, m)
        return self.add(how.format(matrix, x.name), [x], shape, "float32", max(3, x.bound), exact=False)
