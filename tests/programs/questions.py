"""Lines of Python about sizes: comparisons that choose a branch, sizes as values, lengths and positions made of sizes."""

from __future__ import annotations

import textwrap

from programs.control import Control, settled
from programs.terms import EXACT, INTEGERS, LARGE_SIZES, REAL, SINGLE, ZERO_SIZES, A, B, C, Line, Term

from sod2jax.ir.expr import Expr, as_expr, const, floordiv

# What Python code asks of two sizes d and e, or of the shape of x. Each is true at some sizes, and false at others.
QUESTIONS = [
    *["{d} == {e}", "{d} != {e}", "{d} < {e}", "{d} <= {e}", "{d} > 7", "{d} >= 2", "{d} == 1", "{d} != 0"],
    *["{d} % 2 == 0", "{d} in (0, 1, 5)", "{d} in [{e}, 3]", "{d} in {{1, 7, 33}}"],
    *["{{1: True, 5: True}}.get({d}, False)", "not {d}", "bool({d})", "max({d}, {e}) > 7", "min({d}, {e}) == {d}"],
    *['f"{{{d}}}" == "5"', "str({d}) == str({e})", "{d} // 2 == {e} // 2", "np.equal({d}, {e})", "np.less({d}, {e})"],
    *["np.not_equal({d}, 1)", "np.maximum({d}, {e}) == {d}", "hash({d}) == hash({e})", "{x}.shape[:1] == ({e},)"],
    *["{x}.size > 20", "{x}.size == 0", "({d}, 1) == (1, {e})", "{d} and {e}", "{d} > 1 or {e} > 1"],
    *["len({{{d}, {e}}}) == 1", "sorted([{d}, {e}])[0] == {d}", "any(n == 1 for n in {x}.shape)", "{d} ** 2 > 30"],
    *["divmod({d}, 3)[1] == 1", "sum([{d}, {e}]) > 9", "1 < {d} <= 16", "{d} * {e} > 60", "{d} - {e} > 0"],
    *["({d} == 1) == ({e} == 1)", "{d} / 2 > 3", "math.ceil({d} / 2) == 4", "int({d} / 2) == 3", "{d} == 1 != {e}"],
]  # fmt: skip

# Numbers that Python computes of sizes, with their largest value where d and e are at most m.
NUMBERS = [
    ("{d}", lambda m: m),
    ("{d} + 1", lambda m: m + 1),
    ("{d} // 2", lambda m: m),
    ("{d} % 3", lambda m: 2),
    ("{d} - {e}", lambda m: m),
    ("max({d}, {e})", lambda m: m),
    ("min({d}, 3)", lambda m: 3),
    ("-{d} % 4", lambda m: 3),
    ("abs({d} - {e})", lambda m: m),
    ("int({d} / 2)", lambda m: m),
    ("math.ceil({d} / 3)", lambda m: m),
    ("round({d} / 4)", lambda m: m),
    ("divmod({d}, 3)[0]", lambda m: m),
    ("({d} == {e})", lambda m: 1),
    ("(2 if {d} > {e} else 1)", lambda m: 2),
    ("len(str({d}))", lambda m: 9),
    ("{d} * 2 - 1", lambda m: 2 * m),
    ("2 ** {d} % 7", lambda m: 6),
    ("round({d}, -1)", lambda m: m + 5),
    ("({d} & 6)", lambda m: 6),
    ("({d} << 1)", lambda m: 2 * m),
    ("np.abs({d} - {e})", lambda m: m),
    ("int(np.cumsum([{d}, 1])[0])", lambda m: m),
]


# What makes an integer that wrapped around small, with its dtype and largest value.
SMALL = [
    ("{w} % 7", "int32", 6),
    ("{w} // 2**26", "int32", 32),
    ("lax.div({w}, jnp.int32(2**26))", "int32", 32),
    ("lax.rem({w}, jnp.int32(5))", "int32", 4),
    ("{w} > 0", "bool", 1),
    ("({w} < {d}).astype(jnp.int32)", "int32", 1),
    ("jnp.clip({w}, -3, {d})", "int32", 130 * 130),
    ("jnp.maximum({w}, 0) % 5", "int32", 4),
    ("{w} >> 27", "int32", 16),
    ("lax.shift_right_logical({w}, 27)", "int32", 31),
    ("({w} & 15)", "int32", 15),
    ("{w}.astype(jnp.int8)", "int8", 127),
    ("jnp.float32({w} // 4096)", "float32", 1 << 19),
]


class Questions(Control):
    def dim(self) -> tuple[str, Expr, list[Term]]:
        """A size: its text, what it is, and the terms that the text uses."""
        x = self.pick(lambda t: len(t.shape) > 0)
        if x is None or self.chance(0.4):
            return self.one(
                [("a", A, []), ("b", B, []), ("a * b", A * B, []), ("a + b", A + B, []), ("(2 * a + 1)", A * 2 + 1, [])]
            )
        k = self.below(len(x.shape))
        return f"{x.name}.shape[{k}]", x.shape[k], [x]

    def question(self) -> tuple[str, list[Term]]:
        (d, _, one), (e, _, two) = self.dim(), self.dim()
        x = self.pick(lambda t: len(t.shape) > 0)
        t = self.one(QUESTIONS)
        if x is None and "{x}" in t:
            t = QUESTIONS[0]
        return t.format(d=d, e=e, x=x and x.name), [*one, *two, *([x] if "{x}" in t else [])]

    def op_question(self):
        """Two functions, between which a size chooses."""
        xs = self.states()
        if not xs:
            return None
        asked, uses = self.question()
        name = self.fresh()
        inner = self.held(f"{name}_x", xs)
        params = ", ".join(t.name for t in inner)
        parts = [self.body(f"{name}_{k}", params, inner, inner) for k in ("yes", "no")]
        t = f"({name}_yes if {asked} else {name}_no)({', '.join(x.name for x in xs)})"
        return self.finish(t, self.named(uses, xs), parts, inner)

    def named(self, uses, xs):
        """The terms of `uses` only name something: whether they are exact does not matter."""
        return [*xs, *(Term(u.name, (), "int32", 0, True) for u in uses)]

    def op_divisible(self):
        """Another order of the elements, through a shape that only some sizes have."""
        x = self.pick(lambda t: 0 < len(t.shape) < 4)
        if x is None:
            return None
        k, n = self.below(len(x.shape)), self.one([2, 3, 4])
        d = f"{x.name}.shape[{k}]"
        before = "".join(f"{x.name}.shape[{j}], " for j in range(k))
        after = "".join(f", {x.name}.shape[{j}]" for j in range(k + 1, len(x.shape)))
        grid = f"{x.name}.reshape({before}{d} // {n}, {n}{after})"
        moved = self.one(
            [f"jnp.flip({grid}, {k})", f"jnp.flip({grid}, {k + 1})", f"jnp.swapaxes({grid}, {k}, {k + 1})", f"({grid} + {grid})"]
        )
        if "+" in moved and (x.dtype == "bool" or 2 * x.bound > EXACT[x.dtype]):
            moved = grid
        t = f"{moved}.reshape({x.name}.shape) if {d} % {n} == 0 else {self.one([x.name, f'jnp.flip({x.name}, {k})'])}"
        return self.add(t, [x], x.shape, x.dtype, 2 * x.bound)

    def op_number(self):
        """A number that is made of sizes, with an array."""
        x = self.pick(lambda t: t.dtype in (*REAL, *INTEGERS))
        if x is None:
            return None
        (d, p, one), (e, q, two) = self.dim(), self.dim()
        t, most = self.one(NUMBERS)
        m = most(max(p.eval(LARGE_SIZES), q.eval(LARGE_SIZES)))
        number = t.format(d=d, e=e)
        uses = [x, *(one if "{d}" in t else []), *(two if "{e}" in t else [])]
        ways = [("{x} * ({n})", x.bound * m), ("{x} + ({n})", x.bound + m), ("{x} - ({n})", x.bound + m)]
        ways += [("jnp.maximum({x}, {n})", max(x.bound, m)), ("{x} + jnp.asarray({n}, {x}.dtype)", x.bound + m)]
        if x.dtype in SINGLE:
            ways += [
                ("{x} / (abs({n}) + 1)", x.bound),
                ("{x} + jnp.float32({n})", x.bound + m),
                ("{x} / float(abs({n}) + 1)", x.bound),
            ]
        way, bound = self.one(ways)
        if x.dtype not in SINGLE and m > 120:  # a Python number that the dtype does not hold is an error of JAX
            return None
        if x.dtype == "uint8" and "-" in t + way:
            return None
        return self.add(way.format(x=x.name, n=number), self.named(uses[1:], [x]), x.shape, x.dtype, bound, exact="/" not in way)

    def op_made(self):
        """An array made of sizes alone."""
        (d, p, one), (e, q, two) = self.dim(), self.dim()
        m = p.eval(LARGE_SIZES)
        t, shape, dtype, bound, exact = self.one([
            ("jnp.arange({d}, dtype=jnp.int32)", (p,), "int32", m, True),
            ("jnp.arange({d}, dtype=jnp.float32)", (p,), "float32", m, True),
            ("jnp.arange({d}) % 3", (p,), self.index, 2, True),
            ("jnp.arange(0, {d}, 2, dtype=jnp.int32)", (floordiv(p + 1, 2),), "int32", m, True),
            ("jnp.arange({d}, 0, -1, dtype=jnp.int32)", (p,), "int32", m, True),
            ("jnp.arange(0.0, {d}, dtype=jnp.float32)", (p,), "float32", m, True),
            ("jnp.full(({d},), {e}, jnp.int32)", (p,), "int32", q.eval(LARGE_SIZES), True),
            ("jnp.full(({d},), {e}, jnp.float32)", (p,), "float32", q.eval(LARGE_SIZES), True),
            ("jnp.linspace(0.0, 1.0, {d}, dtype=jnp.float32)", (p,), "float32", 1, False),
            ("jnp.linspace(2.0, 3.0, {d} + 1, dtype=jnp.float32)", (p + 1,), "float32", 3, False),
            ("jnp.ones(({d}, 2), jnp.float32)", (p, const(2)), "float32", 1, True),
            ("jnp.eye(a, b, dtype=jnp.float32)", (A, B), "float32", 1, True),
            ("jnp.tri(a, dtype=jnp.float32)", (A, A), "float32", 1, True),
            ("jnp.array([{d}, {e}, 3], jnp.int32)", (const(3),), "int32", max(m, q.eval(LARGE_SIZES)), True),
            ("jnp.indices((a, b))[1].astype(jnp.int32)", (A, B), "int32", 130, True),
            ("lax.broadcasted_iota(jnp.int32, ({d}, 3), 0)", (p, const(3)), "int32", m, True),
            ("jnp.where(jnp.arange({d}) < {d} // 2, 1, 0).astype(jnp.int32)", (p,), "int32", 1, True),
        ])  # fmt: skip
        uses = [*(one if "{d}" in t else []), *(two if "{e}" in t else [])]
        return self.add(t.format(d=d, e=e), self.named(uses, []), shape, dtype, bound, exact)

    def wrapping(self) -> tuple[str, str, Expr | None, list[Term]]:
        """An int32 of a size (its text, too) that wraps around: a scalar, or one per position below the size."""
        d, p, uses = self.dim()
        w, n = self.one([(f"jnp.asarray({d}, jnp.int32)", None), (f"jnp.arange({d}, dtype=jnp.int32)", p)])
        big, more = self.one([715827883, 1103515245, 65537, 2**31 - 1, -(2**30), 3]), self.one([0, 1, 12345, -7, 2**31 - 1])
        t = self.one(["{w} * {big} + {more}", "({w} * {big} + {more}) * {big}", "{w} * {w} * {big}", "{more} - {w} * {big}"])
        return f"({t.format(w=w, big=f'jnp.int32({big})', more=f'jnp.int32({more})')})", d, n, uses

    def op_wrapping(self):
        w, d, n, uses = self.wrapping()
        t, dtype, bound = self.one(SMALL)
        return self.add(t.format(w=w, d=d), self.named(uses, []), () if n is None else (n,), dtype, bound)

    def op_read_at_a_wrapping_position(self):
        w, _, n, uses = self.wrapping()
        x = self.pick(lambda t: len(t.shape) > 0 and t.shape[0].eval(ZERO_SIZES) > 0)
        if x is None:
            return None
        ways = [(f'jnp.take({x.name}, {w}, 0, mode="clip")', () if n is None else (n,))]
        if n is None:
            ways += [(f"lax.dynamic_slice_in_dim({x.name}, {w}, 1, 0)", (const(1),)), (f"{x.name}[{w} % 3 % {x.shape[0]}]", ())]
        t, shape = self.one(ways)
        return self.add(t, [x, *self.named(uses, [])], (*shape, *x.shape[1:]), x.dtype, x.bound)

    def op_cut(self):
        """A part or another order of x, at places made of sizes."""
        x = self.pick(lambda t: 0 < len(t.shape) < 5)
        if x is None:
            return None
        k = self.below(len(x.shape))
        n, d, colons = x.shape[k], f"{x.name}.shape[{k}]", ":, " * k
        half = floordiv(n, 2)
        pads = ", ".join(f"(0, {d} % 2)" if j == k else "(0, 0)" for j in range(len(x.shape)))
        options = [
            (f"{x.name}[{colons}: {d} // 2]", half),
            (f"{x.name}[{colons}{d} // 2 :]", n - half),
            (f"jnp.roll({x.name}, {d} // 2, {k})", n),
            (f"{x.name}[{colons}::-1]", n),
            (f"{x.name}[{colons}::2]", floordiv(n + 1, 2)),
            (f"jnp.roll({x.name}, 1, {k})", n),
            (f"jnp.concatenate([{x.name}[{colons}{d} // 3 :], {x.name}[{colons}: {d} // 3]], {k})", n),
            (f"jnp.pad({x.name}, [{pads}])", n * 2 - half * 2),
            (f"jnp.repeat({x.name}, 2, {k})", n * 2),
        ]
        if n.eval(ZERO_SIZES) >= 1:
            rest = None
            options += [
                (f"{x.name}[{colons}{d} - 1]", rest),
                (f"{x.name}[{colons}{d} // 2]", rest),
                (f"{x.name}[{colons}-1]", rest),
            ]
            options += [(f"lax.dynamic_slice_in_dim({x.name}, {d} // 2, 1, {k})", const(1))]
        t, new = self.one(options)
        shape = x.shape[:k] + (() if new is None else (as_expr(new),)) + x.shape[k + 1 :]
        return self.add(t, [x], shape, x.dtype, x.bound)

    def op_unrolled(self):
        """A Python loop, over a number or a size that is small here."""
        x = self.state()
        if x is None:
            return None
        name = self.fresh()
        count, uses = self.one(
            [("2", []), ("3", []), ("min({d}, 3)", None), ("({d} if {d} <= 2 else 1)", None), ("{d} % 3", None)]
        )
        if uses is None:
            d, _, uses = self.dim()
            count = count.format(d=d)
        inner = self.held(f"{name}_x", [x])
        body = self.body(f"{name}_step", inner[0].name, inner, inner)
        made = self.make(name, [x], x.shape, x.dtype, settled(x), x.exact)
        if made is None:
            return None
        before = (
            body.text
            + f"{name} = {x.name}\nfor _ in range({count}):\n"
            + textwrap.indent(f"{name} = {name}_step({name})\n", "    ")
        )
        free = body.free | {x.name} | {u.name for u in uses}
        self.put(Line((made,), name, free, before))
        return made

    def op_symbol(self):
        """The third size, where there is one: what depends on whether it is as large as the first."""
        xs = [t for t in self.terms if t.shape == (C,)]
        x = self.pick(lambda t: t.shape == (A,))
        if not xs or x is None:
            return None
        y = self.one(xs)
        if y.dtype != x.dtype or x.dtype not in (*SINGLE, "int32"):
            return None
        t = f"{x.name} + {y.name} if {x.name}.shape == {y.name}.shape else {x.name} * 2"
        return self.add(t, [x, y], x.shape, x.dtype, max(x.bound * 2, x.bound + y.bound))
