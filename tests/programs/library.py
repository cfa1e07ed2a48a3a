"""Lines that call functions of jax.numpy and jax.lax which ask for sizes themselves."""

from __future__ import annotations

from programs.terms import LARGE_SIZES, SINGLE, ZERO_SIZES, Builder

from sod2jax.ir.expr import const


class Library(Builder):
    def op_vector(self):
        """Of a vector."""
        x = self.pick(lambda t: len(t.shape) == 1 and t.dtype in (*SINGLE, "int32") and t.bound < 1e4)
        if x is None:
            return None
        (n,), name, dtype, bound = x.shape, x.name, x.dtype, x.bound
        most = n.eval(LARGE_SIZES)
        options = [
            (f"lax.associative_scan(jnp.add, {name})", (n,), dtype, bound * most, True),
            (f"lax.associative_scan(jnp.maximum, {name}, reverse=True)", (n,), dtype, bound, True),
            (f"jnp.cumsum({name}, dtype=jnp.{dtype})", (n,), dtype, bound * most, True),
            (f"jnp.outer({name}, {name})", (n, n), dtype, bound**2, True),
            (f"jnp.diag({name})", (n, n), dtype, bound, True),
            (f"jnp.tile({name}, 2)[1::2]", (n,), dtype, bound, True),
            (f"jnp.append({name}, {name})", (n * 2,), dtype, bound, True),
            (f"jnp.hstack([{name}, {name}[::-1]])", (n * 2,), dtype, bound, True),
        ]
        if n.eval(ZERO_SIZES):
            options += [
                (f"jnp.diff({name})", (n - 1,), dtype, 2 * bound, True),
                (f'jnp.convolve({name}, jnp.ones(3, {name}.dtype), mode="full")', (n + 2,), dtype, 3 * bound, True),
                (f"jnp.searchsorted(jnp.sort({name}), {name}).astype(jnp.int32)", (n,), "int32", most, x.exact),
                (f"jnp.ptp({name})", (), dtype, 2 * bound, True),
            ]
            if dtype in SINGLE:
                options += [
                    (f"jnp.median({name})", (), dtype, bound, False),
                    (f"jnp.var({name})", (), dtype, bound**2, False),
                    (f"jnp.interp({name}, jnp.arange({name}.shape[0], dtype={name}.dtype), {name})", (n,), dtype, bound, False),
                    (f"jax.nn.logsumexp({name} / {bound + 1:.0f})", (), dtype, 10, False),
                ]
        t, shape, to, most, exact = self.one(options)
        if to == "int32" and not exact:
            return None
        return self.add(t, [x], shape, to, most, exact)

    def op_matrix(self):
        """Of a matrix."""
        x = self.pick(lambda t: len(t.shape) == 2 and t.dtype in (*SINGLE, "int32", "int8") and t.bound < 1e4)
        if x is None:
            return None
        (n, m), name, dtype, bound = x.shape, x.name, x.dtype, x.bound
        count = m.eval(LARGE_SIZES)
        options = [
            (f"jnp.triu({name}, 1)", (n, m), bound),
            (f"jnp.tril({name})", (n, m), bound),
            (f"jnp.rot90({name})", (m, n), bound),
            (f"jnp.moveaxis({name}, 0, 1)", (m, n), bound),
            (f"jnp.roll({name}, (1, -1), (0, 1))", (n, m), bound),
            (f"jnp.concatenate([{name}, jnp.zeros_like({name})], 1)[:, 1:]", (n, m * 2 - 1), bound),
            (f"jnp.stack([{name}, {name}], -1).reshape({name}.shape[0], -1)", (n, m * 2), bound),
            (f"jnp.vstack([{name}, {name}[:1]])[1:]", (n, m), bound),
            (f"{name}[:, None, :] - {name}[None]", (n, n, m), 2 * bound),
            (f"jnp.select([{name} > 1, {name} < 0], [{name}, {name} + 1], 0)", (n, m), bound + 1),
        ]
        if not m.eval(ZERO_SIZES):
            options = [o for o in options if "1:]" not in o[0]]
        if not n.eval(ZERO_SIZES):
            options = [o for o in options if "vstack" not in o[0]]
        if not x.exact:
            options = [o for o in options if "select" not in o[0]]
        if dtype in SINGLE:
            options += [
                (f'jnp.einsum("ij,kj->ik", {name}, {name})', (n, n), bound**2 * count),
                (f'jnp.einsum("ij,ij->j", {name}, {name})', (m,), bound**2 * 130),
                (f"jnp.trace({name})", (), bound * 130),
            ]
        t, shape, bound = self.one(options)
        return self.add(t, [x], shape, dtype, bound)

    def op_picked(self):
        """A row of a table for each number."""
        at = self.pick(lambda t: t.dtype == "int32" and len(t.shape) == 1)
        if at is None:
            return None
        k = self.one([2, 5])
        t, to = self.one([(f"jax.nn.one_hot({at.name} % {k}, {k}, dtype=jnp.float32)", "float32"),
                          (f"jnp.eye({k}, dtype=jnp.int32)[{at.name} % {k}]", "int32")])  # fmt: skip
        return self.add(t, [at], (at.shape[0], const(k)), to, 1)
