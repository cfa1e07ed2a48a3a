"""Lines that are loops, branches and transformations. Their bodies are programs of a few lines, and may use values of outside.

* A loop carries one to four values, some of them the same at first. Each of its next values is new, or is what another one was,
  or stays, or is a new value that stands elsewhere, too; some are never read.
* A body is up to `DEEPEST` bodies deep. Only outermost loops run as often as a size says, so that the sum of steps stays small.
* In a body that is differentiated (`smooth`) no trip count depends on data or sizes: JAX's reverse mode wants it so.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from programs.terms import INTEGERS, LARGE_SIZES, REAL, A, B, Builder, Line, Term, size

from sod2jax.ir.expr import const

IN_BODIES = 5  # lines at most
DEEPEST = 3  # bodies within bodies
LARGEST_STATE = 8 * 130 * 130


@dataclass(frozen=True)
class Body:
    """The text of a function, the names it takes from outside, and what it gives beside its results."""

    text: str
    free: frozenset[str]
    beside: tuple[Term, ...] = ()


def is_tame(t: Term) -> bool:
    """Whether a body can give something as small as t again."""
    small = size(t.shape).eval(LARGE_SIZES) <= LARGEST_STATE
    return small and ((t.bound <= 3 and t.dtype in (*REAL, *INTEGERS)) or t.dtype in ("uint32", "bool"))


def is_like(t: Term, x: Term) -> bool:
    return t.shape == x.shape and t.dtype == x.dtype


def settled(t: Term) -> float:
    """The bound of what goes round in t's place."""
    return t.bound if t.dtype == "bool" else max(t.bound, 3)


def row(terms) -> str:
    """A tuple, or what takes one apart."""
    names = [t if isinstance(t, str) else t.name for t in terms]
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


class Control(Builder):
    depth = 0
    smooth = False

    # -- bodies

    def body(self, name: str, params: str, arguments, wanted, unpack=(), beside: int = 0, smooth: bool = False) -> Body:
        """A function that takes `arguments` and gives terms like those `wanted`, as small, and some others beside."""
        inner = type(self)(self.below, self.x64)
        inner.depth, inner.prefix, inner.inputs = self.depth + 1, f"{name}_", self.inputs
        inner.smooth = smooth or self.smooth
        outside = [t for t in self.terms if self.chance(0.3)][-3:]
        inner.terms = [*outside, *arguments]
        for k in range(IN_BODIES):
            if k and self.enough(4):
                break
            inner.step()
        results = inner.results(wanted)
        others = []
        for _ in range(beside):
            y = inner.pick(lambda t: size(t.shape).eval(LARGE_SIZES) <= 130 * 130 and len(t.shape) < 4)
            others += [y] if y is not None else []
        lines: list[Line] = inner.lines
        own = {t.name for t in arguments} | {t.name for line in lines for t in line.terms}
        uses = frozenset().union(*(line.uses for line in lines), results, (y.name for y in others)) - own
        given = results[0] if len(wanted) == 1 and not beside and not unpack else row(results)
        statements = [f"{row(group)} = {source}" for group, source in unpack if group]
        statements += [*map(str, lines), f"return {given}{', ' + row(others) if beside else ''}"]
        text = f"def {name}({params}):\n" + textwrap.indent("\n".join(statements), "    ") + "\n"
        return Body(text, uses, tuple(others))

    def results(self, wanted) -> list[str]:
        """The names of the next values: new ones, made from the last ones or not, others' last ones, the same one twice."""
        found: list[str] = []
        for k, x in enumerate(wanted):
            how = self.below(10)
            twins = [found[j] for j, y in enumerate(wanted[:k]) if is_like(y, x)]
            if how in (4, 5) and twins:
                found.append(self.one(twins))
            elif how in (6, 7) and len(wanted) > 1:
                found.append(self.one([y for y in wanted if is_like(y, x)]).name)
            elif how in (3, 8, 9) and (y := self.ready(x)) is not None:
                found.append(y.name)
            else:
                found.append(self.close(x, alone=how in (1, 2, 3)))
        return found

    def ready(self, x: Term) -> Term | None:
        """A value of the body that can be the next x as it is."""
        return self.pick(lambda t: is_like(t, x) and t is not x and t.exact >= x.exact and t.bound <= max(x.bound, 3))

    def close(self, x: Term, alone: bool) -> str:
        """A value of the body like x, tame enough to be the next x: made of x and another, or of others `alone`."""

        def other():
            return self.pick(lambda t: is_like(t, x) and t is not x and t.exact >= x.exact) or x

        y, z = other(), other() if alone else x
        if x.dtype in ("uint32", "bool"):
            t = "~{y} & {z}" if alone else "{z} ^ {y}"
        elif x.dtype in INTEGERS:
            t = self.one(
                ["({z} + {y}) % 4", "{y} % 4 - {z} % 2", "({z} * {y}) % 3"] if x.dtype != "uint8" else ["({z} | {y}) % 4"]
            )
        elif x.exact:
            t = self.one(["jnp.clip({z} - {y}, -3, 3)", "jnp.clip({y}, -3, 3)", "jnp.clip({z} * {y}, -3, 3)"])
        else:
            small = ["0.5 * ({z} + {y})", "{z} * {y} * 0.3", "{y} - 0.4 * {z}"] if max(y.bound, z.bound) <= 3 else []
            t = self.one(["jnp.tanh({y}) - 0.5 * {z}", "jnp.tanh({y} + {z})", *small])
            if t == "{y} - 0.4 * {z}" and y.bound + 0.4 * z.bound > 3:
                t = "jnp.tanh({y} - {z})"
        done = self.add(t.format(y=y.name, z=z.name), [y, z], x.shape, x.dtype, settled(x), exact=x.exact)
        return x.name if done is None else done.name

    def state(self) -> Term | None:
        """Something to carry round."""
        return self.pick(is_tame) if self.depth < DEEPEST else None

    def states(self) -> list[Term]:
        first = self.state()
        found = [first] if first is not None else []
        for _ in range(self.below(4) if found else 0):
            found.append(self.pick(lambda t: is_like(t, first) and is_tame(t)) if self.chance(0.6) else self.state())
        return found

    def held(self, name: str, states: list[Term], shapes=None) -> list[Term]:
        """What the body calls them. Those of one type may change places: one that is not exact makes the others so."""

        def exact(x):
            return all(t.exact for t in states if is_like(t, x))

        return [Term(f"{name}{k}", t.shape, t.dtype, settled(t), exact(t)) for k, t in enumerate(states)]

    def rows(self, name: str, arrays: list[Term]) -> list[Term]:
        return [Term(f"{name}{k}", t.shape[1:], t.dtype, t.bound, t.exact) for k, t in enumerate(arrays)]

    def fresh(self) -> str:
        return f"{self.prefix}{len(self.lines)}"

    def finish(
        self, text: str, uses, bodies: list[Body], wanted: list[Term], stacked=(), target: str = "", before=""
    ) -> bool | None:
        """Puts the line: a term for each of `wanted`, then one for each of those `stacked`: True, or None if one is too large."""
        name = self.fresh()
        exact = all(u.exact for u in uses if not u.shape or u.dtype not in REAL)
        made = [self.make(f"{name}_{k}" if k else name, [], t.shape, t.dtype, t.bound, t.exact and exact)
                for k, t in enumerate([*wanted, *stacked])]  # fmt: skip
        if any(t is None for t in made):
            return None
        if stacked:
            target = f"{row(made[: len(wanted)])}, {row(made[len(wanted) :])}"
        free = frozenset(u.name for u in uses).union(*(b.free for b in bodies))
        self.put(Line(tuple(made), text, free, "".join(b.text for b in bodies) + before, target))
        return True

    # -- branches

    def op_cond(self):
        xs = self.states()
        if not xs or (flag := self.flag()) is None:
            return None
        name = self.fresh()
        inner = self.held(f"{name}_x", xs)
        params = ", ".join(t.name for t in inner)
        parts = [self.body(f"{name}_{k}", params, inner, inner) for k in ("yes", "no")]
        t = f"lax.cond({flag.name}, {name}_yes, {name}_no, {', '.join(x.name for x in xs)})"
        return self.finish(t, [flag, *xs], parts, inner)

    def op_switch(self):
        xs = self.states()
        if not xs or (at := self.position()) is None:
            return None
        name, n = self.fresh(), 2 + self.below(2)
        inner = self.held(f"{name}_x", xs)
        params = ", ".join(t.name for t in inner)
        parts = [self.body(f"{name}_{k}", params, inner, inner) for k in range(n)]
        names = ", ".join(f"{name}_{k}" for k in range(n))
        return self.finish(f"lax.switch({at.name}, [{names}], {', '.join(x.name for x in xs)})", [at, *xs], parts, inner)

    # -- loops

    def count(self) -> tuple[str, list[Term]]:
        """How often: a number, a size, or what data say."""
        if self.smooth:
            return self.one(["3", "1", "2"]), []
        if self.chance(0.3) and (at := self.position()) is not None:
            return at.name, [at]
        outermost = ["3", "a", "1", "b", "2", "a // 2", "b % 3", "0", "a + 1"]
        return self.one(outermost if not self.depth else ["2", "3", "1", "a % 3", "b % 2", "0"]), []

    def op_fori(self):
        xs = self.states()
        if not xs:
            return None
        count, uses = self.count()
        name = self.fresh()
        i = Term(f"{name}_i", (), self.index, 200, True)
        inner = self.held(f"{name}_c", xs)
        body = self.body(f"{name}_body", f"{i.name}, {name}_c", [i, *inner], inner, unpack=[(inner, f"{name}_c")])
        first = "0" if self.smooth else self.one(["0", "0", "0", "1", "a % 2", "-1"])
        return self.finish(
            f"lax.fori_loop({first}, {count}, {name}_body, {row(xs)})", [*uses, *xs], [body], inner, target=self.targets(xs)
        )

    def targets(self, xs) -> str:
        """What takes a tuple of as many apart, even of one."""
        name = self.fresh()
        return row([f"{name}_{k}" if k else name for k in range(len(xs))])

    def op_while(self):
        """Until a counter is there, which starts where data say, or until something that is carried says so."""
        xs = self.states()
        if not xs or self.smooth or (at := self.position()) is None:
            return None
        name = self.fresh()
        inner = self.held(f"{name}_c", xs)
        count = Term(f"{name}_k", (), "int32", 8, True)
        unpack = [(inner, f"{name}_s[1:]")]
        body = self.body(f"{name}_step", f"{name}_k, {name}_s", [count, *inner], inner, unpack=unpack)
        ways = [f"{name}_s[0] < 3"]
        for k, t in enumerate(inner, 1):
            if t.dtype == "bool":
                ways.append(f"({name}_s[0] < 4) & ~jnp.all({name}_s[{k}])")
            elif t.dtype in INTEGERS:
                ways.append(f"({name}_s[0] < 4) & (jnp.sum({name}_s[{k}], dtype=jnp.int32) % 3 != 1)")
        before = (
            f"def {name}_go({name}_s):\n    return {self.one(ways)}\n"
            f"def {name}_body({name}_s):\n    return {name}_s[0] + 1, *{name}_step({name}_s[0], {name}_s)\n"
        )
        t = f"lax.while_loop({name}_go, {name}_body, {row([at, *xs])})[1:]"
        return self.finish(t, [at, *xs], [body], inner, target=self.targets(xs), before=before)

    def op_scan(self):
        xs = self.states()
        if not xs:
            return None
        first = self.pick(lambda t: len(t.shape) > 0 and (not self.depth or (t.shape[0].value or 9) <= 8))
        arrays = [first] if first is not None and self.chance(0.8) else []
        if arrays and self.chance(0.3):
            arrays.append(self.pick(lambda t: t.shape[:1] == first.shape[:1]))
        name = self.fresh()
        length = first.shape[0] if arrays else None
        more = ""
        if not arrays:
            text = self.one(["3", "1", "a", "b"] if not self.depth and not self.smooth else ["3", "1", "2"])
            more, length = f", length={text}", {"a": A, "b": B}[text] if text in "ab" else const(int(text))
        inner, rows = self.held(f"{name}_c", xs), self.rows(f"{name}_r", arrays)
        stack = self.below(3)
        unpack = [(inner, f"{name}_c"), (rows, f"{name}_r")]
        body = self.body(f"{name}_body", f"{name}_c, {name}_r", [*inner, *rows], inner, unpack, beside=stack)
        if not stack:
            body = Body(body.text[:-1] + ", None\n", body.free)
        more += ", reverse=True" * self.chance(0.2) + ", unroll=2" * self.chance(0.1)
        t = f"lax.scan({name}_body, {row(xs)}, {row(arrays) if arrays else None}{more})"
        ys = [Term(y.name, (length, *y.shape), y.dtype, y.bound, y.exact) for y in body.beside]
        if ys:
            return self.finish(t, [*xs, *arrays], [body], inner, stacked=ys)
        return self.finish(t + "[0]", [*xs, *arrays], [body], inner, target=self.targets(xs))

    def op_keys(self):
        """A random key goes round, and is split at every step."""
        x = self.pick(lambda t: t.dtype in ("float32", "float64") and is_tame(t))
        if x is None or self.depth >= DEEPEST:
            return None
        name = self.fresh()
        before = (
            f"def {name}_body({name}_i, {name}_c):\n"
            f"    {name}_k, {name}_s = jax.random.split({name}_c[0])\n"
            f"    return {name}_k, {name}_c[1] * 0.5 + jax.random.uniform({name}_s, {name}_c[1].shape, {name}_c[1].dtype)\n"
        )
        count = self.one(["3", "1", "a % 4", "0"]) if not self.smooth else "2"
        t = f"lax.fori_loop(0, {count}, {name}_body, (jax.random.key({self.below(3)}), {x.name}))[1]"
        return self.finish(t, [x], [], [Term("", x.shape, x.dtype, max(3, x.bound), False)], before=before)

    # -- transformations

    def op_map(self):
        xs = self.pick(lambda t: len(t.shape) > 1 and is_tame(t))
        if xs is None or self.depth >= DEEPEST:
            return None
        name = self.fresh()
        arrays, axes = [xs], "0"
        if self.chance(0.4) and (other := self.pick(is_tame)) is not None:
            arrays.append(other)
            axes = "0, 0" if other.shape[:1] == xs.shape[:1] else "0, None"
        rows = self.rows(f"{name}_r", arrays)
        if axes == "0, None":
            rows[1] = self.held(f"{name}_w", arrays[1:])[0]
        held = Term(rows[0].name, rows[0].shape, xs.dtype, settled(xs), xs.exact)
        body = self.body(f"{name}_body", ", ".join(r.name for r in rows), [held, *rows[1:]], [held])
        ways = [f"jax.vmap({{f}}, in_axes=({axes},))", f"jax.checkpoint(jax.vmap({{f}}, in_axes=({axes},)))"]
        ways += ["jax.vmap({f})"] * 3 + ["_map"] if axes == "0" else []
        t = self.one(ways).format(f=f"{name}_body")
        names = ", ".join(x.name for x in arrays)
        t = f"lax.map({name}_body, {names})" if t == "_map" else f"{t}({names})"
        return self.finish(t, arrays, [body], [Term("", xs.shape, xs.dtype, settled(xs), xs.exact)])

    def op_grad(self):
        x = self.pick(lambda t: is_tame(t) and t.dtype in ("float32", "float64") and not t.exact)
        if x is None or self.depth >= DEEPEST:
            return None
        name = self.fresh()
        inner = self.held(f"{name}_x", [x])
        body = self.body(f"{name}_body", inner[0].name, inner, inner, smooth=True)
        t = f"jnp.tanh(jax.grad(lambda x: jnp.sum({name}_body(x)))({x.name}))"
        return self.finish(t, [x], [body], [Term("", x.shape, x.dtype, 3, False)])
