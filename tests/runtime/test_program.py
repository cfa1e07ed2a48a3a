"""Program: binding, guards and their words, running, prepared buffers, memory."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.layout import Format, Layout

from sod2jax import binding, errors
from sod2jax.ir import program as ir
from sod2jax.ir.execute import execute
from sod2jax.ir.expr import const, sym
from sod2jax.ir.loops import Buffer

F32 = np.dtype("float32")


def test_bind(make):
    result = make(plus=2).bind([(3, 5)])
    assert result["ok"]
    assert result["symbols"] == {"n": 3, "m": 5}
    assert (result["arena"], result["outputs"], result["output_shapes"]) == (0, 60, [(3, 5)])
    assert result["slots"] == [("input", 0, 60), ("output", 0, 60)]
    assert result["steps"] == [(15, 15)]


def test_guards_have_words(make):
    n, m = sym("n"), sym("m")
    guards = [
        ir.Guard(ir.Cond(m, "<=", const(512)), "contract", "x axis 1 is {lhs}, allowed are {rhs}", "model.py:7"),
        ir.Guard(ir.Cond(n, "!=", m), "version", ""),
        ir.Guard(ir.Cond(n, "<", const(100)), "check", "too many rows"),
    ]
    program = make(guards=guards)
    assert program.bind([(3, 5)])["ok"]
    assert program.bind([(4, 4)])["failed"] == [("version", "n != m does not hold: 4 against 4")]
    ((kind, message),) = program.bind([(3, 600)])["failed"]
    assert (kind, message) == (
        "contract",
        "x axis 1 is 600, allowed are 512: m <= 512 does not hold: 600 against 512 (model.py:7)",
    )
    assert program.bind([(200, 600)])["failed"][0][0] == "contract"
    with pytest.raises(errors.GuardError, match="too many rows: n < 100 does not hold: 200 against 100"):
        program.run([np.zeros((200, 5), np.float32)])
    with pytest.raises(errors.ShapeError, match="allowed are 512"):
        program.run([np.zeros((2, 600), np.float32)])


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (3, 5), (300, 400)])
def test_run(make, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (y,) = make(plus=3).run([x])
    assert isinstance(y, jax.Array)
    np.testing.assert_array_equal(np.asarray(y), x + np.float32(3))


def test_run_checks_its_arguments(make):
    program = make()
    with pytest.raises(TypeError, match="x must be float32, given int32"):
        program.run([jnp.zeros((2, 2), jnp.int32)])
    with pytest.raises(TypeError, match="x must have rank 2"):
        program.run([jnp.zeros(2)])
    with pytest.raises(ValueError, match="1 inputs"):
        program.run([])
    with pytest.raises(TypeError):
        program.run(["abc"])


def test_inputs_of_other_layouts_and_places(make):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    program = make()
    for given in (x.T, x[:, ::2], np.asfortranarray(x)):
        (y,) = program.run([given])
        np.testing.assert_array_equal(np.asarray(y), np.asarray(given, np.float32) + 1)
    columns = jax.device_put(x, Format(Layout(major_to_minor=(1, 0)), jnp.zeros(1).sharding))
    (y,) = program.run([columns])
    np.testing.assert_array_equal(np.asarray(y), x + 1)


def test_outputs_outlive_everything(make):
    program = make()
    views = [np.asarray(program.run([np.full((64, 64), i, np.float32)])[0]) for i in range(20)]
    del program
    for i, view in enumerate(views):
        assert (view == i + 1).all()


def test_large_outputs_come_back_to_the_pool(make):
    program = make()
    x = np.zeros((512, 512), np.float32)  # large enough for DLPack
    addresses = {program.run([x])[0].unsafe_buffer_pointer() for _ in range(10)}
    assert len(addresses) <= 2


def test_forwarded_outputs_are_copies():
    n = sym("n")
    program = ir.Program(
        "p", (ir.SymbolDef("n", 0, 0),), (ir.Input("x", F32, (n,)),), (ir.Output(F32, (n,), None, forward=0),), (), (), ()
    )
    x = jnp.arange(5.0)
    (y,) = binding.load(program, []).run([x])
    x.delete()
    np.testing.assert_array_equal(np.asarray(y), np.arange(5.0))


def test_arena_that_cannot_be_had(code):
    n = sym("n")
    huge = n * (1 << 50)
    program = ir.Program(
        "p",
        (ir.SymbolDef("n", 0, 0),),
        (ir.Input("x", F32, (n,)),),
        (ir.Output(F32, (n,), None, forward=0),),
        (ir.Slot("arena", 0, F32, (n,), n * 4, offset=const(0)),),
        (),
        (),
        arena=huge,
    )
    loaded = binding.load(program, [])
    with pytest.raises(
        errors.OutOfMemoryError, match=rf"could not allocate {4 << 50} bytes for the arena, which is {1 << 50}\*n"
    ):
        loaded.run([np.zeros(4, np.float32)])
    assert loaded.run([np.zeros(0, np.float32)])[0].shape == (0,)


def test_profile(make):
    rows = make().profile([np.zeros((50, 50), np.float32)], repeats=3)
    assert [source for source, _ in rows] == ["add"]
    assert rows[0][1] > 0


def test_profile_of_nested_steps(code):
    n = sym("n")
    step = lambda a, b, source: ir.Step(0, (a, b), (const(1),), n, n, const(0), source=source)
    loop = ir.Loop((step(1, 2, "inner"),), const(4), swaps=((1, 2),), source="loop")
    slots = [ir.Slot("arena", k, F32, (n,), 4 * n, k * 64 * n, 0, 3) for k in range(2)]
    program = ir.Program(
        "p", (ir.SymbolDef("n", 0, 0),), (ir.Input("x", F32, (n,)),), (ir.Output(F32, (n,), 3),),
        (ir.Slot("input", 0, F32, (n,), 4 * n), *slots, ir.Slot("output", 0, F32, (n,), 4 * n)),
        (step(0, 1, "first"), loop, step(1, 3, "last")), (None,), arena=128 * n,
    )  # fmt: skip
    loaded = binding.load(program, [code.add], code.engine)
    assert loaded.bind([(1000,)])["steps"] == [(1000, 1000), (4, 4 * 1020), (1000, 1000), (1000, 1000)]
    x = np.arange(1000, dtype=np.float32)
    np.testing.assert_array_equal(loaded.run([x])[0], x + 6)
    rows = loaded.profile([x], repeats=3)
    assert [source for source, _ in rows] == ["first", "loop", "inner", "last"]
    assert rows[1][1] >= rows[2][1] > 0


class Nested:
    """A random program of nested steps: `add` kernels, host calls, branches and loops over four buffers of f32[n]."""

    X, BUFFERS, OUT, INDEX, COUNT, PRED, COUNTER = 0, (1, 2, 3, 4), 5, 6, 7, 8, 9

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def program(self) -> ir.Program:
        n = sym("n")
        line = 64 * n
        ever = 1 << 30

        def arena(k, dtype, shape=(n,)):
            return ir.Slot("arena", k, np.dtype(dtype), shape, 4 * n if shape else const(8), k * line, last=ever)

        slots = (
            ir.Slot("input", 0, F32, (n,), 4 * n),
            *(arena(k, F32) for k in range(4)),
            ir.Slot("output", 0, F32, (n,), 4 * n),
            *(arena(4 + k, dtype, ()) for k, dtype in enumerate(("int32", "int64", bool, "int64"))),
        )
        first = [self.add(self.X, b) for b in self.BUFFERS]
        steps = (*first, ir.HostCall(2, (), (self.COUNTER,)), *self.block(3), self.add(1, self.OUT))
        hosts = (
            lambda x: [np.int32(int(np.abs(x).sum()) % 5 - 1)],
            lambda count: [count - 1, count > 0],
            lambda: [np.int64(3)],
            lambda counter, x: [x + np.float32(counter)],
        )
        kernel = ir.Extern("add", (Buffer("x", F32, "r"), Buffer("y", F32, "w", inplace=("x",))), ("c",))
        return ir.Program(
            "nested", (ir.SymbolDef("n", 0, 0),), (ir.Input("x", F32, (n,)),), (ir.Output(F32, (n,), self.OUT),), slots, steps,
            (kernel,), hosts=tuple(ir.Host(f"h{k}", h) for k, h in enumerate(hosts)), arena=8 * line,
        )  # fmt: skip

    def add(self, a, b):
        n = sym("n")
        return ir.Step(0, (a, b), (const(self.rng.randrange(1, 9)),), n, n, const(0))

    def block(self, depth):
        return tuple(step for _ in range(self.rng.randrange(1, 4)) for step in self.steps(depth))

    def steps(self, depth):
        kind = self.rng.choice(["add", "add", "host", "branch", "loop", "while"] if depth else ["add"])
        a, b = self.rng.sample(self.BUFFERS, 2)
        if kind == "add":
            return (self.add(a, b),)
        if kind == "host":
            return (ir.HostCall(3, (self.COUNTER, a), (b,)),)
        if kind == "branch":
            choose = ir.HostCall(0, (a,), (self.INDEX,))
            return choose, ir.Branch(self.INDEX, tuple(self.block(depth - 1) for _ in range(self.rng.randrange(1, 4))))
        swaps = ((a, b),) if self.rng.random() < 0.8 else ()
        if kind == "loop":
            length = self.rng.choice([const(0), const(1), const(3), sym("n")])
            body = (*self.block(depth - 1), self.add(a, b))
            return (ir.Loop(body, length, self.rng.choice([None, self.COUNTER]), swaps=swaps),)
        inner = tuple(self.add(*self.rng.sample(self.BUFFERS, 2)) for _ in range(2))  # no second while: it has one count
        cond = (ir.HostCall(1, (self.COUNT,), (self.COUNT, self.PRED)),)
        return ir.HostCall(2, (), (self.COUNT,)), ir.Loop(inner, None, None, cond, self.PRED, swaps)


@pytest.mark.parametrize("seed", range(60))
def test_nested_steps_run_as_in_python(code, seed):
    program = Nested(seed).program()
    loaded = binding.load(program, [code.add], code.engine)

    def run(kernel, buffers, sizes, extent):
        buffers["y"][:extent] = buffers["x"][:extent] + np.float32(sizes["c"])

    for n in (1, 4, 2):
        x = np.arange(n, dtype=np.float32)
        (wanted,) = execute(program, [x], run)
        np.testing.assert_array_equal(loaded.run([x])[0], wanted)


def test_threads(make):
    x = np.random.default_rng(0).standard_normal((700, 300)).astype(np.float32)
    program = make()
    try:
        for count in (1, 2, 5):
            binding.set_threads(count)
            assert binding.threads() == count
            np.testing.assert_array_equal(np.asarray(program.run([x])[0]), x + 1)
    finally:
        binding.set_threads(0)
