"""Lines that are loops and branches; their bodies are programs of a few lines, which may also use values of outside."""

from __future__ import annotations

import textwrap

from programs.terms import INTEGERS, REAL, Builder, Line, Term

from sod2jax.ir.expr import Expr

IN_BODIES = 4  # lines at most
DEEPEST = 2  # bodies within bodies


def is_tame(t: Term) -> bool:
    """Whether a body can give something as small as t again."""
    return (t.bound <= 3 and t.dtype in (*REAL, *INTEGERS)) or t.dtype == "uint32"


class Control(Builder):
    depth = 0

    def body(self, name: str, arguments: list[Term], wanted: list[Term], extra: str = "") -> tuple[str, frozenset[str]]:
        """(text of a function, names from outside): it takes the arguments gives terms like those wanted, as small."""
        inner = type(self)(self.below)
        inner.depth, inner.prefix, inner.inputs = self.depth + 1, f"{name}_", self.inputs
        outside = [t for t in self.terms if self.chance(0.3)][-3:]
        inner.terms = [*outside, *arguments]
        for _ in range(1 + self.below(IN_BODIES)):
            inner.step()
        results = [inner.close(x) for x in wanted]
        lines: list[Line] = inner.lines
        own = {t.name for t in arguments} | {line.term.name for line in lines}
        uses = frozenset().union(*(line.uses for line in lines), results) - own
        statements = [*map(str, lines), f"return {extra}{', '.join(results)}{',' * (len(results) > 1)}"]
        head = f"def {name}({', '.join(t.name for t in arguments)}):\n"
        return head + textwrap.indent("\n".join(statements), "    ") + "\n", uses

    def close(self, x: Term) -> str:
        """A value of the body like x, tame enough to be the next x."""
        y = self.pick(lambda t: t.shape == x.shape and t.dtype == x.dtype and t is not x and t.exact >= x.exact) or x
        if x.dtype == "uint32" or x.dtype == "bool":
            done = self.add(f"{x.name} ^ {y.name}", [x, y], x.shape, x.dtype, x.bound)
        elif x.dtype in INTEGERS:
            done = self.add(f"({x.name} + {y.name}) % 4", [x, y], x.shape, x.dtype, 3)
        elif x.exact:
            done = self.add(f"jnp.clip({x.name} - {y.name}, -3, 3)", [x, y], x.shape, x.dtype, 3)
        else:
            done = self.add(f"jnp.tanh({y.name}) - 0.5 * {x.name}", [x, y], x.shape, x.dtype, 3, exact=False)
        return x.name if done is None else done.name

    def state(self) -> Term | None:
        """Something to carry round."""
        if self.depth >= DEEPEST:
            return None
        return self.pick(lambda t: is_tame(t) or t.dtype == "bool")

    def held(self, name: str, x: Term, shape=None) -> Term:
        return Term(name, x.shape if shape is None else shape, x.dtype, x.bound, x.exact)

    def finish(self, text, uses, x: Term, before, free) -> Term | None:
        """The line, with what its body takes from outside."""
        term = self.add(text, uses, x.shape, x.dtype, max(x.bound, 3), x.exact and all(u.exact for u in uses), before)
        if term is not None:
            line = self.lines[-1]
            self.lines[-1] = Line(term, line.text, line.uses | free, before)
        return term

    def fresh(self) -> str:
        return f"{self.prefix}{len(self.lines)}"

    def op_cond(self):
        x = self.state()
        if x is None or (flag := self.flag()) is None:
            return None
        name = self.fresh()
        inner = self.held(f"{name}_x", x)
        parts = [self.body(f"{name}_{k}", [inner], [inner]) for k in ("yes", "no")]
        free = parts[0][1] | parts[1][1]
        t = f"lax.cond({flag.name}, {name}_yes, {name}_no, {x.name})"
        return self.finish(t, [flag, x], x, parts[0][0] + parts[1][0], free)

    def op_switch(self):
        x = self.state()
        if x is None or (at := self.position()) is None:
            return None
        name, n = self.fresh(), 2 + self.below(2)
        inner = self.held(f"{name}_x", x)
        parts = [self.body(f"{name}_{k}", [inner], [inner]) for k in range(n)]
        names = ", ".join(f"{name}_{k}" for k in range(n))
        free = frozenset().union(*(uses for _, uses in parts))
        return self.finish(f"lax.switch({at.name}, [{names}], {x.name})", [at, x], x, "".join(t for t, _ in parts), free)

    def op_fori(self):
        x = self.state()
        if x is None:
            return None
        name = self.fresh()
        i = Term(f"{name}_i", (), "int32", 200, True)
        inner = self.held(f"{name}_x", x)
        body, free = self.body(f"{name}_body", [i, inner], [inner])
        count, uses = self.one(["3", "1", "a", "b"]), [x]
        if self.chance(0.3) and (at := self.position()) is not None:
            count, uses = at.name, [x, at]
        return self.finish(f"lax.fori_loop(0, {count}, {name}_body, {x.name})", uses, x, body, free)

    def op_while(self):
        x = self.state()
        if x is None or (at := self.position()) is None:
            return None
        name = self.fresh()
        inner = self.held(f"{name}_x", x)
        body, free = self.body(f"{name}_step", [inner], [inner])
        before = body + (
            f"def {name}_go(state):\n    return state[0] < 3\n"
            f"def {name}_body(state):\n    return state[0] + 1, {name}_step(state[1])\n"
        )
        return self.finish(f"lax.while_loop({name}_go, {name}_body, ({at.name}, {x.name}))[1]", [at, x], x, before, free)

    def op_scan(self):
        x = self.state()
        if x is None:
            return None
        xs = self.pick(lambda t: len(t.shape) > 0)
        name = self.fresh()
        inner = self.held(f"{name}_x", x)
        row = self.held(f"{name}_row", xs, xs.shape[1:])
        body, free = self.body(f"{name}_step", [inner, row], [inner])
        many = self.chance(0.5)
        before = body + f"def {name}_body(c, row):\n    c = {name}_step(c, row)\n    return c, {'c' if many else 'None'}\n"
        reverse = ", reverse=True" * self.chance(0.2)
        t = f"lax.scan({name}_body, {x.name}, {xs.name}{reverse})[{int(many)}]"
        shape: tuple[Expr, ...] = (xs.shape[0], *x.shape) if many else x.shape
        return self.finish(t, [x, xs], self.held(name, x, shape), before, free)

    def op_map(self):
        xs = self.pick(lambda t: len(t.shape) > 1 and is_tame(t))
        if xs is None or self.depth >= DEEPEST:
            return None
        name = self.fresh()
        row = self.held(f"{name}_row", xs, xs.shape[1:])
        body, free = self.body(f"{name}_body", [row], [row])
        t = self.one(["jax.vmap({f})({x})", "lax.map({f}, {x})", "jax.checkpoint(jax.vmap({f}))({x})"])
        return self.finish(t.format(f=f"{name}_body", x=xs.name), [xs], xs, body, free)

    def op_grad(self):
        x = self.state()
        if x is None or x.dtype != "float32" or x.exact:
            return None
        name = self.fresh()
        inner = self.held(f"{name}_x", x)
        body, free = self.body(f"{name}_body", [inner], [inner])
        t = f"jnp.tanh(jax.grad(lambda x: jnp.sum({name}_body(x)))({x.name}))"
        return self.finish(t, [x], x, body, free)
