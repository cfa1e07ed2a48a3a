"""How much a kernel does: scalar operations over all of its iterations. It decides how many threads are worth waking."""

from __future__ import annotations

from sod2jax.ir.expr import Expr, ceildiv, const
from sod2jax.ir.loops import For, If, Kernel, Let, Load, Op, Store, Update, While

LIGHT = 1
HEAVY = {
    "exp": 10, "exp2": 10, "expm1": 14, "log": 12, "log1p": 14, "tanh": 14, "logistic": 14, "erf": 18, "erfc": 24, "sqrt": 4,
    "rsqrt": 5, "cbrt": 16, "sin": 20, "cos": 20, "tan": 24, "pow": 30, "atan2": 24, "div": 4, "rem": 8,
}  # fmt: skip
ALIGN = 64  # bytes; locals start on cache lines


def work_of(kernel: Kernel) -> Expr:
    """The whole kernel's scalar operations, in units of about a cycle; inner extents that depend on outer loops count as at 0.

    Contractions know their own (`Contraction.flops`).
    """
    inner = {kernel.var: 0}

    def value(v) -> int:
        match v:
            case Op(name, args):
                return HEAVY.get(name, LIGHT) + sum(map(value, args))
            case Load():
                return LIGHT
        return 0

    def total(stmts, times: Expr) -> Expr:
        work = const(0)
        for s in stmts:
            match s:
                case For(var, extent, body, _):
                    inner[var] = 0
                    trips = extent.subs(inner)
                    work = work + total(body, times * trips)
                case If(_, body) | While(body, _, _):
                    work = work + total(body, times)
                case Let(name, v):
                    inner[name] = 0
                    work = work + times * value(v)
                case Update(_, v):
                    work = work + times * value(v)
                case Store(_, _, v, _):
                    work = work + times * (LIGHT + value(v))
        return work

    return total(kernel.body, kernel.extent)


def scratch_of(kernel: Kernel) -> Expr:
    """Bytes of the kernel's locals, laid out one after another on cache lines."""
    total = const(0)
    for local in kernel.locals:
        total = total + ceildiv(local.extent * local.dtype.itemsize, const(ALIGN)) * ALIGN
    return total
