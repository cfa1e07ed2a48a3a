"""Lines that read and write at positions that values decide: indexing with arrays, scatters, dynamic slices."""

from __future__ import annotations

from programs.terms import LARGE_SIZES, SINGLE, ZERO_SIZES, Builder, size

from sod2jax.ir.expr import const

MODES = ('mode="drop"', 'mode="clip"', "")


class Updates(Builder):
    def indices(self, rank: int = 2):
        return self.pick(lambda t: t.dtype == "int32" and len(t.shape) <= rank)

    def op_gather(self):
        """x[i, j]: arrays for the first axes."""
        x = self.pick(lambda t: len(t.shape) > 1 and all(d.eval(ZERO_SIZES) for d in t.shape[:2]))
        at = self.indices()
        if x is None or at is None:
            return None
        mode = self.one(['mode="clip"', 'mode="fill", fill_value=1'])  # what is beyond without a mode, is open
        place, shape = self.one(
            [
                (at.name, (*at.shape, *x.shape[1:])),
                (f":, {at.name}", (x.shape[0], *at.shape, *x.shape[2:])),
                (f"{at.name}, {at.name} % 3", (*at.shape, *x.shape[2:])),
            ]
        )
        return self.add(f"{x.name}.at[{place}].get({mode})", [x, at], shape, x.dtype, max(x.bound, 1))

    def op_take_along(self):
        x = self.pick(lambda t: len(t.shape) > 0 and t.shape[-1].eval(ZERO_SIZES))
        if x is None:
            return None
        at = self.pick(lambda t: t.dtype == "int32" and len(t.shape) == len(x.shape) and t.shape[:-1] == x.shape[:-1])
        if at is None:
            return None
        t = f'jnp.take_along_axis({x.name}, {at.name}, axis=-1, mode="clip")'
        return self.add(t, [x, at], at.shape, x.dtype, x.bound)

    def op_scatter(self):
        """x.at[i].add(y) and the like. Setting is of one value: of several at one place, which one stays is open."""
        x = self.pick(lambda t: len(t.shape) > 0 and t.dtype not in ("bool",))
        at = self.indices(1)
        if x is None or at is None or not (at.shape or x.shape[0].eval(ZERO_SIZES)):
            return None
        how, mode = self.one(["add", "max", "min", "set", "multiply"]), self.one(MODES)
        if how in ("max", "min") and x.dtype == "complex64":
            return None
        count = size(at.shape).eval(LARGE_SIZES)
        shape = (*at.shape, *x.shape[1:])
        y = None if how in ("set", "multiply") else self.pick(lambda t: t.shape == shape and t.dtype == x.dtype)
        value, bound, exact = {
            "add": (2, x.bound + 2 * count, True),
            "max": (2, x.bound + 2, True),
            "min": (1, x.bound + 1, True),
            "set": (1, x.bound + 1, True),
            "multiply": (1, x.bound, True),
        }[how]
        if y is not None:
            value, bound = y.name, x.bound + y.bound * (count if how == "add" else 1)
        if x.dtype in ("bfloat16", "float16") and how == "add":  # how XLA rounds in between is open
            return None
        uses = [x, at] + ([y] if y is not None else [])
        return self.add(f"{x.name}.at[{at.name}].{how}({value}{mode and ', ' + mode})", uses, x.shape, x.dtype, bound, exact)

    def op_write(self):
        """x.at[slice].set(y) with slices that are known."""
        x = self.pick(lambda t: len(t.shape) > 0 and t.shape[0].eval(ZERO_SIZES) > 1)
        if x is None:
            return None
        place, first = self.one(
            [("0", ()), ("-1", ()), ("1:", (x.shape[0] - 1,)), (":-1", (x.shape[0] - 1,)), ("1:2", (const(1),))]
        )
        y = self.pick(lambda t: t.dtype == x.dtype and t.shape in ((*first, *x.shape[1:]), ()))
        how = self.one(["set", "add"]) if x.dtype != "bool" else "set"
        if y is None or (how == "add" and x.dtype in ("bfloat16", "float16")):
            return None
        return self.add(f"{x.name}.at[{place}].{how}({y.name})", [x, y], x.shape, x.dtype, x.bound + y.bound)

    def op_rewrite(self):
        """x where some of it is read, changed, and written back, twice: what was read is used after the first write, too."""
        x = self.pick(lambda t: len(t.shape) > 0 and t.dtype in (*SINGLE, "int32"))
        at = self.pick(lambda t: t.dtype == "int32" and len(t.shape) == 1)
        if x is None or at is None:
            return None
        u, read = at.name, f'{x.name}.at[{at.name}].get(mode="fill", fill_value=0)'
        seen = self.add(read, [x, at], (*at.shape, *x.shape[1:]), x.dtype, x.bound)
        if seen is None:
            return None
        count = at.shape[0].eval(LARGE_SIZES)  # elements of `at` may be the same
        first, bound = self.one(
            [
                (f"set({seen.name} + 1", x.bound + 1),
                (f"add({seen.name}", x.bound * (1 + count)),
                (f"max({seen.name} * 2", 2 * x.bound),
                (f"min(-{seen.name}", x.bound),
                (f"set({seen.name} * {seen.name}", max(x.bound**2, x.bound)),
            ]
        )
        y = self.add(f'{x.name}.at[{u}].{first}, mode="drop")', [x, at, seen], x.shape, x.dtype, bound)
        if y is None:
            return None
        second, bound = self.one(
            [
                (f"add({seen.name}", y.bound + x.bound * count),
                (f"set({seen.name} - 1", y.bound + 1),
                (f"max({seen.name}", max(x.bound, y.bound)),
            ]
        )
        return self.add(f'{y.name}.at[{u}].{second}, mode="drop")', [y, at, seen], x.shape, x.dtype, bound)

    def op_exchange(self):
        """Two rows change places, or one goes to another."""
        x = self.pick(lambda t: len(t.shape) > 0 and t.shape[0].eval(ZERO_SIZES) > 0)
        if x is None or (i := self.position()) is None or (j := self.position()) is None:
            return None
        n = f"{x.name}.shape[0]"
        p, q = f"{i.name} % {n}", self.one([f"{j.name} % {n}", f"{n} // 2", "0", f"{n} - 1 - {i.name} % {n}"])
        t = f"{x.name}.at[{p}].set({x.name}[{q}])"
        if self.chance(0.6):
            t += f".at[{q}].set({x.name}[{p}])"
        return self.add(t, [x, i, j], x.shape, x.dtype, x.bound)

    def op_shift_within(self):
        """A window of x is read at one place and written at another, which may lie over it."""
        x, i, j = self.pick(lambda t: len(t.shape) > 0), self.position(), self.position()
        if x is None or i is None or j is None:
            return None
        low = x.shape[0].eval(ZERO_SIZES)
        if not low:
            return None
        length = 1 + self.below(min(low, 5))
        window = f"lax.dynamic_slice_in_dim({x.name}, {i.name}, {length})"
        t = f"lax.dynamic_update_slice_in_dim({x.name}, {window}, {j.name}, 0)"
        return self.add(t, [x, i, j], x.shape, x.dtype, x.bound)

    def op_dynamic_slice(self):
        x, at = self.pick(lambda t: len(t.shape) > 0), self.position()
        if x is None or at is None:
            return None
        axis = self.below(len(x.shape))
        low = x.shape[axis].eval(ZERO_SIZES)
        length = 1 + self.below(min(low, 5)) if low else 0
        if not length:
            return None
        shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
        if self.chance(0.2) and length == 1:
            t, shape = (
                f"lax.dynamic_index_in_dim({x.name}, {at.name}, {axis}, keepdims=False)",
                x.shape[:axis] + x.shape[axis + 1 :],
            )
        else:
            t = f"lax.dynamic_slice_in_dim({x.name}, {at.name}, {length}, {axis})"
        return self.add(t, [x, at], shape, x.dtype, x.bound)

    def op_dynamic_update(self):
        x, at = self.pick(lambda t: len(t.shape) > 0), self.position()
        if x is None or at is None:
            return None
        axis = self.below(len(x.shape))
        length = x.shape[axis].eval(ZERO_SIZES)

        def fits(t):
            if t.dtype != x.dtype or len(t.shape) != len(x.shape):
                return False
            others = all(p == q for k, (p, q) in enumerate(zip(t.shape, x.shape, strict=True)) if k != axis)
            return others and (t.shape[axis] == x.shape[axis] or (t.shape[axis].value or length + 1) <= length)

        y = self.pick(fits)
        if y is None:
            return None
        t = f"lax.dynamic_update_slice_in_dim({x.name}, {y.name}, {at.name}, {axis})"
        return self.add(t, [x, y, at], x.shape, x.dtype, max(x.bound, y.bound))

    def op_segments(self):
        at = self.pick(lambda t: t.dtype == "int32" and len(t.shape) == 1)
        if at is None:
            return None
        x = self.pick(lambda t: t.dtype in (*SINGLE, "int32") and len(t.shape) > 0 and t.shape[0] == at.shape[0])
        if x is None:
            return None
        n, count = self.one([3, 8]), at.shape[0].eval(LARGE_SIZES)
        t = f"jax.ops.segment_sum({x.name}, {at.name} % {n}, num_segments={n})"
        return self.add(t, [x, at], (n, *x.shape[1:]), x.dtype, x.bound * count)
