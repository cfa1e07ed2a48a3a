"""Integer expressions: what sizes, offsets, trip counts and byte counts are made of.

* `sym`, `const`, `as_expr` make them; `+ - * // %`, `minimum`, `maximum`, `ceildiv` combine them, with ints too. `ir.polynomial`
  keeps them in normal form: equal expressions are one object.
* `e.value` is the int if it is one; `e.free` its symbols; `e.subs`, `e.eval`, `e.linear` do what they say.
* `str(e)` is Python, and `parse` reads it back. `postfix(e)` is stack code for the runtime, `to_sympy(e)` is for people.
"""

from __future__ import annotations

import ast
import operator

from sod2jax.ir.polynomial import (
    FLOORDIV,
    FUNCTIONS,
    MAX,
    MIN,
    MOD,
    SYM,
    Atom,
    Expr,
    Monomial,
    as_expr,
    ceildiv,
    const,
    exact_quotient,
    floordiv,
    map_atoms,
    maximum,
    minimum,
    mod,
    rebuild,
    sym,
)

__all__ = [
    "FLOORDIV",
    "MAX",
    "MIN",
    "MOD",
    "SYM",
    "Atom",
    "Expr",
    "Monomial",
    "as_expr",
    "ceildiv",
    "const",
    "exact_quotient",
    "floordiv",
    "from_ast",
    "map_atoms",
    "maximum",
    "minimum",
    "mod",
    "parse",
    "postfix",
    "rebuild",
    "sym",
    "to_sympy",
]


def parse(text: str) -> Expr:
    """Read what `str` wrote, or a user: Python's + - * // % ** and min, max, floordiv, mod, ceildiv over names and integers."""
    try:
        return from_ast(syntax_tree(text))
    except (ValueError, TypeError) as err:
        raise ValueError(f"cannot read {text!r} as a size: {err}") from None


def syntax_tree(text: str) -> ast.expr:
    """Of a Python expression; ValueError says from where on it is none."""
    text = text.strip()
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as err:
        rest = text[max((err.offset or 1) - 1, 0) :]
        raise ValueError(f"it is no expression from {rest!r} on" if rest else "it ends too early") from None


_BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: floordiv, ast.Mod: mod}


def from_ast(node: ast.expr) -> Expr:
    """The expression of a Python expression's syntax tree; ValueError for what is not one of ours."""
    match node:
        case ast.Constant(value=int() as n) if not isinstance(n, bool):
            return const(n)
        case ast.Name(id=name):
            return sym(name)
        case ast.UnaryOp(op=ast.USub(), operand=x):
            return -from_ast(x)
        case ast.UnaryOp(op=ast.UAdd(), operand=x):
            return from_ast(x)
        case ast.BinOp(op=ast.Pow(), left=x, right=ast.Constant(value=int() as n)) if 0 <= n <= 1000:
            return from_ast(x) ** n
        case ast.BinOp(op=op, left=x, right=y) if type(op) in _BINARY:
            return _BINARY[type(op)](from_ast(x), from_ast(y))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*map(from_ast, args))
    raise ValueError(f"{ast.unparse(node)!r} is not an integer, a name, one of + - * // % ** or a call of {', '.join(FUNCTIONS)}")


def postfix(e: Expr) -> list[tuple[str, int | str | None]]:
    """Stack code: ("CONST", n) ("SYM", name) ("ADD", None) ("SUB"|"MUL"|"FLOORDIV"|"MOD"|"MIN"|"MAX", None)."""
    code: list[tuple[str, int | str | None]] = []
    names = {FLOORDIV: "FLOORDIV", MOD: "MOD", MIN: "MIN", MAX: "MAX"}

    def push(e: Expr):
        if not e.terms:
            code.append(("CONST", 0))
        for i, (m, c) in enumerate(e.terms):
            sub = i > 0 and c < 0
            c = -c if sub else c
            started = c != 1 or not m
            if started:
                code.append(("CONST", c))
            for a in m:
                if a.kind == SYM:
                    code.append(("SYM", a.name))
                else:
                    push(a.args[0])
                    for x in a.args[1:]:
                        push(x)
                        code.append((names[a.kind], None))
                if started:
                    code.append(("MUL", None))
                started = True
            if i:
                code.append(("SUB" if sub else "ADD", None))

    push(e)
    return code


def to_sympy(e: Expr):
    """The same as a sympy expression over integer symbols: for people, and for solving."""
    import sympy  # slow to import, and off every hot path

    make = {
        FLOORDIV: lambda a, b: sympy.floor(a / b),
        MOD: sympy.Mod,
        MIN: sympy.Min,
        MAX: sympy.Max,
    }

    def atom(a: Atom):
        return sympy.Symbol(a.name, integer=True) if a.kind == SYM else make[a.kind](*map(to_sympy, a.args))

    return sympy.Add(*(sympy.Mul(c, *map(atom, m)) for m, c in e.terms))
