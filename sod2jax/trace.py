"""Tracing: from a Python function and symbolic argument shapes to `Traced`, a jaxpr whose shapes hold Dims.

* Each leaf's shape is a tuple of Exprs over symbols; a Scope turns them into Dims, which carry the sizes of the call at hand as
  hints, and the constraints as facts.
* JAX traces the function as it always does (`jax.jit(fun).trace`), on a fresh wrapper: a cached trace would leave no guards.
* If the trace fails, `retrace` does it once more with more known of the sizes, where sizes were at fault.
* What Python code asked of the sizes comes back as guards of kind "version"; the constraints are guards of kind "contract".
* Every argument leaf stays an input, used or not, since its sizes bind symbols and decide whether a version fits.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from sod2jax import compat, state_compat, symbolic
from sod2jax.arguments import Arguments, Call
from sod2jax.caught import noticed
from sod2jax.errors import ShapeError, SpecError, not_yet
from sod2jax.ir.dims import Dim, expr_of
from sod2jax.ir.expr import Expr, const, parse, sym
from sod2jax.ir.fixed import Fixed
from sod2jax.ir.program import Cond, Guard, SymbolDef
from sod2jax.ir.scope import Scope
from sod2jax.rebind import functions_of, redirected
from sod2jax.retrace import first_that_traces
from sod2jax.specs import Contract, Leaf, ShapeSpec, check_rank_and_dtype, contract_guard, parse_constraint, symbol_defs

symbolic.install()

Shape = tuple[Expr, ...]


@dataclass(frozen=True)
class Signature:
    """The symbolic types of one version: a shape of Exprs per leaf, and what is known of the symbols."""

    shapes: tuple[Shape, ...]
    symbols: tuple[SymbolDef, ...]
    hints: Mapping[str, int] = field(default_factory=dict)
    contract: tuple[Guard, ...] = ()  # the user's constraints over these symbols
    lower: Mapping[str, int] = field(default_factory=dict)  # bounds from below other than 0


@dataclass(frozen=True)
class Traced:
    """A function traced for symbolic shapes: what `pipeline.compile` reads.

    `closed_jaxpr.jaxpr.invars` are 1:1 with `inputs`, all dynamic leaves in JAX's order; `out_avals` are 1:1 with its outvars.
    `scope.box` knows the facts about the symbols, `hints` their values in the call at hand (empty if there was none).
    """

    name: str
    closed_jaxpr: Any
    live_jaxpr: Any  # what the outputs need of it; an input that is not `used` is in it, and nothing reads it
    scope: Scope
    inputs: tuple[Leaf, ...]
    in_tree: Any
    out_tree: Any
    symbols: tuple[SymbolDef, ...]
    hints: Mapping[str, int]
    contract: tuple[Guard, ...] = ()
    statics: tuple = ()
    x64: bool = False  # JAX's flag during the trace

    @property
    def out_avals(self):
        return tuple(self.closed_jaxpr.out_avals)

    @property
    def out_shapes(self) -> tuple[Shape, ...]:
        return tuple(tuple(map(expr_of, a.shape)) for a in self.out_avals)

    @property
    def kept(self) -> tuple[int, ...]:
        """The leaf behind each input: all of them."""
        return tuple(range(len(self.inputs)))

    @property
    def bounds(self) -> dict[str, tuple[int, int | None]]:
        box = self.scope.box
        return {d.name: (box.lower(sym(d.name)) or 0, box.upper(sym(d.name))) for d in self.symbols}

    @property
    def fixed(self) -> tuple[Fixed, ...]:
        """The sizes that became numbers, and why."""
        return tuple(self.scope.fixed)

    def guards(self) -> tuple[Guard, ...]:
        """What must hold for this trace to fit a call: the user's constraints first, then the decisions that the trace took."""
        return (*self.contract, *self.scope.minimal_guards())


def trace(
    arguments: Arguments, args: tuple, kwargs: Mapping[str, Any], call: Call, signature: Signature, precision=None
) -> Traced:
    """Traces the function once for `signature`. Of `args` and `kwargs` only the static arguments are read."""
    scope = _scope(signature, {}, "==")
    precise = jax.default_matmul_precision(precision) if precision else contextlib.nullcontext()
    with precise, state_compat.symbolic_traces, _sizes_noted(signature, call):
        jitted, scope = first_that_traces(
            scope, functools.partial(_scope, signature), lambda scope: _jax_trace(arguments, args, kwargs, call, signature, scope)
        )
    closed = jitted.jaxpr
    for value in compat.lifted_values(jitted):
        if isinstance(value, compat.Tracer):
            raise compat.escaped_tracer_error(value)
        raise not_yet(f"closing over a value of type {type(value).__name__}", remedy="Pass it as an argument.")
    live, used = compat.without_unused(closed)
    inputs = tuple(
        replace(leaf, shape=shape, used=read) for leaf, shape, read in zip(call.leaves, signature.shapes, used, strict=True)
    )
    for leaf, aval in zip(inputs, closed.in_avals, strict=True):
        assert leaf.dtype == aval.dtype, f"{leaf.path} is {leaf.dtype} and was traced as {aval.dtype}"
    return Traced(
        name=fun_name(arguments.fun),
        closed_jaxpr=closed,
        live_jaxpr=live,
        scope=scope,
        inputs=inputs,
        in_tree=call.in_tree,
        out_tree=jitted.out_tree,
        symbols=signature.symbols,
        hints=dict(signature.hints),
        contract=signature.contract,
        statics=call.statics,
        x64=jax.config.jax_enable_x64,
    )


@contextlib.contextmanager
def _sizes_noted(signature: Signature, call: Call) -> Iterator[None]:
    """Adds to errors that name symbols which sizes those are in this call."""
    try:
        yield
    except Exception as error:
        named = set(re.findall(r"\w+", str(error)))
        sizes = [
            f"{d.name} = {signature.hints[d.name]}, from axis {d.axis} of {call.leaves[d.input].path!r}"
            for d in signature.symbols
            if d.name in named and d.name in signature.hints
        ]
        if sizes:
            error.add_note("In this call " + "; ".join(sizes) + ".")
        raise


def _jax_trace(arguments: Arguments, args, kwargs, call: Call, signature: Signature, scope: Scope):
    # Avals, not ShapeDtypeStructs: those lose 64 bits without the x64 flag, which arrays that were made under it keep.
    avals = [
        compat.ShapedArray(tuple(map(scope.dim, shape)), leaf.dtype, weak_type=leaf.weak_type)
        for shape, leaf in zip(signature.shapes, call.leaves, strict=True)
    ]
    args, kwargs = arguments.with_leaves(args, kwargs, call, avals)
    jitted = jax.jit(
        _fresh(arguments.fun), static_argnums=arguments.static_argnums, static_argnames=arguments.static_argnames
    )
    functions = functions_of(arguments.fun) if signature.symbols else []
    with scope.opened(), redirected(functions), noticed(functions, scope):
        return jitted.trace(*args, **kwargs)


def _scope(signature: Signature, assumed: Mapping[Expr, int], op: str) -> Scope:
    """The scope of a signature, where each value of `assumed` is (`op`) its expression's; that is a guard of the version."""
    names = [d.name for d in signature.symbols]
    facts = [Cond(const(0), "<=", e) for shape in signature.shapes for e in shape if e.free]  # no size is negative
    facts += [g.cond for g in signature.contract]
    scope = Scope({n: (signature.lower.get(n, 0), None) for n in names}, facts, signature.hints)
    for e, value in assumed.items():
        scope._record(Cond(const(value), op, e) if op != "==" else Cond(e, op, const(value)), "needed by JAX", sys._getframe())
    return scope


def _fresh(fun: Callable) -> Callable:
    """A new function object around `fun`: JAX caches traces by function."""

    @functools.wraps(fun)
    def traced(*args, **kwargs):
        return fun(*args, **kwargs)

    return traced


def fun_name(fun: Callable) -> str:
    return getattr(fun, "__name__", None) or getattr(getattr(fun, "func", None), "__name__", None) or type(fun).__name__


# -- signatures: which dims are symbols


def contract_signature(name: str, contract: Contract, call: Call) -> Signature:
    """The signature that `shapes=` gives to a call; ShapeError if the call breaks the contract."""
    specs = contract.leaf_specs(call.args, call.kwargs)
    if any(not isinstance(d, int) for shape in call.shapes for d in shape):
        return _symbolic_signature(name, call, specs, contract)
    hints = contract.solve(name, specs, call.leaves)
    shapes = tuple(
        tuple(const(size) if dim is None else dim for dim, size in zip(_over(spec, leaf), leaf.shape, strict=True))
        for spec, leaf in zip(specs, call.leaves, strict=True)
    )
    symbols = symbol_defs(shapes)
    return Signature(shapes, symbols, hints, contract.guards(frozenset(d.name for d in symbols)))


def _over(spec: ShapeSpec | None, leaf: Leaf) -> Sequence[Expr | None]:
    return (None,) * len(leaf.shape) if spec is None else spec.over(len(leaf.shape))


def _symbolic_signature(name: str, call: Call, specs: Sequence[ShapeSpec | None], contract: Contract) -> Signature:
    """The signature of ShapeDtypeStructs with symbolic dims, read from their text. `shapes=`, if given, must say the same.

    Symbols of `jax.export.symbolic_shape` are at least 1, and bring their scope's constraints; our own (of another stage's
    `out_info`) are at least 0.
    """
    shapes = [tuple(const(d) if isinstance(d, int) else parse(str(d).replace("^", "**")) for d in x.shape) for x in call.leaves]
    for spec, leaf, shape in zip(specs, call.leaves, shapes, strict=True):
        if spec is None:
            continue
        check_rank_and_dtype(name, spec, leaf)
        for axis, (wanted, given) in enumerate(zip(_over(spec, leaf), shape, strict=True)):
            if wanted is not None and wanted != given:
                raise ShapeError(
                    f"{name}: argument {leaf.path!r}, axis {axis} is given as {given}, but shapes= has {spec.text!r}"
                )
    symbols = symbol_defs(shapes)
    names = frozenset(d.name for d in symbols)
    if unsolved := sorted(frozenset().union(*(e.free for shape in shapes for e in shape)) - names):
        raise SpecError(
            f"{name}: symbol {unsolved[0]!r} cannot be found from the sizes of the arguments: one dim must hold it alone and "
            "linearly"
        )
    foreign = {id(d.scope): d for x in call.leaves for d in x.shape if not isinstance(d, (int, Dim))}  # one of each scope
    texts = [text for d in foreign.values() for text in compat.export_constraints(d)]
    conds = [(text, cond) for text in texts for cond in parse_constraint(text) if (cond.lhs.free | cond.rhs.free) <= names]
    guards = [*contract.guards(names), *(contract_guard(text, cond) for text, cond in conds)]
    return Signature(tuple(shapes), symbols, {}, tuple(guards), dict.fromkeys(names, 1) if foreign else {})


def static_signature(name: str, call: Call, contract: Contract) -> Signature:
    """Every dim as it is: what the automatic mode compiles first."""
    return _symbolic_signature(name, call, [None] * len(call.leaves), contract)


def automatic_signature(call: Call, history: Sequence[tuple[tuple[int, ...], ...]]) -> Signature:
    """Dims that were not the same in all calls of `history` (the call at hand is its last) become symbols.

    Dims that had equal sizes in every call share one symbol: a later call that tells them apart does not fit, and splits them.
    """
    symbol_of: dict[tuple[int, ...], Expr] = {}
    shapes = []
    hints: dict[str, int] = {}
    for i, leaf in enumerate(call.leaves):
        shape = []
        for axis in range(len(leaf.shape)):
            sizes = tuple(shapes_[i][axis] for shapes_ in history)
            if len(set(sizes)) == 1:
                shape.append(const(sizes[0]))
                continue
            if sizes not in symbol_of:
                symbol = symbol_of[sizes] = sym(_symbol_name(leaf.path, axis, hints))
                hints[str(symbol)] = sizes[-1]
            shape.append(symbol_of[sizes])
        shapes.append(tuple(shape))
    return Signature(tuple(shapes), symbol_defs(shapes), hints)


def _symbol_name(path: str, axis: int, taken: Mapping[str, int]) -> str:
    stem = re.sub(r"\W+", "_", path).strip("_") or "arg"
    name = base = f"{stem}_{axis}" if not stem[0].isdigit() else f"arg_{stem}_{axis}"
    n = 1
    while name in taken:
        n += 1
        name = f"{base}_{n}"
    return name
