"""Texts of kernels and Programs."""

import numpy as np

from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer, Const, For, Gemm, If, Index, Init, Kernel, Let, Load, Local, Op, Ref, Store, Update
from sod2jax.ir.program import Branch, Cond, Guard, Host, HostCall, Input, Loop, Output, Program, Slot, Step, SymbolDef
from sod2jax.ir.text import dtype_text, kernel_text, program_text

F32, I32, BOOL = map(np.dtype, (np.float32, np.int32, bool))
i, v, n = sym("i"), sym("v"), sym("n")


def kernel():
    x = Load("x", i * n + v, F32, Op("lt", (Index(v, I32), Const(3, I32)), BOOL))
    body = (
        Let("k", Op("convert", (x,), I32)),
        Init("a", "max", F32),
        For("v", n, (Update("a", Op("select", (Const(True, BOOL), x, Const(0.5, F32)), F32)),), "vector"),
        If(Op("eq", (Ref("k", I32), Const(0, I32)), BOOL), (Store("y", i, Op("tanh", (Ref("a", F32),), F32)),)),
        Gemm("t", const(0), const(8), "x", const(0), n, const(1), None, const(1), "x", const(0), n, const(8), n, const(0), F32),
    )
    return Kernel("demo", (Buffer("x", F32, "r"), Buffer("y", F32, "w", "x")), ("n",), (Local("t", F32, n),), "i", n, body)


def test_kernel():
    assert kernel_text(kernel()).splitlines() == [
        "kernel demo(x: f32 r, y: f32 w in place of x; n):",
        "  local t: f32[n]",
        "  parallel for i in range(n):",
        "    k = i32(x[i*n + v] where (i32[v] < i32(3)))",
        "    a: max of f32",
        "    for v in range(n):  # vector",
        "      a <- (x[i*n + v] where (i32[v] < i32(3)) if True else f32(0.5))",
        "    if (k == i32(0)):",
        "      y[i] = tanh(a)",
        "    gemm t[0; 8] <- x[0; n, 1] * x[0], rows=n, columns=8, k=n, batch=1, accumulate=0",
    ]


def test_program():
    slots = (
        Slot("input", 0, F32, (n,), 4 * n),
        Slot("arena", 0, F32, (n,), 4 * n, offset=const(0), first=0, last=0, name="t"),
        Slot("output", 0, F32, (n,), 4 * n),
    )
    program = Program(
        "f", (SymbolDef("n", 0, 0),), (Input("x", F32, (n,)),), (Output(F32, (n,), 2),), slots,
        (Step(0, (0, 2), (n,), n, n * n, 4 * n, source="tanh"),), (kernel(),),
        (Guard(Cond(n, "<=", const(512)), "contract", "n <= 512"),), arena=4 * n, bounds={"n": (0, 512)},
    )  # fmt: skip
    assert program_text(program).splitlines() == [
        "program f",
        "symbol n = size of axis 0 of x, 0 <= n <= 512",
        "guard contract: n <= 512  # n <= 512",
        "input 0: x: f32[n]",
        "output 0: f32[n] in s2",
        "slots:",
        "  s0: f32[n] input 0, 4*n bytes",
        "  s1: f32[n] arena at 0, 4*n bytes, live 0..0  # t",
        "  s2: f32[n] output 0, 4*n bytes",
        "steps:",
        "  0: demo(x=s0, y=s2; n=n) x n, work n**2, scratch 4*n  # tanh",
        "arena: 4*n bytes",
    ]


def test_nested_steps():
    slot = lambda kind, dtype, shape=(): Slot(kind, 0, np.dtype(dtype), shape, const(8))
    step = lambda source: Step(0, (0, 2), (n,), n, n, const(0), source=source)
    slots = (slot("input", "f4", (n,)), slot("arena", "i8"), slot("output", "f4", (n,)), slot("arena", bool), slot("arena", "i4"))
    steps = (
        Loop((step("a"), Branch(4, ((step("b"),), (), (step("c"),)), "cond")), n, 1, (), None, ((0, 2),), "scan"),
        Loop((HostCall(0, (0, 1), (2,), "solve"),), None, None, (step("d"),), 3, (), "while"),
    )
    hosts = (Host("cholesky", print),)
    program = Program("f", (), (), (), slots, steps, (kernel(),), hosts=hosts)
    lines = program_text(program).splitlines()
    call = "demo(x=s0, y=s2; n=n) x n, work n, scratch 0"
    assert lines[lines.index("steps:") + 1 : -1] == [
        "  0: loop x n, counter s1, s0 <-> s2  # scan",
        "    body:",
        f"      1: {call}  # a",
        "      2: branch of 3 by s4  # cond",
        "        case 0:",
        f"          3: {call}  # b",
        "        case 1:",
        "        case 2:",
        f"          4: {call}  # c",
        "  5: loop, while s3  # while",
        "    condition:",
        f"      6: {call}  # d",
        "    body:",
        "      7: s2 = host call cholesky (library)(s0, s1)  # solve",
    ]


def test_dtypes():
    assert [dtype_text(d) for d in (np.int8, np.uint64, np.float16, bool, np.complex64)] == ["i8", "u64", "f16", "bool", "c64"]
