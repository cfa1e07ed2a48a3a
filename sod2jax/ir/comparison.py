"""Comparisons of sizes in their simplest form, and with numbers that are no ints."""

from __future__ import annotations

import math

import numpy as np

from sod2jax.ir.expr import MOD, Expr, const, exact_quotient
from sod2jax.ir.program import Cond

_NEGATION = {"==": "!=", "!=": "==", "<=": "<", "<": "<="}  # of the last two, with the sides exchanged


def negation(cond: Cond) -> Cond:
    op = _NEGATION[cond.op]
    return Cond(cond.lhs, op, cond.rhs) if op in ("==", "!=") else Cond(cond.rhs, op, cond.lhs)


def reduced(cond: Cond) -> Cond:
    """`cond` without a common factor: "n % 2 == 0" for "-2*(n % 2) == 0"."""
    k = math.gcd(*(c for _, c in cond.lhs.terms + cond.rhs.terms))
    if k == 0:
        return cond
    if cond.op in ("==", "!=") and not cond.rhs.terms and cond.lhs.terms[0][1] < 0:
        k = -k
    return cond if k == 1 else Cond(exact_quotient(cond.lhs, const(k)), cond.op, exact_quotient(cond.rhs, const(k)))


def is_remainder(e: Expr) -> bool:
    """Whether "is it 0?" asks for divisibility, which JAX demands of a reshape, rather than for emptiness."""
    return any(a.kind == MOD for a in e.atoms)


def is_bound(cond: Cond) -> bool:
    """Whether a condition is worth knowing: that two formulas differ tells next to nothing, and costs every later question."""
    return cond.op != "!=" or (cond.rhs.value is not None and all(not a.args for a in cond.lhs.atoms))


def by_integer(op: str, b) -> bool | tuple[str, int]:
    """The comparison of any size with a number that is no int: its answer, or the comparison with an int that says the same."""
    if isinstance(b, (complex, np.complexfloating)):
        if op != "==":
            raise TypeError(f"a size cannot be compared by {op} with the complex number {b}")
        if b.imag != 0:
            return False
        b = b.real
    if b != b:
        return False
    if abs(b) >= 2**63:  # no size is as large
        return op != "==" and (op in ("<", "<=")) == (b > 0)
    below = math.floor(b)
    if op == "==":
        return False if b != below else (op, below)
    if b == below:
        return op, below
    return ("<=" if op in ("<", "<=") else ">"), below
