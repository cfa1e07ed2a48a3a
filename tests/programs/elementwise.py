"""Lines that compute element by element."""

from __future__ import annotations

import numpy as np
from programs.terms import EXACT, INTEGERS, NARROW, SINGLE, Builder, text


class Elementwise(Builder):
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
        x = self.number()
        if x is None:
            return None
        options = [("{} + 1", x.bound + 1), ("{} * 3", 3 * x.bound), ("jnp.square({})", x.bound**2),
                   ("lax.integer_pow({}, 3)", x.bound**3), ("-{}", x.bound)]  # fmt: skip
        if x.dtype != "complex64":
            options += [("jnp.maximum({}, 1)", x.bound + 1), ("jnp.abs({})", x.bound), ("jnp.clip({}, -2, 5)", 5)]
        if x.dtype == "uint8":
            options = [o for o in options if "-" not in o[0]]
        if x.exact and x.dtype != "complex64":
            options += [("jnp.sign({})", 1)]
            if x.dtype in SINGLE:
                options += [("jnp.floor({} / 4)", x.bound), ("jnp.round({} * 0.25)", x.bound), ("jnp.ceil({} / 2)", x.bound)]
        t, bound = self.one(options)
        return self.add(t.format(x.name), [x], x.shape, x.dtype, bound)

    def number(self):
        """Anything with an arithmetic that does not wrap around."""
        return self.pick(lambda t: t.dtype not in ("bool", "uint32"))

    def op_binary(self):
        x = self.number()
        if x is None:
            return None
        y = self.like(x)
        more, most = x.bound + y.bound, max(x.bound, y.bound)
        options = [("{} + {}", more), ("{} * {}", x.bound * y.bound)]
        options += [("{} - {}", more)] if x.dtype != "uint8" else []
        options += [("jnp.maximum({}, {})", most), ("jnp.minimum({}, {})", most)] if x.dtype != "complex64" else []
        t, bound = self.one(options)
        shape = x.shape
        if self.chance(0.3):
            x, y = y, x
        return self.add(t.format(x.name, y.name), [x, y], shape, x.dtype, bound)

    def op_integer(self):
        x = self.pick(lambda t: t.dtype in INTEGERS)
        if x is None:
            return None
        y = self.like(x)
        top, both = x.bound, x.bound + y.bound
        options = [
            *[("{} % 5", 4), ("{} // 3", top), ("{} & 6", 6), ("{} | 1", top + 1), ("{} ^ {}", 2 * both), ("{} == {}", 1)],
            *[("{} >> 1", top), ("{} << 2", 4 * top), ("~{}", top + 1), ("lax.population_count({})", 32), ("lax.clz({})", 32)],
            *[("{} // (1 + abs({}))", top), ("{} % (1 + abs({}))", top + 1), ("jnp.gcd({}, {})", both)],
            *[("lax.rem({}, 1 + abs({}))", top), ("lax.div({}, 1 + abs({}))", top)],
        ]
        t, bound = self.one(options)
        if x.dtype == "uint8" and "~" in t:
            bound = 255
        uses = [x, y] if t.count("{}") > 1 else [x]
        return self.add(t.format(x.name, y.name), uses, x.shape, "bool" if "==" in t else x.dtype, bound)

    def op_bits(self):
        """32 bits, which wrap around."""
        x = self.pick(lambda t: t.dtype == "uint32")
        if x is None:
            y = self.pick(lambda t: t.dtype == "int32")
            return y and self.add(f"{y.name}.astype(jnp.uint32)", [y], y.shape, "uint32", 0)
        y = self.like(x)
        t = self.one(
            [
                *["{} + {}", "{} * {}", "{} ^ {}", "{} & {}", "{} | {}", "{} - {}", "~{}", "{} >> 7", "{} << 5", "-{}"],
                *["lax.population_count({})", "lax.clz({})", "{} % 97", "{} // 3", "jnp.maximum({}, {})", "jnp.minimum({}, {})"],
                *["lax.shift_right_logical({}, {} % 40)", "({} << 13) | ({} >> 19)"],
            ]
        )
        uses = [x, y] if t.count("{}") > 1 else [x]
        return self.add(t.format(x.name, y.name), uses, x.shape, "uint32", 0)

    def op_divide(self):
        x = self.real()
        if x is None:
            return None
        y = self.like(x)
        return self.add(f"{x.name} / (1 + jnp.abs({y.name}))", [x, y], x.shape, x.dtype, x.bound, exact=False)

    def op_compare(self):
        x = self.pick(lambda t: t.exact and t.dtype not in ("bool", "complex64"))
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
        x = self.pick(lambda t: t.shape == c.shape)
        if x is None:
            return None
        y = self.like(x)
        return self.add(f"jnp.where({c.name}, {x.name}, {y.name})", [c, x, y], x.shape, x.dtype, max(x.bound, y.bound))

    def op_convert(self):
        x = self.pick()
        reals, whole = ["float32", *NARROW], ["int32", "int16", "int8", "uint8"]
        if self.x64:
            reals, whole = ["float64", *reals], ["int64", *whole]
        if x.dtype == "uint32":
            return self.add(f"({x.name} % 97).astype(jnp.int32)", [x], x.shape, "int32", 96)
        if x.dtype == "complex64":
            return self.add(f"{self.one(['jnp.real', 'jnp.imag'])}({x.name})", [x], x.shape, "float32", x.bound)
        options = {
            "bool": ["float32", "int32"],
            **{key: ["float32", *whole] for key in INTEGERS},
            "float32": [*NARROW, "complex64"] + ["float64"] * self.x64,
        }
        to = self.one(options.get(x.dtype, ["float32"] * 3 + reals) + (whole if x.exact and x.dtype != "bool" else []))
        if (x.exact and x.bound > EXACT[to]) or (to == "uint8" and x.dtype not in ("bool", "uint8")):
            return None
        return self.add(f"{x.name}.astype(jnp.{to})", [x], x.shape, to, x.bound)

    def op_size(self):
        x = self.single()
        if x is None:
            return None
        t = self.one(["{} / (a + 1)", "{} * (2 * a + b)", "{} + a // 2", "{} - jnp.float32(a * b)"])
        bound = {"/": x.bound, "*": 400 * x.bound, "+": x.bound + 70, "-": x.bound + 17000}[t.split()[1]]
        return self.add(t.format(x.name), [x], x.shape, x.dtype, bound, exact="/" not in t or "//" in t)

    def op_iota(self):
        x = self.pick(lambda t: len(t.shape) > 0)
        if x is None:
            return None
        axis, dtype = self.below(len(x.shape)), self.one(["float32", "int32"])
        return self.add(f"lax.broadcasted_iota(jnp.{dtype}, {text(x.shape)}, {axis})", [], x.shape, dtype, 20000)
