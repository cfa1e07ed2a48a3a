"""Lines that move elements: shapes, slices, pads, joins, indexing with arrays."""

from __future__ import annotations

from programs.terms import ZERO_SIZES, A, B, Builder, size, text

from sod2jax.ir.expr import const, floordiv


class Movement(Builder):
    def op_broadcast(self):
        x = self.pick(lambda t: len(t.shape) < 4)
        if x is None:
            return None
        extra = self.one([(const(1),), (const(3),), (A,), (B,), (A, B)])
        if self.chance(0.4):
            axis = self.below(len(x.shape) + 1)
            shape = (*x.shape[:axis], const(1), *x.shape[axis:])
            return self.add(f"jnp.expand_dims({x.name}, {axis})", [x], shape, x.dtype, x.bound)
        shape = (*extra, *x.shape)
        return self.add(f"lax.broadcast({x.name}, {text(extra)})", [x], shape, x.dtype, x.bound)

    def op_reshape(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        if x is None:
            return None
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
            shape = tuple(self.shuffled(x.shape))
        if shape is None:
            return None
        return self.add(f"jnp.reshape({x.name}, {text(shape)})", [x], shape, x.dtype, x.bound)

    def op_transpose(self):
        x = self.pick(lambda t: len(t.shape) > 1)
        if x is None:
            return None
        order = self.shuffled(range(len(x.shape)))
        return self.add(f"jnp.transpose({x.name}, {order})", [x], [x.shape[k] for k in order], x.dtype, x.bound)

    def op_slice(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        if x is None:
            return None
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
        if x is None:
            return None
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
        if x is None:
            return None
        reps = [self.one([1, 1, 2, 3]) for _ in x.shape]
        return self.add(f"jnp.tile({x.name}, {reps})", [x], [d * r for d, r in zip(x.shape, reps, strict=True)], x.dtype, x.bound)

    def op_take(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        if x is None:
            return None
        at = self.pick(lambda t: t.dtype == "int32" and len(t.shape) < 3)
        if at is None:
            return None
        axis = self.below(len(x.shape))
        if x.shape[axis].eval(ZERO_SIZES) == 0:
            return None
        mode = "clip"  # fill gives NaN, and its place does not stay in the line
        shape = (*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])
        return self.add(f'jnp.take({x.name}, {at.name}, axis={axis}, mode="{mode}")', [x, at], shape, x.dtype, x.bound)
