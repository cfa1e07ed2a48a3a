"""Function: which version serves a call, what is read of its arguments, what comes out, and what it says when nothing fits."""

import gc
import threading
import weakref
from collections import OrderedDict, namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sod2jax import binding, errors
from sod2jax.binding import Function, Key, Version

Point = namedtuple("Point", "a b")


class Recorder:
    """Makes Functions whose `miss` builds a Version of `x + 1` over leaf number `leaf`, and keeps what it was told."""

    def __init__(self, make, leaf=0, leaves=1, inputs=1, donated=(), out_tree=None, out_weak=False, guards=()):
        self.make, self.leaf, self.leaves, self.inputs, self.donated = make, leaf, leaves, inputs, list(donated)
        self.out_tree, self.out_weak, self.guards, self.bounds = out_tree, out_weak, guards, None
        self.misses, self.reasons, self.functions = [], [], []
        self.inlined, self.refuse = 0, False
        self.canonicalize = binding.as_array

    def program(self, plus=1):
        return self.make(plus=plus, inputs=self.inputs, guards=self.guards, bounds=self.bounds)

    def function(self, cls=Function, weak=False, **options):
        def miss(args, kwargs, reasons, key):
            self.misses.append(key)
            self.reasons += reasons
            if self.refuse:
                raise TypeError(f"refused: {reasons}")
            if key is not None and (version := self.version(key)):
                f.add(version)

        def inline(args, kwargs):
            self.inlined += 1
            return args[0] + 1

        f = cls(miss, inline, lambda x: self.canonicalize(x), **options)
        self.functions.append(f)
        return f

    def version(self, key):
        if key.ranks[self.leaf] != 2 or key.dtypes[self.leaf] != np.float32:
            return None
        return Version(
            self.program(),
            key,
            kept=[self.leaf, *range(1, self.inputs)],
            out_tree=self.out_tree or jax.tree.structure(0),
            out_weak_types=[self.out_weak],
            donated=self.donated,
            paths=["x", "y", "z", "u", "v"][: len(key.ranks)],
        )

    def reasons_of(self, f, *args):
        """Why no version fits these arguments."""
        self.reasons.clear()
        self.refuse = True
        with pytest.raises(TypeError, match="refused"):
            f(*args)
        self.refuse = False
        return list(self.reasons)


@pytest.fixture
def recorder(make):
    return Recorder(make)


def test_one_compilation_serves_every_size(recorder):
    f = recorder.function()
    for shape in [(2, 3), (5, 7), (1, 1), (0, 4), (2, 3)]:
        y = f(jnp.ones(shape))
        assert (y.shape, y.dtype, y.weak_type, y.committed) == (shape, jnp.float32, False, False)
        np.testing.assert_array_equal(np.asarray(y), 2)
    assert len(recorder.misses) == 1
    assert f.versions[0].hits == 5


def test_reasons(recorder):
    recorder.bounds = {"m": (0, 10)}
    f = recorder.function()
    x = jnp.ones((2, 3))
    f(x)
    assert recorder.reasons_of(f, jnp.ones((2, 3), jnp.int32)) == ["x is int32, compiled for float32"]
    assert recorder.reasons_of(f, jnp.ones(2)) == ["x has rank 1, compiled for rank 2"]
    assert recorder.reasons_of(f, jnp.ones((2, 11))) == ["axis 1 of x makes m = 11, compiled for 0 <= m <= 10"]
    recorder.bounds = {"m": (5, None)}
    g = recorder.function()
    g(jnp.ones((2, 6)))
    assert recorder.reasons_of(g, x) == ["axis 1 of x makes m = 3, compiled for 5 <= m"]
    assert recorder.reasons_of(f, x, x) == ["the arguments are another pytree than those it was compiled for"]
    assert recorder.reasons_of(f, [x]) == ["the arguments are another pytree than those it was compiled for"]
    with jax.enable_x64(True):
        assert "configuration" in recorder.reasons_of(f, x)[0]


def test_axis_that_is_fixed(make):
    recorder = Recorder(make, inputs=2)
    f = recorder.function()
    x, w = jnp.ones((2, 3)), jnp.ones(8)
    f(x, w)
    assert recorder.reasons_of(f, x, jnp.ones(9)) == ["axis 0 of w0 has size 9, compiled for 8"]


def test_versions_newest_first_then_by_use(recorder):
    f = recorder.function(weak=True)
    x, y = jnp.ones((2, 3)), jnp.asarray(np.ones((2, 3)), jnp.float32)
    f(x)
    first = f.versions[0]
    f.add(Version(recorder.program(2), first.key, kept=[0], out_tree=jax.tree.structure(0), out_weak_types=[False]))
    assert float(f(y)[0, 0]) == 3
    assert len(f.versions) == 2
    f.clear()
    assert f.versions == []
    f(x)
    assert len(recorder.misses) == 2


@pytest.mark.parametrize(
    "tree",
    [
        lambda x: [x],
        lambda x: {"b": (x, None), "a": [x * 2]},
        lambda x: Point(x, {"z": x, "y": x}),
        lambda x: OrderedDict(b=x, a=(x,)),
        lambda x: (x, [], {}, ()),
    ],
)
def test_pytrees(make, tree):
    x = jnp.ones((2, 3))
    leaves = jax.tree.leaves(tree(x))
    f = Recorder(make, leaf=len(leaves) - 1, leaves=len(leaves)).function()
    for _ in range(3):
        y = f(tree(x + 1))
        np.testing.assert_array_equal(np.asarray(y), np.asarray(jax.tree.leaves(tree(x + 1))[-1]) + 1)


def test_dict_order_does_not_matter(make):
    recorder = Recorder(make, leaf=0, leaves=2)
    f = recorder.function()
    a, b = jnp.full((2, 2), 1.0), jnp.full((2, 2), 5.0)
    for _ in range(3):
        assert float(f({"a": a, "b": b})[0, 0]) == 2
        assert float(f({"b": b, "a": a})[0, 0]) == 2
    assert len(recorder.misses) == 1


def test_keywords(make):
    recorder = Recorder(make, leaf=1, leaves=3)
    f = recorder.function()
    a, b, c = (jnp.full((2, 2), float(i)) for i in range(3))
    for _ in range(2):
        assert float(f(a, y=b, z=c)[0, 0]) == 2
        assert float(f(a, z=c, y=b)[0, 0]) == 2
    assert len(recorder.misses) == 1
    f(a, b, z=c)  # as with jax.jit, by position is another structure
    assert len(recorder.misses) == 2


def test_static_arguments(make):
    recorder = Recorder(make)
    f = recorder.function(static_argnums=(1, -1), static_argnames=("mode",))
    x = jnp.ones((2, 2))
    f(x, 3, mode="a")
    f(x, 3, mode="a")
    assert recorder.misses[-1].statics == ((1, 3), ("mode", "a"))
    assert len(recorder.misses) == 1
    f(x, 3.0, mode="a")  # equal, but another type
    f(x, True, mode="a")
    f(x, 3, mode="b")
    assert len(recorder.misses) == 4
    assert any("static arguments" in r for r in recorder.reasons)
    f(x, (1, 2), mode="a")
    f(x, (1, 2), mode="a")
    assert len(recorder.misses) == 5
    recorder.refuse = True
    with pytest.raises(TypeError, match="unhashable"):
        f(x, [1], mode="a")
    assert recorder.misses[-1] is None


def test_numpy_and_scalars(make):
    recorder = Recorder(make, leaves=5)
    f = recorder.function()
    x = np.ones((2, 3), np.float32)
    for given in (x, x.T, np.asfortranarray(x), x[::-1], np.ones((2, 3)), x.tolist() and jnp.asarray(x)):
        y = f(given, 1.0, 2, True, np.float32(3))
        np.testing.assert_array_equal(np.asarray(y), 2)
    assert len(recorder.misses) == 1
    key = recorder.misses[0]
    assert [str(d) for d in key.dtypes] == ["float32", "float32", "int32", "bool", "float32"]
    assert key.weak_types == [a.weak_type for a in map(jax.typeof, (x, 1.0, 2, True, np.float32(3)))]
    with pytest.raises(OverflowError):
        f(x, 1.0, 1 << 40, True, np.float32(3))
    f(x, 1.0, jnp.int32(2), True, np.float32(3))
    assert "is strongly typed, compiled for weakly typed" in recorder.reasons[-1]


def test_a_mutated_numpy_array_is_read_again(make):
    f = Recorder(make).function()
    x = np.ones((2, 3), np.float32)
    assert float(f(x)[0, 0]) == 2
    x[:] = 5
    assert float(f(x)[0, 0]) == 6


def test_results_do_not_share_memory_with_later_results(make):
    f = Recorder(make).function()
    x = jnp.zeros((4, 4))
    views = [np.asarray(f(x + i)) for i in range(30)]
    gc.collect()
    assert [v[0, 0] for v in views] == [i + 1 for i in range(30)]
    y = f(f(f(x)))
    np.testing.assert_array_equal(np.asarray(jax.jit(lambda v: v * 2, donate_argnums=0)(y)), 6)


def test_results_are_committed_as_jaxs(make):
    f = Recorder(make).function()
    x = jnp.zeros((4, 4))
    for given in (x, jax.device_put(x, jax.local_devices(backend="cpu")[0]), x):
        assert f(given).committed == jax.jit(lambda a: a + 1)(given).committed
    big = jax.device_put(jnp.zeros((600, 600)), jax.local_devices(backend="cpu")[0])
    assert f(big).committed


def test_transformations_inline(make):
    recorder = Recorder(make)
    f = recorder.function()
    x = jnp.ones((2, 2))
    f(x)
    assert recorder.inlined == 0
    np.testing.assert_array_equal(np.asarray(jax.jit(f)(x)), 2)
    jax.vmap(f)(jnp.ones((2, 2, 2)))
    jax.grad(lambda v: f(v).sum())(x)
    assert recorder.inlined == 3
    jax.jit(lambda v: v + f(jnp.ones((2, 2))))(x)  # no tracer among the arguments, but a trace is running
    assert recorder.inlined == 4
    with jax.disable_jit():
        f(x)
    assert recorder.inlined == 5
    f(x)
    assert (recorder.inlined, len(recorder.misses)) == (5, 1)


def test_a_tracer_at_the_first_call(make):
    recorder = Recorder(make)
    f = recorder.function()
    jax.eval_shape(f, jax.ShapeDtypeStruct((2, 2), jnp.float32))
    assert (recorder.inlined, recorder.misses) == (1, [])


def test_deleted_arrays(make):
    f = Recorder(make).function()
    x = jnp.ones((2, 2))
    for _ in range(3):
        f(x)
    x.delete()
    with pytest.raises(RuntimeError, match=r"Array has been deleted with shape=float32\[2,2\]"):
        f(x)
    y = jnp.ones((2, 2))
    y.delete()
    with pytest.raises(RuntimeError, match="Array has been deleted"):
        f(y)


def test_what_is_no_array(make):
    recorder = Recorder(make)
    f = recorder.function()
    for _ in range(2):
        with pytest.raises(TypeError, match="not a valid JAX type"):
            f("abc")
        f(jnp.ones((2, 2)))
    recorder.refuse = True
    with pytest.raises(TypeError, match="refused"):
        f(object())


def test_donation(make):
    recorder = Recorder(make, leaves=2, donated=[0])
    f = recorder.function()
    x, y = jnp.ones((2, 2)), jnp.ones((2, 2))
    np.testing.assert_array_equal(np.asarray(f(x, y)), 2)
    assert x.is_deleted()
    assert not y.is_deleted()
    with pytest.raises(RuntimeError, match="deleted"):
        f(x, y)
    np.testing.assert_array_equal(np.asarray(f(np.ones((2, 2), np.float32), y)), 2)
    np.testing.assert_array_equal(np.asarray(f(y, y)), 2)  # nothing reads the second one


def test_prepared_buffers_follow_the_array(make):
    program = make.prepared()
    f = Recorder(make).function()
    key = Key(jax.tree.structure(((0,), {})), (), [np.dtype("float32")], [1], None)
    f.add(Version(program, key, kept=[0], out_tree=jax.tree.structure(0), out_weak_types=[False]))
    one, two = jnp.full(8, 1.0), jnp.full(8, 2.0)
    for w in (one, one, two, two, one, jnp.full(5, 7.0), one):
        np.testing.assert_array_equal(np.asarray(f(w)), np.asarray(w) + 3)
    host = np.full(8, 3, np.float32)
    for value in (3, 4, 5):
        host[:] = value
        np.testing.assert_array_equal(np.asarray(f(host)), value + 3)
    for i in range(50):  # arrays that die and leave their address to the next
        np.testing.assert_array_equal(np.asarray(f(jnp.full(8, float(i)))), i + 3)


def test_result_trees(make):
    x = jnp.ones((2, 2))
    for tree in [0, (0,), [0], {"a": 0}, {"a": [0, None], "b": ()}, Point(0, None)]:
        f = Recorder(make, out_tree=jax.tree.structure(tree)).function()
        y = f(x)
        assert jax.tree.structure(y) == jax.tree.structure(tree)
        np.testing.assert_array_equal(np.asarray(jax.tree.leaves(y)[0]), 2)


def test_weak_results(make):
    f = Recorder(make, out_weak=True).function()
    assert f(jnp.ones((2, 2))).weak_type
    assert f(jnp.ones((600, 600))).weak_type  # by DLPack


def test_contract(make):
    from sod2jax.ir import program as ir
    from sod2jax.ir.expr import const, sym

    guard = ir.Guard(ir.Cond(sym("m"), "<=", const(4)), "contract", "x axis 1 is {lhs}, allowed are {rhs}")
    recorder = Recorder(make, guards=[guard])
    f = recorder.function()
    f(jnp.ones((2, 3)))
    with pytest.raises(errors.ShapeError, match="x axis 1 is 5, allowed are 4"):
        f(jnp.ones((2, 5)))
    recorder.refuse = True  # miss may say it better
    with pytest.raises(TypeError, match="refused"):
        f(jnp.ones((2, 5)))


def test_miss_may_answer(make):
    f = Function(lambda args, kwargs, reasons, key: (("answer", args, kwargs),), lambda a, k: None, binding.as_array)
    x = jnp.ones(2)
    answer, args, kwargs = f(x, k=x)
    assert answer == "answer"
    assert args[0] is x
    assert kwargs["k"] is x


def test_miss_that_adds_nothing(make):
    f = Function(lambda *a: None, lambda a, k: None, binding.as_array)
    with pytest.raises(RuntimeError, match="no version fits"):
        f(jnp.ones(2))


def test_the_version_that_miss_gives_serves_the_call(recorder):
    def miss(args, kwargs, reasons, key):
        version = recorder.version(key)
        f.add(version)
        f.clear()  # as another thread may at any time
        return version

    f = Function(miss, None, binding.as_array)
    for n in (1, 2, 3):
        np.testing.assert_array_equal(np.asarray(f(jnp.ones((n, 3)))), 2)
    assert f.versions == []


def test_errors_of_miss_pass_through(make):
    def miss(*_):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Function(miss, None, binding.as_array)(jnp.ones(2))


def test_methods_and_attributes(make):
    recorder = Recorder(make)
    f = recorder.function()

    class Model:
        call = f

    recorder.leaves, recorder.leaf = 1, 0
    assert Model.call is f
    assert Model().call.__func__ is f
    f.anything = 3
    assert f.anything == 3
    with pytest.raises(TypeError):
        Function()


def test_subclass(make):
    class Mine(Function):
        def __init__(self, *args):
            super().__init__(*args)
            self.note = "mine"

    recorder = Recorder(make)
    f = recorder.function(Mine)
    assert f.note == "mine"
    np.testing.assert_array_equal(np.asarray(f(jnp.ones((2, 2)))), 2)


def test_keys_and_leaves(make):
    f = Recorder(make).function(static_argnums=(1,))
    x = jnp.ones((2, 3))
    key = f.key_of((x, 5), {"b": 1.0, "a": x})
    assert (key.ranks, key.weak_types, key.statics) == ([2, 2, 0], [False, False, True], ((1, 5),))
    assert [a.shape for a in key.leaves] == [(2, 3), (2, 3), ()]
    leaves, tree, statics = f.flatten((x, 5), {"b": 1.0})
    assert (len(leaves), statics) == (2, ((1, 5),))
    assert tree == jax.tree.structure(((x,), {"b": 1.0}))


def test_no_cycle_keeps_a_function_alive(make):
    recorder = Recorder(make)
    f = recorder.function()
    x = jnp.ones((2, 2))
    f(x)
    f(x)
    watch, array = weakref.ref(f), weakref.ref(x)
    f.versions[0].program.run([x])
    f.myself = f
    recorder.functions.clear()
    recorder.misses.clear()
    del f, x
    gc.collect()
    assert watch() is None
    assert array() is None


def test_arguments_are_not_kept_alive(make):
    recorder = Recorder(make)
    f = recorder.function()
    x = jnp.ones((2, 2))
    for _ in range(3):
        f(x)
    recorder.misses.clear()  # keys hold the arrays of their call
    watch = weakref.ref(x)
    del x
    gc.collect()
    assert watch() is None


def test_threads(make):
    f = Recorder(make).function()
    failures = []

    def work(number):
        for i in range(100):
            x = jnp.full((1 + i % 7, 300 + number), float(number))
            if not (np.asarray(f(x)) == number + 1).all():
                failures.append((number, i))

    f(jnp.ones((2, 2)))
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_call_within_a_call(make):
    recorder = Recorder(make)
    f = recorder.function()
    inner = []

    class Sneaky:
        """Converts itself to an array by calling the function that it is an argument of."""

        def __jax_array__(self):
            inner.append(f(jnp.ones((3, 3))))
            return jnp.ones((2, 2))

    f(jnp.ones((2, 2)))
    recorder.canonicalize = lambda x: x.__jax_array__() if isinstance(x, Sneaky) else binding.as_array(x)
    np.testing.assert_array_equal(np.asarray(f(Sneaky())), 2)
    assert float(inner[0][0, 0]) == 2


def test_many_shapes(make):
    f = Recorder(make).function()
    for n in range(1, 200):
        assert f(np.zeros((n, 2), np.float32)).shape == (n, 2)
    assert f.versions[0].program.stats()["plans"] == 64
