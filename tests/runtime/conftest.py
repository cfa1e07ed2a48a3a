"""Programs written by hand, over kernels written in LLVM IR: the runtime's tests need neither plan nor lowering."""

from __future__ import annotations

from types import SimpleNamespace

import llvmlite.binding as llvm
import numpy as np
import pytest

from sod2jax import binding
from sod2jax.ir import program as ir
from sod2jax.ir.expr import const, sym

F32 = np.dtype("float32")
# b[1][i] = b[0][i] + sizes[0], for f32
ADD = """
define void @add(ptr %buffers, ptr %sizes, i64 %begin, i64 %end, ptr %scratch) {
entry:
  %x = load ptr, ptr %buffers
  %slot = getelementptr ptr, ptr %buffers, i64 1
  %y = load ptr, ptr %slot
  %size = load i64, ptr %sizes
  %c = sitofp i64 %size to float
  br label %head
head:
  %i = phi i64 [%begin, %entry], [%next, %body]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %body, label %exit
body:
  %from = getelementptr float, ptr %x, i64 %i
  %value = load float, ptr %from
  %sum = fadd float %value, %c
  %to = getelementptr float, ptr %y, i64 %i
  store float %sum, ptr %to
  %next = add i64 %i, 1
  br label %head
exit:
  ret void
}
"""


@pytest.fixture(scope="session")
def code():
    """The address of the kernel `add`, and the engine that keeps it alive."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(ADD), machine)
    engine.finalize_object()
    return SimpleNamespace(add=engine.get_function_address("add"), engine=engine)


def add_program(plus: int = 1, inputs: int = 1, guards=(), bounds=None, donor: int | None = None) -> ir.Program:
    """`x + plus` for f32[n, m]; further inputs `w0`, `w1`, ... of f32[8] are not read."""
    n, m = sym("n"), sym("m")
    nbytes = n * m * 4
    return ir.Program(
        name="add",
        symbols=(ir.SymbolDef("n", 0, 0), ir.SymbolDef("m", 0, 1)),
        inputs=(ir.Input("x", F32, (n, m)), *(ir.Input(f"w{i}", F32, (const(8),)) for i in range(inputs - 1))),
        outputs=(ir.Output(F32, (n, m), 1, donor=donor),),
        slots=(ir.Slot("input", 0, F32, (n, m), nbytes, name="x"), ir.Slot("output", 0, F32, (n, m), nbytes, name="y")),
        steps=(ir.Step(0, (0, 1), (const(plus),), n * m, n * m, const(0), source="add"),),
        kernels=(None,),
        guards=tuple(guards),
        bounds=bounds or {},
    )


def prepared_program() -> ir.Program:
    """`w + 1 + 2` for f32[k], where `w + 1` is a cached buffer prepared from the input."""
    k = sym("k")
    return ir.Program(
        name="prepared",
        symbols=(ir.SymbolDef("k", 0, 0),),
        inputs=(ir.Input("w", F32, (k,)),),
        outputs=(ir.Output(F32, (k,), 2),),
        slots=(
            ir.Slot("input", 0, F32, (k,), 4 * k),
            ir.Slot("cached", 0, F32, (k,), 4 * k, name="packed"),
            ir.Slot("output", 0, F32, (k,), 4 * k),
        ),
        steps=(
            ir.Step(0, (0, 1), (const(1),), k, k, const(0), prepare=(0,), source="pack"),
            ir.Step(0, (1, 2), (const(2),), k, k, const(0), source="use"),
        ),
        kernels=(None,),
    )


@pytest.fixture
def make(code):
    """`make(inputs=..., guards=...)`: a loaded `add_program`; `make.prepared()`: a loaded `prepared_program`."""

    def load(**kwargs):
        return binding.load(add_program(**kwargs), [code.add], code.engine)

    load.prepared = lambda: binding.load(prepared_program(), [code.add], code.engine)
    return load
