"""Readable texts of the loop IR and of Programs: one statement per line, infix arithmetic, dtypes where they are not obvious."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sod2jax.ir import loops as ir
from sod2jax.ir.program import AnyStep, Branch, Host, HostCall, Loop, Program, Slot, Step, blocks, walk

INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "and": "&", "or": "|", "xor": "^",
}  # fmt: skip
SHORT = {"float": "f", "int": "i", "uint": "u", "bfloat": "bf", "complex": "c"}


def dtype_text(dtype) -> str:
    """f32, bf16, i8, bool: as JAX prints them."""
    name = np.dtype(dtype).name
    stem = name.rstrip("0123456789")
    return SHORT.get(stem, stem) + name[len(stem) :]


def value_text(v: ir.Value) -> str:
    match v:
        case ir.Const():
            return f"{v.value}" if np.dtype(v.dtype).kind == "b" else f"{dtype_text(v.dtype)}({v.value})"
        case ir.Index():
            return f"{dtype_text(v.dtype)}[{v.expr}]"
        case ir.Load():
            return f"{v.buffer}[{v.offset}]" + (f" where {value_text(v.where)}" if v.where is not None else "")
        case ir.Ref():
            return v.name
        case ir.Op(name="select", args=(cond, yes, no)):
            return f"({value_text(yes)} if {value_text(cond)} else {value_text(no)})"
        case ir.Op(name="convert", args=(x,)):
            return f"{dtype_text(v.dtype)}({value_text(x)})"
        case ir.Op(args=(a, b)) if v.name in INFIX:
            return f"({value_text(a)} {INFIX[v.name]} {value_text(b)})"
        case ir.Op():
            return f"{v.name}({', '.join(map(value_text, v.args))})"
    raise TypeError(f"{v!r} is not a value of the loop IR")


def _lines(stmts, indent: str):
    for s in stmts:
        match s:
            case ir.For():
                kind = "" if s.kind == "serial" else f"  # {s.kind}"
                yield f"{indent}for {s.var} in range({s.extent}):{kind}"
                yield from _lines(s.body, indent + "  ")
            case ir.If():
                yield f"{indent}if {value_text(s.cond)}:"
                yield from _lines(s.body, indent + "  ")
            case ir.While():
                yield f"{indent}repeat at most {s.limit} times:"
                yield from _lines(s.body, indent + "  ")
                yield f"{indent}while {value_text(s.cond)}"
            case ir.Let():
                yield f"{indent}{s.name} = {value_text(s.value)}"
            case ir.Init():
                yield f"{indent}{s.name}: {s.op} of {dtype_text(s.dtype)}"
            case ir.Update():
                yield f"{indent}{s.name} <- {value_text(s.value)}"
            case ir.Store():
                where = f" where {value_text(s.where)}" if s.where is not None else ""
                yield f"{indent}{s.buffer}[{s.offset}] = {value_text(s.value)}{where}"
            case ir.Gemm():
                offsets = f", offsets={s.offsets}" if s.offsets else ""
                yield (
                    f"{indent}gemm {s.c}[{s.c_offset}; {s.ldc}] <- {s.a}[{s.a_offset}; {s.a_row}, {s.a_col}] * "
                    f"{s.b}[{s.b_offset}], rows={s.rows}, columns={s.columns}, "
                    f"k={s.k}, batch={s.batch}, accumulate={s.accumulate}{offsets}"
                )


def kernel_text(k: ir.Kernel) -> str:
    """A kernel as an indented listing."""
    over = lambda b: f" in place of {', '.join(b.inplace)}" if b.inplace else ""
    buffers = ", ".join(f"{b.name}: {dtype_text(b.dtype)} {b.access}{over(b)}" for b in k.buffers)
    lines = [f"kernel {k.name}({buffers}; {', '.join(k.sizes)}):"]
    lines += [f"  local {x.name}: {dtype_text(x.dtype)}[{x.extent}]" for x in k.locals]
    lines.append(f"  parallel for {k.var} in range({k.extent}):")
    return "\n".join([*lines, *_lines(k.body, "    ")])


def shape_text(dtype, shape) -> str:
    return f"{dtype_text(dtype)}[{', '.join(map(str, shape))}]"


def _slot(i: int, s: Slot) -> str:
    place = f" at {s.offset}" if s.offset is not None else ""
    live = f", live {s.first}..{s.last}" if s.kind == "arena" else ""
    name = f"  # {s.name}" if s.name else ""
    index = "" if s.kind == "arena" else f" {s.index}"
    return f"  s{i}: {shape_text(s.dtype, s.shape)} {s.kind}{index}{place}, {s.nbytes} bytes{live}{name}"


def _steps(steps: Sequence[AnyStep], program: Program, at: int, indent: str) -> Iterator[str]:
    """Lines of steps from position `at` on; what a step holds is indented."""
    for s in steps:
        source = f"  # {s.source}" if s.source else ""
        yield f"{indent}{at}: {_step(s, program)}{source}"
        at += 1
        titles = [f"case {k}" for k in range(len(blocks(s)))] if isinstance(s, Branch) else ["condition", "body"]
        for title, block in zip(titles, blocks(s), strict=False):
            if block or isinstance(s, Branch):
                yield f"{indent}  {title}:"
                yield from _steps(block, program, at, indent + "    ")
                at += sum(1 for _ in walk(block))


def _step(s: AnyStep, program: Program) -> str:
    match s:
        case Step():
            k = program.kernels[s.kernel]
            arguments = ", ".join(f"{b.name}=s{slot}" for b, slot in zip(k.buffers, s.slots))
            sizes = ", ".join(f"{name}={e}" for name, e in zip(k.sizes, s.sizes))
            prepare = f"  prepare {list(s.prepare)}" if s.prepare else ""
            return f"{k.name}({arguments}; {sizes}) x {s.extent}, work {s.work}, scratch {s.scratch}{prepare}"
        case HostCall():
            reads, writes = (", ".join(f"s{n}" for n in slots) for slots in (s.reads, s.writes))
            return f"{writes} = host call {host_text(program.hosts[s.host])}({reads})"
        case Branch():
            return f"branch of {len(s.branches)} by s{s.index}"
        case Loop():
            rest = [f"while s{s.pred}"] if s.pred is not None else []
            rest += [f"counter s{s.counter}"] if s.counter is not None else []
            rest += [f"s{a} <-> s{b}" for a, b in s.swaps]
            rest += [f"fills s{n}" for n in s.fresh]
            return ", ".join([f"loop x {s.length}" if s.length is not None else "loop", *rest])
    raise TypeError(f"{s!r} is no step of a Program")


def host_text(host: Host) -> str:
    return f"{host.name} ({host.kind}{': ' * bool(host.note)}{host.note})"


def island_texts(program: Program) -> list[str]:
    """What XLA computes in a Program, and why."""
    return [f"{host.name}, {host.note}" for host in program.hosts if host.kind == "island"]


def program_text(p: Program) -> str:
    """A Program as a listing: symbols, guards, slots and steps."""
    lines = [f"program {p.name}"]
    for s in p.symbols:
        lo, hi = p.bounds.get(s.name, (0, None))
        size = f"size of axis {s.axis} of {p.inputs[s.input].path}"
        solved = f"({size} - {s.offset})" if s.offset else size
        solved += f" / {s.scale}" if s.scale != 1 else ""
        lines.append(f"symbol {s.name} = {solved}, {lo} <= {s.name}" + (f" <= {hi}" if hi is not None else ""))
    lines += [f"guard {g.kind}: {g.cond}" + (f"  # {g.message} {g.where}".rstrip() if g.message else "") for g in p.guards]
    lines += [f"input {i}: {x.path}: {shape_text(x.dtype, x.shape)}" for i, x in enumerate(p.inputs)]
    lines += [
        f"output {i}: {shape_text(x.dtype, x.shape)}"
        + (f" = input {x.forward}" if x.forward is not None else f" in s{x.slot}")
        + (f", over input {x.donor} if that is donated" if x.donor is not None else "")
        for i, x in enumerate(p.outputs)
    ]
    lines += [f"constant {i}: {shape_text(x.dtype, x.shape)}" for i, x in enumerate(p.constants)]
    lines += ["slots:", *(_slot(i, s) for i, s in enumerate(p.slots))]
    lines += ["steps:", *_steps(p.steps, p, 0, "  ")]
    lines.append(f"arena: {p.arena if p.arena is not None else 0} bytes")
    return "\n".join(lines)
