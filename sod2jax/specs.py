"""The shape contract that a user writes: `shapes=`, `constraints=`, `abstracted_axes=`; reading it, checking a call against it.

* `shapes` is a pytree prefix of the positional arguments, as `jax.export.symbolic_args_specs` takes. A leaf is None (all dims
  static: another size compiles another version), or a string: "b, s, 64", "b, ...", "2*k, _", "f32[b, s]".
* In a string, an integer is a demand, `_` is any static size, `...` any number of static dims; anything else is an integer
  expression over symbols. A symbol is at least 0; nothing is special about sizes 0 and 1.
* Each symbol is solved from one axis that holds it alone and linearly: `symbol = (size - offset) / scale`. All other axes are
  then checked by evaluation, so no axis is trusted.
* `constraints` are comparisons of expressions over those symbols: "s <= 512", "h % 32 == 0", "a == 2*b", "1 <= b <= 64".
* What breaks the contract is the caller's mistake (ShapeError), never a reason to compile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from sod2jax import compat
from sod2jax.errors import ShapeError, SpecError
from sod2jax.ir.box import Box, parse_conds
from sod2jax.ir.expr import Expr, const, parse
from sod2jax.ir.presburger import contradictory
from sod2jax.ir.program import Cond, Guard, SymbolDef

_DTYPE_NAMES = {"bf16": "bfloat16", "bool": "bool", "pred": "bool"}
_DTYPE_KINDS = {"f": "float", "i": "int", "u": "uint", "s": "int", "c": "complex"}
_WITH_DTYPE = re.compile(r"\s*([a-zA-Z]\w*)\s*\[(.*)\]\s*", re.DOTALL)


@dataclass(frozen=True)
class ShapeSpec:
    """One leaf's shape as the user wrote it. A dim is an Expr, or None for a static size; `rest` is the position of "..."."""

    text: str
    dims: tuple[Expr | None, ...]
    rest: int | None = None
    dtype: np.dtype | None = None

    @property
    def free(self) -> frozenset[str]:
        return frozenset().union(*(d.free for d in self.dims if d is not None))

    def over(self, rank: int) -> tuple[Expr | None, ...] | None:
        """The dims for an array of this rank, or None if the rank cannot be."""
        if self.rest is None:
            return self.dims if rank == len(self.dims) else None
        missing = rank - len(self.dims)
        return None if missing < 0 else (*self.dims[: self.rest], *(None,) * missing, *self.dims[self.rest :])


def parse_shape(text: str) -> ShapeSpec:
    """Reads "b, s, 64", "(b, s)", "b, ...", "2*k, _" or "f32[b, s]"; SpecError says what it could not read."""
    body, dtype = text, None
    if match := _WITH_DTYPE.fullmatch(text):
        dtype, body = _parse_dtype(match[1], text), match[2]
    dims: list[Expr | None] = []
    rest = None
    for part in _split(body, text):
        if part == "...":
            if rest is not None:
                raise SpecError(f"shapes= has {text!r}: '...' may stand only once in a shape")
            rest = len(dims)
        elif part == "_":
            dims.append(None)
        else:
            try:
                dims.append(parse(part.replace("^", "**")))  # JAX prints powers of symbolic dims with ^
            except ValueError as err:
                raise SpecError(f"shapes= has {text!r}: {err}") from None
            if (n := dims[-1].value) is not None and n < 0:
                raise SpecError(f"shapes= has {text!r}: a size cannot be {n}")
            _check_integers(dims[-1], f"shapes= has {text!r}")
    return ShapeSpec(text, tuple(dims), rest, dtype)


def _parse_dtype(name: str, text: str) -> np.dtype:
    full = _DTYPE_NAMES.get(name, name)
    if m := re.fullmatch(r"([fiusc])(\d+)", name):
        full = _DTYPE_KINDS[m[1]] + m[2]
    try:
        return np.dtype(jax.numpy.dtype(full))
    except TypeError:
        raise SpecError(f"shapes= has {text!r}: {name!r} is no dtype") from None


def _split(body: str, text: str) -> list[str]:
    """The comma-separated parts outside of parentheses; a trailing comma and one pair around the whole are allowed."""
    body = body.strip()
    if body.startswith("(") and _closes_at(body) == len(body) - 1 and ("," in body or body == "()"):
        body = body[1:-1].strip()
    parts, depth, start = [], 0, 0
    for i, c in enumerate(body):
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append(body[start:i].strip())
            start = i + 1
    parts.append(body[start:].strip())
    if not parts[-1]:
        parts.pop()
    if not all(parts):
        raise SpecError(f"shapes= has {text!r}: a dim is missing between two commas")
    return parts


def _closes_at(body: str) -> int:
    depth = 0
    for i, c in enumerate(body):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return i
    return -1


def parse_constraint(text: str) -> tuple[Cond, ...]:
    """Reads one comparison or a chain of them: "s <= 512", "1 <= b < c"; SpecError says what it could not read."""
    try:
        conds = tuple(parse_conds(text.replace("^", "**")))
    except ValueError as err:
        raise SpecError(f"constraints=: {err}") from None
    for cond in conds:
        _check_integers(cond.lhs, f"constraints= has {text!r}")
        _check_integers(cond.rhs, f"constraints= has {text!r}")
    return conds


def _check_integers(e: Expr, where: str) -> None:
    """Sizes are 64-bit integers, and so is everything that they are compared with."""
    for monomial, coefficient in e.terms:
        if abs(coefficient) >= 1 << 63:
            raise SpecError(f"{where}: {coefficient} does not fit into 63 bits, and no size is as large")
        for atom in monomial:
            for inner in atom.args:
                _check_integers(inner, where)


def _is_axes(x: Any) -> bool:
    """A leaf of `abstracted_axes`, as JAX had it: {axis: name}, or a tuple of names with None for static axes."""
    if isinstance(x, Mapping):
        return all(isinstance(k, int) for k in x)
    return isinstance(x, tuple) and all(v is None or isinstance(v, str) for v in x)


def _axes_spec(x: Mapping[int, str] | tuple | None) -> ShapeSpec | None:
    if not x:
        return None
    named = dict(enumerate(x)) if isinstance(x, tuple) else dict(x)
    if any(k < 0 for k in named):
        raise SpecError(f"abstracted_axes= has {x!r}: axes count from 0")
    parts = [named.get(i) or "_" for i in range(max(named) + 1)]
    return parse_shape(", ".join(parts if isinstance(x, tuple) else [*parts, "..."]))


def _is_spec_leaf(x: Any) -> bool:
    return x is None or isinstance(x, (str, ShapeSpec))


def holds(cond: Cond, env: Mapping[str, int]) -> bool:
    """Whether the comparison is true where the symbols have these values. One that divides by 0 there is not."""
    try:
        a, b = cond.lhs.eval(env), cond.rhs.eval(env)
    except ZeroDivisionError:
        return False
    return {"==": a == b, "!=": a != b, "<=": a <= b, "<": a < b}[cond.op]


class Contract:
    """`shapes=` and `constraints=` of one function, read once when it is decorated.

    The specs are a pytree prefix of the positional arguments (`by_position`) or of the arguments by name (`by_name`);
    `everywhere` is one spec that stands for every argument.
    """

    def __init__(self, shapes=None, constraints: str | Sequence[str] = (), abstracted_axes=None, signature=None):
        if shapes is not None and abstracted_axes is not None:
            raise SpecError("sod2.jit takes shapes= or abstracted_axes=, not both: they say the same thing in two ways")
        if abstracted_axes is not None:
            shapes = jax.tree.map(_axes_spec, abstracted_axes, is_leaf=lambda x: x is None or _is_axes(x))
        self.given = shapes is not None
        self.parameters = tuple(signature.parameters.values()) if signature is not None else ()
        shapes = tuple(shapes) if isinstance(shapes, list) else shapes
        self._check_names(shapes)
        self.shapes = jax.tree.map(self._read, shapes, is_leaf=_is_spec_leaf)
        constraints = (constraints,) if isinstance(constraints, str) else constraints
        if not isinstance(constraints, Sequence) or not all(isinstance(c, str) for c in constraints):
            raise SpecError(f"constraints= must be a string such as 's <= 512', or several in a list, got {constraints!r}")
        self.constraints: tuple[tuple[str, Cond], ...] = tuple((c, cond) for c in constraints for cond in parse_constraint(c))
        if constraints and not self.given:
            raise SpecError(f"constraints= has {constraints[0]!r}, but without shapes= there are no symbols to constrain")
        specs = [s for s in jax.tree.leaves(self.shapes, is_leaf=_is_spec_leaf) if s is not None]
        self._check_solvable(specs)
        self._check_possible([d for s in specs for d in s.dims if d is not None])

    def _check_names(self, shapes) -> None:
        names = [p.name for p in self.parameters]
        if not isinstance(shapes, Mapping) or not names or any(p.kind == p.VAR_KEYWORD for p in self.parameters):
            return
        if unknown := [name for name in shapes if name not in names]:
            raise SpecError(
                f"shapes= names {unknown[0]!r}, but the function has no such parameter; its parameters are {', '.join(names)}"
            )

    @staticmethod
    def _read(spec):
        if spec is None or isinstance(spec, ShapeSpec):
            return spec
        if isinstance(spec, str):
            return parse_shape(spec)
        raise SpecError(f"shapes= must hold None and strings such as 'b, s, 64', got {spec!r} of type {type(spec).__name__}")

    def _check_solvable(self, specs: Sequence[ShapeSpec]) -> None:
        dims = [d for s in specs for d in s.dims if d is not None]
        solved = {n for d in dims if (n := _linear_symbol(d)) is not None}
        for text, free in [(s.text, s.free) for s in specs] + [(t, c.lhs.free | c.rhs.free) for t, c in self.constraints]:
            if unsolved := sorted(free - solved):
                names = sorted(frozenset().union(*(d.free for d in dims)))
                if unsolved[0] not in names:
                    raise SpecError(f"constraints= has {text!r}, but shapes= has no {unsolved[0]!r}; its symbols are {names}")
                raise SpecError(
                    f"symbol {unsolved[0]!r} in {text!r} cannot be found from the sizes of the arguments: one dim must hold it "
                    f"alone and linearly, such as '{unsolved[0]}' or '2*{unsolved[0]} + 1'"
                )

    def _check_possible(self, dims: Sequence[Expr]) -> None:
        """SpecError, with the fewest constraints that cannot all hold, where no sizes at all fulfil the contract."""

        def impossible(constraints):
            names = sorted(frozenset().union(*(d.free for d in dims)))
            facts = [Cond(const(0), "<=", d) for d in dims if d.free]
            return contradictory(Box(dict.fromkeys(names, (0, None)), [*facts, *(cond for _, cond in constraints)]))

        if not self.constraints or not impossible(self.constraints):
            return
        core = list(self.constraints)
        for one in self.constraints:
            rest = [other for other in core if other is not one]
            core = rest if impossible(rest) else core
        texts = ", ".join(dict.fromkeys(repr(text) for text, _ in core))
        raise SpecError(f"constraints= cannot be met: no sizes (from 0) fulfil {texts}" + " together" * (len(core) > 1))

    def leaf_specs(self, args: tuple, kwargs: Mapping[str, Any], paths: Sequence[str] = ()) -> list[ShapeSpec | None]:
        """One spec per leaf of `(args, kwargs)`; static arguments must already be taken out (their place holds None)."""
        if self.shapes is None or isinstance(self.shapes, ShapeSpec):
            return [self.shapes] * len(jax.tree.leaves((args, kwargs)))
        by_position, by_name = self._split_shapes(len(args))
        out: list[ShapeSpec | None] = []
        for i, arg in enumerate(args):
            out.extend(self._broadcast(by_position.get(i), arg, self._name(i)))
        for name in sorted(kwargs):
            out.extend(self._broadcast(by_name.get(name), kwargs[name], name))
        return out

    def _split_shapes(self, n: int) -> tuple[dict[int, Any], dict[str, Any]]:
        names = [p.name for p in self.parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if isinstance(self.shapes, Mapping):
            by_name = dict(self.shapes)
            return {i: by_name[name] for i, name in enumerate(names) if name in by_name}, by_name
        variadic = any(p.kind == p.VAR_POSITIONAL for p in self.parameters)
        limit = len(names) if self.parameters and not variadic else max(n, len(self.shapes))
        if len(self.shapes) > limit:
            raise SpecError(f"shapes= has {len(self.shapes)} entries, but the function takes {limit} positional arguments")
        by_position = dict(enumerate(self.shapes))
        return by_position, {name: by_position[i] for i, name in enumerate(names) if i in by_position}

    def _name(self, i: int) -> str:
        return self.parameters[i].name if i < len(self.parameters) else f"args[{i}]"

    def _broadcast(self, prefix, arg, name: str) -> list[ShapeSpec | None]:
        try:
            return compat.broadcast_prefix(prefix, arg, is_leaf=_is_spec_leaf)
        except ValueError as err:
            raise ShapeError(f"the entry of shapes= for argument {name!r} is no pytree prefix of the argument: {err}") from None

    # -- a call against the contract

    def solve(self, fun_name: str, specs: Sequence[ShapeSpec | None], leaves: Sequence[Leaf]) -> dict[str, int]:
        """The value of every symbol; ShapeError names path, axis, rule and value of the first thing that does not fit."""
        for spec, leaf in zip(specs, leaves, strict=True):
            if spec is not None:
                check_rank_and_dtype(fun_name, spec, leaf)
        wanted = [s.over(len(x.shape)) if s else (None,) * len(x.shape) for s, x in zip(specs, leaves, strict=True)]
        env: dict[str, int] = {}
        source: dict[str, str] = {}
        for d in symbol_defs(wanted):
            leaf = leaves[d.input]
            env[d.name], left = divmod(leaf.shape[d.axis] - d.offset, d.scale)
            source[d.name] = f"axis {d.axis} of argument {leaf.path!r}"
            if left or env[d.name] < 0:
                raise ShapeError(
                    f"{fun_name}: argument {leaf.path!r} ({leaf}), axis {d.axis}: shapes= has {specs[d.input].text!r}, and no "
                    f"integer {d.name} >= 0 makes {wanted[d.input][d.axis]} equal to {leaf.shape[d.axis]}"
                )
        for spec, leaf, dims in zip(specs, leaves, wanted, strict=True):
            for axis, (dim, size) in enumerate(zip(dims, leaf.shape, strict=True)):
                if dim is not None:
                    _check_size(f"{fun_name}: argument {leaf.path!r} ({leaf}), axis {axis}", spec, dim, size, env, source)
        for text, cond in self.constraints:
            free = sorted(cond.lhs.free | cond.rhs.free)
            if all(n in env for n in free) and not holds(cond, env):
                values = ", ".join(f"{n} = {env[n]} ({source[n]})" for n in free)
                raise ShapeError(f"{fun_name}: the sizes of this call break the constraint {text!r}: {values}")
        return env

    def guards(self, symbols: frozenset[str]) -> tuple[Guard, ...]:
        """The constraints over these symbols as guards of a Program, in the user's words."""
        return tuple(contract_guard(text, cond) for text, cond in self.constraints if (cond.lhs.free | cond.rhs.free) <= symbols)


def contract_guard(text: str, cond: Cond) -> Guard:
    return Guard(cond, "contract", f"the constraint {text!r} is broken: {{lhs}} {cond.op} {{rhs}} does not hold")


@dataclass(frozen=True)
class Leaf:
    """One array argument: its path as users write it, its dtype and sizes (ints in a call, Exprs in a trace)."""

    path: str
    dtype: np.dtype
    shape: tuple
    weak_type: bool = False
    used: bool = True  # by an eqn or as an output; an unused one still gives sizes
    donated: bool = False

    def __str__(self):
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    @property
    def stored(self) -> Leaf:
        """The array as it lies in memory: of typed keys, their words."""
        words = compat.element_shape(self.dtype)
        return self if words is None else replace(self, dtype=np.dtype(np.uint32), shape=(*self.shape, *words))


def check_rank_and_dtype(fun_name: str, spec: ShapeSpec, leaf: Leaf) -> None:
    where = f"{fun_name}: argument {leaf.path!r} ({leaf})"
    rank = len(leaf.shape)
    if spec.over(rank) is None:
        wanted = f"rank {len(spec.dims)}" if spec.rest is None else f"at least rank {len(spec.dims)}"
        raise ShapeError(f"{where} has rank {rank}, but shapes= has {spec.text!r}, which wants {wanted}")
    if spec.dtype is not None and (wanted := compat.canonical_dtype(spec.dtype)) != leaf.dtype:
        raise ShapeError(f"{where} has dtype {leaf.dtype.name}, but shapes= has {spec.text!r}, which wants {wanted.name}")


def _check_size(where: str, spec: ShapeSpec, dim: Expr, size: int, env: Mapping[str, int], source: Mapping[str, str]) -> None:
    if missing := sorted(dim.free - env.keys()):
        raise ShapeError(f"{where}: no argument of this call gives the size {missing[0]!r} of {spec.text!r}")
    if (wanted := dim.eval(env)) != size:
        rule = f"{dim} = {wanted}" if dim.free else f"{wanted}"
        values = ", ".join(f"{n} = {env[n]} from {source[n]}" for n in sorted(dim.free))
        message = f"{where}: shapes= has {spec.text!r}, which wants size {rule} here, got {size}"
        raise ShapeError(message + (f" ({values})" if values else ""))


def _linear_symbol(dim: Expr) -> str | None:
    """The symbol that a dim `scale*symbol + offset` (scale > 0) can be solved for."""
    if len(dim.free) != 1:
        return None
    (name,) = dim.free
    affine = dim.linear((name,))
    return name if affine is not None and affine[0][name].value is not None and affine[0][name].value > 0 else None


def symbol_defs(shapes: Sequence[Sequence[Expr | None]]) -> tuple[SymbolDef, ...]:
    """For each symbol that some axis holds alone and linearly, the axis to solve it from; a plain `symbol` before `2*symbol`."""
    best: dict[str, SymbolDef] = {}
    for i, shape in enumerate(shapes):
        for axis, dim in enumerate(shape):
            if dim is None or (name := _linear_symbol(dim)) is None:
                continue
            coefficients, rest = dim.linear((name,))
            new = SymbolDef(name, i, axis, coefficients[name].value, rest.value)
            old = best.get(name)
            if old is None or (abs(new.scale), abs(new.offset)) < (abs(old.scale), abs(old.offset)):
                best[name] = new
    return tuple(best[n] for n in sorted(best))
