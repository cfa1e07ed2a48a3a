"""Text to object code: messages, and workers that share nothing."""

import pytest

from sod2jax.lowering import codegen, targets

HOST = targets.host()


def text(k):
    return f"define i64 @f{k}(i64 %x) {{\n  %y = add i64 %x, {k}\n  ret i64 %y\n}}\n"


def test_workers_give_what_one_thread_gives():
    alone = [codegen.object_code(text(k), HOST) for k in range(12)]
    with codegen.Workers() as workers:
        futures = [workers.submit(text(k), HOST) for k in range(12)]
    assert [f.result() for f in futures] == alone


def test_llvm_says_what_is_wrong_with_a_text():
    with pytest.raises(RuntimeError, match="expected instruction opcode"):
        codegen.object_code("define void @f() {\n  nonsense\n}", HOST)
    assert codegen.object_code(text(1), HOST)[:4] == b"\x7fELF" or not HOST.triple.endswith("linux-gnu")
