"""Encodes a Program into the image that the C++ runtime reads.

* The image is a stream of little-endian int64 words: a header, the records in the order of `_sections`, and a table of strings.
  `runtime/src/image.h` has the same records; a change here is a change there, and a new `FORMAT`.
* Sizes are numbered values: first the symbols, then every distinct `Expr` that something names. Size code (a stack machine of the
  ops in `OPS`, two words each) computes each value once; an atom such as `s // 2` is a value, so what formulas share is shared.
* Steps lie in the order of `walk`: one that holds others says how many positions each of its lists takes, and they follow.
* Strings are byte offsets into the table, -1 for none. Texts are kept of the values that error messages quote.
* Constants, kernels and host functions are not in the image: they are passed beside it, and may differ per process.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from sod2jax.ir import expr as ir
from sod2jax.ir.expr import Expr
from sod2jax.ir.program import AnyStep, Branch, HostCall, Loop, Program, Step, blocks, walk

MAGIC = int.from_bytes(b"SOD2RT1", "little")
FORMAT = 3
NONE = -1
OPS = {name: i for i, name in enumerate(("const", "value", "+", "-", "*", "//", "%", "min", "max", "store"))}
SLOT_KINDS = {"input": 0, "output": 1, "arena": 2, "constant": 3, "cached": 4}
COMPARISONS = {"==": 0, "!=": 1, "<=": 2, "<": 3}
STEP_KINDS = {Step: 0, HostCall: 1, Branch: 2, Loop: 3}
INDEX_BYTES = {"bool": 1, "int32": 4}  # dtypes of what chooses a branch
GUARD_KINDS = {"contract": 0, "version": 1, "check": 2}
_LONGEST_TEXT = 400  # characters of a formula in an error message

# DLPack's type codes: a dtype is `code << 8 | bits`, which both sides take apart without a table.
_DLPACK_KINDS = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_DLPACK_NAMES = {
    "bfloat16": 4, "float8_e3m4": 7, "float8_e4m3": 8, "float8_e4m3b11fnuz": 9, "float8_e4m3fn": 10, "float8_e4m3fnuz": 11,
    "float8_e5m2": 12, "float8_e5m2fnuz": 13, "float8_e8m0fnu": 14,
}  # fmt: skip


def dtype_code(dtype) -> int:
    """The number of a dtype in images; TypeError for one that arrays on the CPU cannot have."""
    dtype = np.dtype(dtype)
    kind = _DLPACK_NAMES.get(dtype.name)
    if kind is None and dtype.isbuiltin == 1:
        kind = _DLPACK_KINDS.get(dtype.kind)
    if kind is None:
        remedy = (
            "; JAX packs several into a byte: pass int8 or float8, and cast inside of the function" if dtype.itemsize == 1 else ""
        )
        raise TypeError(f"arrays of dtype {dtype} cannot be handed to the runtime{remedy}")
    return kind << 8 | dtype.itemsize * 8


def encode(program: Program) -> bytes:
    """The image of `program`."""
    return _Encoder(program).image()


class _Encoder:
    def __init__(self, program: Program):
        self.program = program
        self.strings = bytearray(8)  # offset 0 is the empty string
        self.offsets: dict[str, int] = {"": 0}
        self.symbols = {s.name: i for i, s in enumerate(program.symbols)}
        self.values: dict[Expr, int] = {ir.sym(name): i for name, i in self.symbols.items()}
        self.code: list[int] = []
        self.texts: dict[int, int] = {}

    def image(self) -> bytes:
        p = self.program
        arena = self.value(p.arena, quoted=True) if p.arena is not None else NONE
        sections = [word for section in self._sections() for word in section]
        texts = [self.texts.get(i, NONE) for i in range(len(self.values))]
        self.strings += bytes(8 - len(self.strings) % 8)  # at least one zero: the last string ends
        counts = [
            *(len(p.symbols), len(p.inputs), len(p.outputs), len(p.slots), _positions(p.steps), len(p.guards), len(p.kernels)),
            *(len(p.constants), len(p.hosts), len(self.values), len(self.code) // 2, len(self.strings) // 8, arena),
        ]
        words = counts + sections + texts + self.code
        body = struct.pack(f"<{len(words)}q", *words) + self.strings
        return struct.pack("<4q", MAGIC, FORMAT, 4 + len(body) // 8, zlib.crc32(body)) + body

    def _sections(self):
        p = self.program
        for s in p.symbols:
            low, high = p.bounds.get(s.name, (0, None))
            most = 2**63 - 1 if high is None else high
            yield self.string(s.name), s.input, s.axis, s.scale, s.offset, low if low is not None else -(2**63), most
        for i in p.inputs:
            yield self.string(i.path), dtype_code(i.dtype), np.dtype(i.dtype).itemsize, *self.shape(i.shape)
        for o in p.outputs:
            place = (NONE if n is None else n for n in (o.slot, o.forward, o.donor))
            yield dtype_code(o.dtype), np.dtype(o.dtype).itemsize, *place, *self.shape(o.shape)
        for s in p.slots:
            offset = NONE if s.offset is None else self.value(s.offset)
            # A cached buffer that cannot be had is an error that quotes its formula.
            nbytes = self.value(s.nbytes, quoted=s.kind == "cached")
            yield SLOT_KINDS[s.kind], s.index, nbytes, offset, s.first, s.last, self.string(s.name)
        for s in walk(p.steps):
            yield STEP_KINDS[type(s)], self.string(s.source), *self.step(s)
        for g in p.guards:
            sides = self.value(g.cond.lhs, quoted=True), COMPARISONS[g.cond.op], self.value(g.cond.rhs, quoted=True)
            yield *sides, GUARD_KINDS[g.kind], self.string(g.message), self.string(g.where)

    def step(self, step: AnyStep) -> list[int]:
        match step:
            case Step():
                sizes = [self.value(e) for e in step.sizes]
                estimates = self.value(step.extent), self.value(step.work), self.value(step.scratch)
                return [step.kernel, *_counted(step.slots), *_counted(sizes), *estimates, *_counted(step.prepare)]
            case HostCall():
                return [step.host, *self.arrays(step.reads), *self.arrays(step.writes)]
            case Branch():
                dtype = np.dtype(self.program.slots[step.index].dtype).name
                return [step.index, INDEX_BYTES[dtype], *_counted(map(_positions, step.branches))]
            case Loop():
                length = NONE if step.length is None else self.value(step.length)
                slots = (NONE if n is None else n for n in (step.counter, step.pred))
                swaps = [n for pair in step.swaps for n in pair]
                return [length, *slots, *_counted(swaps), *_counted(map(_positions, blocks(step)))]

    def arrays(self, slots) -> list[int]:
        words = [len(slots)]
        for n in slots:
            slot = self.program.slots[n]
            words += (n, dtype_code(slot.dtype), np.dtype(slot.dtype).itemsize, *_counted(map(self.value, slot.shape)))
        return words

    def shape(self, shape) -> list[int]:
        return [len(shape), *(self.value(d, quoted=True) for d in shape)]

    def string(self, text: str) -> int:
        offset = self.offsets.get(text)
        if offset is None:
            offset = self.offsets[text] = len(self.strings)
            self.strings += text.encode().replace(b"\0", b"?") + b"\0"
        return offset

    def value(self, e: Expr | int, quoted: bool = False) -> int:
        """The number of a value; writes its code at first sight."""
        e = ir.as_expr(e)
        number = self.values.get(e)
        if number is None:
            # Not recursive in Python's sense only where formulas are shallow: a memory plan may nest thousands of min and max.
            stack = [e]
            while stack:
                top = stack[-1]
                missing = [] if top in self.values else [a for a in _arguments(top) if a not in self.values]
                if missing:
                    stack += missing
                    continue
                stack.pop()
                if top not in self.values:
                    self.polynomial(top)
            number = self.values[e]
        if quoted and number not in self.texts:
            self.texts[number] = self.string(_text(e))
        return number

    def polynomial(self, e: Expr):
        """Code of one value whose atoms' arguments are values already."""
        started = False
        for monomial, coefficient in sorted(e.terms, key=lambda term: term[1] < 0):  # a positive term first spares a negation
            subtract = started and coefficient < 0
            factor = -coefficient if subtract else coefficient
            if factor != 1 or not monomial:
                self.emit("const", factor)
            for i, atom in enumerate(monomial):
                self.atom(atom)
                if i or factor != 1:
                    self.emit("*")
            if started:
                self.emit("-" if subtract else "+")
            started = True
        if not started:
            self.emit("const", 0)
        self.values[e] = number = len(self.values)
        self.emit("store", number)

    def atom(self, atom):
        if atom.kind == ir.SYM:
            if atom.name not in self.symbols:
                raise ValueError(f"the program {self.program.name} uses the size {atom.name}, which none of its inputs defines")
            self.emit("value", self.symbols[atom.name])
            return
        # The atom alone, if it is a value, was computed before.
        number = self.values.get(atom.expr)
        if number is not None:
            self.emit("value", number)
            return
        for i, a in enumerate(atom.args):
            self.emit("value", self.values[a])
            if i:
                self.emit(atom.kind)

    def emit(self, op: str, operand: int = 0):
        self.code += (OPS[op], operand)


def _positions(steps) -> int:
    return sum(1 for _ in walk(steps))


def _counted(words) -> list[int]:
    words = list(words)
    return [len(words), *words]


def _arguments(e: Expr) -> list[Expr]:
    """What must be a value before `e` can be: the arguments of its atoms, and the atoms of a formula with several."""
    atoms = [a for monomial, _ in e.terms for a in monomial if a.kind != ir.SYM]
    alone = len(atoms) == 1 and atoms[0].expr is e
    return list(atoms[0].args) if alone else [a.expr for a in atoms]


def _text(e: Expr) -> str:
    """`str(e)`, unless it would be long: shared subformulas can make it exponentially so."""
    sizes: dict[Expr, int] = {}
    stack = [e]
    while stack:
        top = stack[-1]
        args = [b for monomial, _ in top.terms for a in monomial for b in a.args]
        missing = [a for a in args if a not in sizes]
        if missing:
            stack += missing
            continue
        stack.pop()
        sizes[top] = sum(sizes[a] for a in args) + 4 * sum(len(m) + 1 for m, _ in top.terms)
    return str(e) if sizes[e] < _LONGEST_TEXT else "a formula too long to print"
