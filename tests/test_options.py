"""Options of `sod2.jit`: what is taken, what is refused and in which words."""

import inspect

import jax
import pytest

from sod2jax.errors import SpecError, UnsupportedError
from sod2jax.options import DISABLE, Options, make_options


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"backend": "opencl"}, UnsupportedError, r"backend='opencl'.*not supported yet. Use one of 'auto', 'cpu'"),
        ({"backend": "abacus"}, SpecError, "must be one of 'auto', 'cpu'"),
        ({"backend": 3}, SpecError, "backend=3"),
        ({"buckets": "auto"}, UnsupportedError, r"buckets=.*not supported yet"),
        ({"in_shardings": "x"}, UnsupportedError, r"in_shardings=.*not supported yet"),
        ({"out_shardings": "x"}, UnsupportedError, r"out_shardings=.*not supported yet"),
        ({"compiler_options": {"xla_cpu_x": 1}}, SpecError, "No such compile option: 'xla_cpu_x'"),
        ({"compiler_options": 3}, SpecError, "must be a dict"),
        ({"compiler_options": {"disable": "fusion"}}, SpecError, "a list of 'fusion', 'order', 'memory', 'variants'"),
        ({"compiler_options": {"disable": ["sleep"]}}, SpecError, "a list of 'fusion', 'order', 'memory', 'variants'"),
        ({"compiler_options": {"islands": "no"}}, SpecError, "True or False"),
        ({"precision": "gigantic"}, SpecError, "precision='gigantic'"),
    ],
)
def test_refused(options, kind, words):
    with pytest.raises(kind, match=words):
        make_options(**options)


def test_taken():
    assert make_options() == make_options(backend=None, compiler_options={}) == Options()
    assert make_options(precision=jax.lax.Precision.HIGHEST).precision == "highest"
    assert make_options(precision="float32").precision == "float32"
    options = make_options(backend="cpu", compiler_options={"cpu": "x86-64-v3", "disable": ["fusion"]})
    assert options.cpu == "x86-64-v3"
    assert options.disable == {"fusion"}
    assert options.islands
    assert make_options(compiler_options={"disable": DISABLE}).disable == {"fusion", "order", "memory", "variants"}
    assert not make_options(compiler_options={"islands": False}).islands
    assert hash(options) == hash(make_options(backend="cpu", compiler_options={"cpu": "x86-64-v3", "disable": ["fusion"]}))


def test_the_default_of_jax_jit_is_taken():
    default = inspect.signature(jax.jit).parameters["in_shardings"].default
    assert make_options(in_shardings=default, out_shardings=default) == Options()
