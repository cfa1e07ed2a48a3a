"""Reading calls as `jax.jit` does: static and donated arguments, leaves and their paths."""

import functools

import jax
import numpy as np
import pytest

from sod2jax.arguments import Arguments


def fun(params, x, n=3, *, scale=None):
    pass


def sds(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_leaves_in_jaxs_order_with_paths():
    call = Arguments(fun).read(({"w": sds(2), "b": [sds(3), None]}, 1.5), {"scale": np.ones(4)})
    assert [(x.path, str(x), x.weak_type) for x in call.leaves] == [
        ("params['b'][0]", "float32[3]", False),
        ("params['w']", "float32[2]", False),
        ("x", "float32[]", True),
        ("scale", "float32[4]", False),
    ]
    assert call.in_tree == jax.tree.structure((({"w": 0, "b": [0, None]}, 0), {"scale": 0}))
    assert call.statics == ()


def test_static_arguments_are_taken_out():
    arguments = Arguments(fun, static_argnums=(0, 2))
    assert arguments.static_argnames == ("params", "n")
    call = arguments.read(("cfg", sds(2), 5), {})
    assert call.statics == ((0, "cfg"), (2, 5))
    assert call.args[0] is call.args[2] is None
    assert [x.path for x in call.leaves] == ["x"]
    assert call.in_tree == jax.tree.structure(((0,), {}))
    call = arguments.read(("cfg",), {"x": sds(2), "n": 5})
    assert call.statics == ((0, "cfg"), ("n", 5))
    args, kwargs = arguments.with_leaves(("cfg",), {"x": sds(2), "n": 5}, call, ["leaf"])
    assert (args, kwargs) == (("cfg",), {"x": "leaf", "n": 5})


def test_negative_and_missing_static_numbers():
    arguments = Arguments(lambda x, n: None, static_argnums=-1)
    assert arguments.read((sds(2), 5), {}).statics == ((1, 5),)
    assert Arguments(lambda *xs: None, static_argnums=5).read((sds(2),), {}).statics == ()


def test_donated_leaves():
    arguments = Arguments(fun, static_argnums=0, donate_argnums=1)
    assert [x.donated for x in arguments.read((1, {"a": sds(1), "b": sds(1)}, 2.0), {}).leaves] == [True, True, False]
    assert [x.donated for x in arguments.read((1,), {"x": sds(1), "scale": sds(1)}).leaves] == [False, True]


@pytest.mark.parametrize(
    "options",
    [
        {"static_argnums": 7},
        {"static_argnames": "zz"},
        {"donate_argnums": 7},
        {"donate_argnames": "zz"},
        {"donate_argnums": 1, "static_argnums": 1},
        {"static_argnums": "x"},
    ],
)
def test_mistakes_are_jax_jits(options):
    kinds = (ValueError, TypeError)
    with pytest.raises(kinds) as mine:
        Arguments(fun, **options)
    with pytest.raises(kinds) as theirs:
        jax.jit(fun, **options)
    assert (type(mine.value), str(mine.value)) == (type(theirs.value), str(theirs.value))


def test_unhashable_static_argument():
    with pytest.raises(ValueError, match=r"Non-hashable static arguments.*<class 'list'>, \[1\]"):
        Arguments(fun, static_argnums=0).read(([1], sds(2)), {})


def test_non_array_is_named_as_by_jax():
    for bad in ("text", object(), {"k": "text"}):
        with pytest.raises(TypeError, match="as an abstract array") as mine:
            Arguments(fun).read((bad, 1.0), {})
        with pytest.raises(TypeError, match="as an abstract array") as theirs:
            jax.jit(fun)(bad, 1.0)
        assert str(mine.value) == str(theirs.value)
    with pytest.raises(OverflowError, match="argument path is x"):
        Arguments(fun).read((1.0, 1 << 40), {})


def test_typed_keys_are_leaves_that_lie_in_memory_as_words():
    key, _ = Arguments(fun).read(({"key": jax.random.split(jax.random.key(0, impl="rbg"), 3)}, 1.0), {}).leaves
    assert str(key) == "key<rbg>[3]"
    assert str(key.stored) == "uint32[3,4]"


def test_functions_without_a_signature():
    call = Arguments(functools.partial(fun, n=2)).read((1.0, sds(2)), {})
    assert len(call.leaves) == 2
    call = Arguments(max).read((1.0, sds(2)), {})
    assert [x.path for x in call.leaves] == ["args[0]", "args[1]"]
