"""The only importer of `jax._src`: every private JAX name that sod2jax stands on, under a name of our own.

* Checked against JAX 0.10.2 and 0.11.2. When JAX moves one of these, this is the one file to mend.
* Each function says which private thing it wraps and why no public name serves.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import operator
import os
import sys
import types
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from jax._src import api as _api
from jax._src import api_util as _api_util
from jax._src import config as _config
from jax._src import core as _core
from jax._src import dlpack as _dlpack
from jax._src import dtypes as _dtypes
from jax._src import sharding_impls as _sharding_impls
from jax._src import source_info_util as _source_info
from jax._src import state as _state
from jax._src import traceback_util as _traceback_util
from jax._src import tree_util as _tree_util
from jax._src.interpreters import partial_eval as _pe
from jax._src.lax import convolution as _convolution
from jax._src.lax import lax as _lax
from jax._src.numpy import array_constructors as _array_constructors
from jax._src.numpy import indexing as _indexing
from jax._src.random import core as _random
from jax._src.random import prng as _prng
from jaxlib import _jax  # the C++ side of jax.Array: no public name hands memory over without a copy and a Python frame
from jaxlib import weakref_lru_cache as _memos
from jaxlib import xla_client as _xla_client

# Frames of this package are not the user's: JAX's source lines and filtered tracebacks skip them.
_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_source_info.register_exclusion(_PACKAGE + os.sep)
_traceback_util.register_exclusion(_PACKAGE + os.sep)

api_boundary = _traceback_util.api_boundary
"""Decorator of public entry points: tracebacks raised through it are filtered as JAX's own (`jax_traceback_filtering`)."""

Tracer = _core.Tracer
ShapedArray = _core.ShapedArray
ARRAYS = (Tracer, ShapedArray, jax.ShapeDtypeStruct)
"""What has a shape that may be symbolic."""


# -- source lines


def user_line(eqn) -> str:
    """`file:line (function)` of the innermost user frame that bound `eqn`, or "" if JAX kept none."""
    frame = _source_info.user_frame(eqn.source_info.traceback)
    return f"{frame.file_name}:{frame.start_line} ({frame.function_name})" if frame is not None else ""


def made_by_array_constructor(eqn) -> bool:
    """Whether `jnp.array` or `jnp.asarray` bound `eqn`: they refuse integers that do not fit, where other conversions wrap."""
    traceback = eqn.source_info.traceback
    return traceback is not None and any(f.file_name == _array_constructors.__file__ for f in traceback.frames)


# -- the state of JAX that a trace depends on


def trace_context() -> tuple:
    """Everything in JAX's configuration that changes what a trace yields (x64, promotion, precision, ...); hashable."""
    return _config.trace_context()


def scan_signature(consts: int, carried: int, xs: int = 0, ys: int = 0) -> dict[str, Any]:
    """The params of a `scan` that say which operand is what: JAX 0.11 has trees where 0.10 has numbers."""
    try:
        from jax._src import flattree as ft
    except ImportError:
        return {"num_consts": consts, "num_carry": carried}
    of_consts, of_carry, of_xs, of_ys = map(ft.nones, (consts, carried, xs, ys))
    return {"ft_in": ft.pack((of_consts, of_carry, of_xs)), "ft_out": ft.pack((of_carry, of_ys))}


def scan_counts(params) -> tuple[int, int]:
    """How many operands of a `scan` are constants, and how many are carried; the inverse of `scan_signature`."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


# -- arguments


def check_callable(fun) -> None:
    """jax.jit's checks (and wording) of the thing to be compiled."""
    _api_util.check_callable(fun)


def fun_signature(fun):
    """`inspect.Signature` of `fun`, or None for builtins that have none."""
    return _api_util.fun_signature(fun)


def resolve_argnums(fun, signature, donate_argnums, donate_argnames, static_argnums, static_argnames):
    """jax.jit's inference of argnames from argnums and back, with its errors.

    Returns (donate_argnums, donate_argnames, static_argnums, static_argnames), all tuples.
    """
    return _api_util.resolve_argnums(fun, signature, donate_argnums, donate_argnames, static_argnums, static_argnames)


def donation_vector(donate_argnums, donate_argnames, in_tree) -> tuple[bool, ...]:
    """Which leaf of `in_tree` (of `(args, kwargs)` without statics) is donated."""
    return tuple(_api_util.donation_vector(donate_argnums, donate_argnames, in_tree))


def debug_info(fun, args, kwargs, static_argnums, static_argnames, signature):
    """JAX's DebugInfo of a call; its `arg_names` are the paths that users read: "params['w']"."""
    return _api_util.debug_info(
        "jit", fun, args, kwargs, static_argnums=static_argnums, static_argnames=static_argnames, signature=signature
    )


def abstractify(x) -> Any:
    """The aval that `jax.jit` sees for one argument leaf: dtype canonicalised, weak type of Python scalars."""
    return _core.shaped_abstractify(x)


def canonicalize_value(x) -> Any:
    """`x` in the dtype that the x64 flag allows; JAX's TypeError for what is no array."""
    return _dtypes.canonicalize_value(x)


tracing_registry = _tree_util.tracing_registry
"""The pytree registry that `jax.jit` flattens arguments with when it traces."""

dispatch_registry = _tree_util.dispatch_registry
"""The one that it flattens arguments with when it calls: typed keys are nodes, their words leaves."""


def broadcast_prefix(prefix, tree, is_leaf) -> list[Any]:
    """The leaf of `prefix` that stands for each leaf of `tree`; ValueError in JAX's words where it is no prefix."""
    return _tree_util.broadcast_prefix(prefix, tree, is_leaf=is_leaf)


def canonical_dtype(dtype) -> np.dtype:
    return _dtypes.canonicalize_dtype(dtype, allow_extended_dtype=True)


# -- primitives without a public name


_MODULES = (
    *(
        "lax.lax",
        "lax.slicing",
        "lax.scaled_dot",
        "lax.linalg",
        "lax.control_flow.solves",
        "lax.control_flow.conditionals",
        "lax.parallel",
    ),
    *("callback", "debugging", "custom_derivatives", "custom_batching", "core", "pjit", "checkify", "ffi"),
)


def primitive(name: str):
    """The primitive `name` that `jax.extend.core.primitives` does not list (split, stack, geqrf, pure_callback, ...)."""
    modules = (importlib.import_module(f"jax._src.{module}") for module in _MODULES)
    return next(found for module in modules if (found := getattr(module, f"{name}_p", None)) is not None)


def implementation(name: str):
    """What JAX lowers the primitive `name` to on a CPU, in lax calls."""
    modules = (importlib.import_module(f"jax._src.{module}") for module in _MODULES)
    return next(found for module in modules if (found := getattr(module, f"_{name}_impl", None)) is not None)


def callback_function(prim):
    """What JAX calls at run time for a callback primitive: it gives the user's function JAX arrays, and logs what it raises."""
    from jax._src import callback as _callback

    return getattr(_callback, f"{prim.name}_impl", prim.impl)


def special_function(name: str):
    """What JAX lowers the special function `name` to, in simpler lax calls: the public functions bind the primitive itself."""
    from jax._src.lax import special as _special

    impl = getattr(_special, f"{name}_impl")
    wide = impl if name.startswith("bessel") else _special._up_and_broadcast(impl)
    return lambda *operands, **_: wide(*operands)


def primitives() -> dict[Any, str]:
    """All primitives of JAX, each with a module that has it ("lax.parallel"); jax.extend.core.primitives lists half of them."""
    import jax.experimental.sparse  # noqa: F401  (its primitives count, too)

    found: dict[Any, str] = {}
    for name, module in list(sys.modules.items()):
        if name.startswith(("jax._src.", "jax.experimental.sparse.")):
            for value in list(vars(module).values()):
                if isinstance(value, _core.Primitive):
                    found.setdefault(value, name.removeprefix("jax._src."))
    return found


def without_unused(closed):
    """(a closed jaxpr without what its outputs do not need, which inputs they need); all inputs stay.

    `jax.jit` drops arguments by this rule, in loops and branches too; which it deletes when they are donated depends on it.
    """
    jaxpr, constants, used = _pe.dce_jaxpr_consts(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    names = closed.jaxpr.debug_info
    jaxpr = jaxpr.replace(invars=closed.jaxpr.invars, debug_info=jaxpr.debug_info._replace(arg_names=names.arg_names))
    return _core.ClosedJaxpr(jaxpr, [c for c, kept in zip(closed.consts, constants, strict=True) if kept]), tuple(used)


def without_references(closed):
    """A closed jaxpr whose mutable arrays are values that its eqns pass on, as JAX makes it before it lowers one."""
    if not _has_references(closed.jaxpr):
        return closed
    from jax._src.state.discharge import discharge_state

    return discharge_state(closed)


def _has_references(jaxpr) -> bool:
    made = (v for eqn in jaxpr.eqns for v in eqn.outvars)
    return any(isinstance(v.aval, _state.AbstractRef) for v in made) or any(map(_has_references, _core.subjaxprs(jaxpr)))


def random_primitive(name: str):
    """The primitive `name` of jax.random that `jax.extend.core.primitives` does not list (random_wrap, philox4x32, ...)."""
    home = next(m for m in (_prng, _random, *_hashes()) if hasattr(m, f"{name}_p"))
    return getattr(home, f"{name}_p")


def hash_function(name: str):
    """What JAX lowers the hash `name` (threefry2x32, philox4x32, ...) to: elementwise code over its words, unrolled."""
    home = next(m for m in _hashes() if hasattr(m, f"{name}_p"))
    function = getattr(home, f"_{name}_lowering")
    return functools.partial(function, use_rolled_loops=False) if name == "threefry2x32" else function


def _hashes():
    from jax._src.random import philox2x32, philox4x32, threefry2x32, threefry4x32

    return threefry2x32, threefry4x32, philox2x32, philox4x32


def on_words(name: str):
    """What JAX lowers the primitive `name` of jax.random to, as a function of the words of keys that can be traced."""
    return getattr(_prng, f"{name}_impl_base")


def sample_gamma(keys, a, log_space: bool):
    """What JAX lowers its primitive for samples of the gamma distribution to, on a CPU."""
    return _random._gamma_impl(keys, a, log_space=log_space, use_vmap=True)


def escaped_tracer_error(tracer) -> Exception:
    """JAX's UnexpectedTracerError for a tracer that outlived its transformation."""
    return _core.escaped_tracer_error(tracer)


def lifted_values(traced) -> tuple:
    """What `jax.jit(...).trace` closed over and cannot keep as a constant: leaked tracers, mutable arrays."""
    return tuple(traced._consts)


def is_unspecified(sharding) -> bool:
    """Whether this is the default of `jax.jit`'s in_shardings and out_shardings."""
    return isinstance(sharding, _sharding_impls.UnspecifiedValue)


def export_constraints(dim) -> tuple[str, ...]:
    """The explicit constraints of a `jax.export` symbolic dim's scope, as texts."""
    scope = getattr(dim, "scope", None)
    return tuple(c.debug_str for c in getattr(scope, "_explicit_constraints", ()))


def tree_mismatch_message(given, compiled) -> str:
    """What `jax.stages.Compiled` says when it is called with another pytree than it was compiled for."""
    mismatches = list(_tree_util.equality_errors_pytreedef(given, compiled))
    lines = [
        "Function compiled with input pytree does not match the input pytree it was called with. "
        f"There are {len(mismatches)} mismatches, including:"
    ]
    for path, thing1, thing2, explanation in mismatches:
        first, *rest = path
        base = ["args", "kwargs"][first.idx]
        lines.append(f"    * at {base}{_tree_util.keystr(tuple(rest))}, seen {thing2} but now given {thing1}, so {explanation}")
    return "\n".join(lines)


# -- symbolic sizes

MEMOS = (type(functools.lru_cache(len)), _jax.PjitFunction, *(t for t in vars(_memos).values() if isinstance(t, type)))
"""Types of the functions that keep earlier results by their arguments. To them "not equal" only means to compute once more."""


def register_dim_type(cls: type) -> None:
    """Lets instances of `cls` stand wherever JAX takes a Python int as a size or as a weakly typed operand."""
    _core.pytype_aval_mappings[cls] = lambda d: dim_value_aval()
    _dtypes.register_weak_scalar_type(cls)
    _dtypes.python_scalar_types.add(cls)
    _dtypes.python_scalar_types_to_dtypes[cls] = _dtypes.python_scalar_types_to_dtypes[int]
    _dtypes.register_canonicalize_value_handler(cls, None)

    # `len(x)` must be a Python int. Who asks decides what becomes of it: two frames are JAX's own `__len__`.
    length = _core.ShapedArray._len

    def _len(self, tracer):
        n = length(self, tracer)
        return n.length(sys._getframe(2)) if type(n) is cls else n

    _core.ShapedArray._len = _len

    # Constants like another operand (`jnp.take(mode="wrap")` takes remainders by a size) are NumPy arrays, which no size can be.
    constant = _lax._const

    def const(example, value):
        symbolic = hasattr(value, "scope")  # a size, or a float made of sizes
        return _lax.convert_element_type(value, _dtypes.dtype(example)) if symbolic else constant(example, value)

    _lax._const = const

    # An index that is a size (`x[n - 1]`) is one that JAX finds out as it runs: clamped or dropped as a Python int is.
    parse = _indexing.NDIndexer.from_raw_indices.__func__

    def from_raw_indices(kind, indices, shape):
        if type(indices) is cls:
            indices = _array_constructors.asarray(indices)
        elif type(indices) is tuple and any(type(i) is cls for i in indices):
            indices = tuple(_array_constructors.asarray(i) if type(i) is cls else i for i in indices)
        return parse(kind, indices, shape)

    _indexing.NDIndexer.from_raw_indices = classmethod(from_raw_indices)


def let_sizes_through(size: type, number: type, **instead) -> None:
    """Lets sizes pass where JAX's own code makes a number of them and needs none, and calls `instead` where it does need one.

    Every function that is put in the place of one of JAX's calls that one unless a size is among its arguments.
    """
    symbolic = lambda x: isinstance(x, (size, number))
    of_axis = lambda x, axis: type(np.shape(x)[axis]) is size
    from jax._src import pjit
    from jax._src.image import scale
    from jax._src.lax.control_flow import loops
    from jax._src.numpy import array_methods, einsum, fft, hijax, lax_numpy, polynomial
    from jax._src.scipy import signal

    # What only wants to be sure that it is no tracer: the lengths of windows, of indices, of spaces, of samples.
    concrete = _core.concrete_or_error

    def concrete_or_error(force, value, context=""):
        if type(value) is size or (symbolic(value) and force in (None, float)):
            return value
        return math.trunc(value) if symbolic(value) and force is int else concrete(force, value, context)

    _core.concrete_or_error = concrete_or_error

    # `operator.index` and `len` in modules whose functions go on with what a size can do.
    def index(x):
        return x if type(x) is size else operator.index(x)

    def length(x):
        return x.shape[0] if isinstance(x, Tracer) and x.ndim and of_axis(x, 0) else len(x)

    for module in (_convolution, _api_util, fft, hijax):
        module.operator = SimpleNamespace(**{**vars(operator), "index": index})
    for module in (lax_numpy, polynomial, signal, hijax):
        module.len = length
    # Scales of images: an int stays an int there, and its division by 0 is an error.
    as_value = lambda d: d if type(d) is size else _core.dimension_as_value(d)
    scale.core = SimpleNamespace(**{**vars(_core), "dimension_as_value": as_value})

    def replaces(module, name, applies, function):
        original = getattr(module, name)

        @functools.wraps(original)
        def replaced(*args, **kwargs):
            return function(original, *args, **kwargs) if applies(*args, **kwargs) else original(*args, **kwargs)

        setattr(module, name, replaced)

    replaces(
        *(loops, "_infer_scan_length", lambda *args: type(args[-1]) is size),
        lambda _, xs, *rest: instead["scan_length"](rest[-1], [x.shape[0] for x in xs]),
    )
    einsum._poly_einsum_handlers[size] = functools.partial(instead["contract_path"], einsum._default_poly_einsum_handler)
    replaces(
        *(_core, "divide_shape_sizes", lambda *shapes: any(type(d) is size for shape in shapes for d in shape)),
        instead["divide_shapes"],
    )
    replaces(pjit, "_infer_input_type", lambda _, __, args: any(type(x) is size for x in args), instead["jit_arguments"])
    of_sizes = lambda x, shape: any(map(symbolic, jax.tree.leaves((x.shape, shape))))
    replaces(array_methods, "_compute_newshape", of_sizes, instead["new_shape"])
    # With ints alone, JAX knows what to do.
    replaces(
        *(lax_numpy, "_arange", lambda *args, **kwargs: _floats_and_sizes((*args, *kwargs.values()), size, number)),
        lambda _, start, stop=None, step=None, dtype=None, **__: instead["arange"](start, stop, step, dtype),
    )
    replaces(
        *(lax_numpy, "_squeeze", lambda x, axis: axis is None and any(map(symbolic, np.shape(x)))),
        lambda original, x, axis: original(x, instead["squeeze_axes"](np.shape(x))),
    )
    replaces(
        *(hijax, "_searchsorted_scan_impl", lambda table, *_, **__: of_axis(table, 0)),
        lambda _, table, query, side, dtype, unrolled: instead["search"](table, query, side=side, dtype=dtype),
    )
    replaces(
        *(_random, "_shuffle", lambda key, x, axis: type(x.size) is size),
        lambda _, key, x, axis: instead["shuffle"](key, x, axis),
    )
    _redirect(
        *(loops.associative_scan, lambda fn, elems, reverse=False, axis=0: any(of_axis(x, axis) for x in jax.tree.leaves(elems))),
        lambda fn, elems, reverse=False, axis=0: instead["associative_scan"](fn, elems, reverse, axis),
    )


def _floats_and_sizes(numbers, size: type, number: type) -> bool:
    kinds = {type(x) for x in numbers}
    return any(issubclass(kind, number) for kind in kinds) or (size in kinds and any(issubclass(kind, float) for kind in kinds))


def _redirect(function, applies, instead) -> None:
    """Lets a public function of JAX, which users may have imported by name already, call `instead` where that `applies`."""
    function = inspect.unwrap(function)
    original = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    name = f"_sod2_{function.__name__}"

    def redirected(*args, **kwargs):
        return instead(*args, **kwargs) if applies(*args, **kwargs) else original(*args, **kwargs)

    function.__globals__[name] = redirected
    parameters = inspect.signature(function).parameters
    spelled = ", ".join(f"{p}={p}" for p in parameters)
    source = f"def {function.__name__}({', '.join(parameters)}):\n    return {name}({spelled})"
    made: dict[str, Any] = {}
    exec(compile(source, function.__code__.co_filename, "exec"), made)
    function.__code__ = made[function.__name__].__code__


def sort_order(name: str):
    """JAX's total order of sorting, "le" or "lt": where NaN and -0.0 belong."""
    return getattr(_lax, f"_sort_{name}_comparator")


def split_key(key):
    return _random._split(key)


def random_bits(key, shape):
    return _random._random_bits(key, 32, shape)


def register_float_types(weak: type, wide: type) -> None:
    """Lets instances of `weak` stand where JAX takes a Python float, and those of `wide` where it takes a NumPy float64."""
    _core.pytype_aval_mappings[weak] = lambda x: float_aval(True)
    _dtypes.register_weak_scalar_type(weak)
    _dtypes.python_scalar_types.add(weak)
    _dtypes.python_scalar_types_to_dtypes[weak] = _dtypes.python_scalar_types_to_dtypes[float]
    _core.pytype_aval_mappings[wide] = lambda x: float_aval(False)
    for cls in (weak, wide):
        _dtypes.register_canonicalize_value_handler(cls, None)


def float_aval(weak: bool):
    """The aval of a float scalar: of a Python float, or of a NumPy float64."""
    return ShapedArray((), canonical_dtype(np.float64), weak_type=weak)


def dim_value_aval():
    """The aval of a size used as a value: a weakly typed scalar of JAX's default integer dtype."""
    return _core.dim_value_aval()


# -- typed keys: arrays whose elements are small arrays of uint32


def element_shape(dtype) -> tuple[int, ...] | None:
    """The shape of the words of one element, for the dtypes of typed keys; None for others."""
    return _core.physical_element_aval(dtype).shape if _dtypes.issubdtype(dtype, _dtypes.prng_key) else None


def key_dtype(name: str):
    """The dtype of typed keys that is called `name` ("key<fry>"), or None."""
    return next((t for t in map(_prng.KeyTy, _prng.prngs.values()) if t.name == name), None)


def words_of(aval):
    """The aval of the words of typed keys; other avals as they are."""
    return _core.physical_aval(aval)


def wrap_keys(words, impl):
    """Typed keys from their words, in a trace: `jax.random.wrap_key_data` wants a generator's name."""
    return _prng.random_wrap(words, impl=impl)


def unwrap_keys(keys):
    """The implementation and the words of typed keys, in a trace."""
    return keys.dtype._impl, _prng.random_unwrap(keys)


def key_array(dtype, words):
    """Keys of this dtype over an array of words, without the checks that `jax.random.wrap_key_data` makes."""
    keys = object.__new__(_prng.PRNGKeyArray)
    keys._impl, keys._base_array, keys._consumed = dtype._impl, words, False
    return keys


def key_words(x):
    """The array of words of typed keys; other arrays as they are."""
    return x._base_array if isinstance(x, _prng.PRNGKeyArray) else x


# -- arrays, for the C++ call path (sod2jax/binding.py hands these to sod2jax._runtime)


def is_row_major(x) -> bool:
    """Whether the elements of a single-device array lie in the order of its axes, without tiles: what a C pointer expects."""
    layout = x.format.layout
    return layout is None or (tuple(layout.major_to_minor) == tuple(range(x.ndim)) and not layout.tiling)


_IMPORTS = {_dlpack.from_dlpack.__code__}


def is_foreign(x) -> bool:
    """Whether the memory of an array was handed over by DLPack, so that another library may change it in place.

    JAX keeps no note of it but the traceback of each array's birth; without tracebacks, or after a
    `jax.device_put` (which may share memory, too), the answer is no.
    """
    birth = x.traceback
    return birth is not None and not _IMPORTS.isdisjoint(birth.raw_frames()[0])


def transfer(x, sharding):
    """`x`, which is no jax.Array yet, as one, by the transfer that `jax.jit` makes (`jax.transfer_guard` sees it)."""
    aval = _core.shaped_abstractify(x)
    return _xla_client.batched_device_put(aval, sharding, [np.asarray(x, aval.dtype)], list(sharding.device_set), False)


def result_handler(aval, sharding, committed: bool):
    """JAX's function from an array to the array with this aval over the same memory: what jax.jit makes its results with."""
    try:
        return _jax.array_result_handler(aval, sharding, committed, True)  # without checks of what is right by construction
    except TypeError:  # 0.11 never checks
        return _jax.array_result_handler(aval, sharding, committed)


def runtime_names() -> dict[str, Any]:
    """JAX's own functions that the call path uses at every call, in the spelling that costs least."""
    array = _jax.ArrayImpl
    return {
        "array_type": array,
        "flatten": _tree_util.dispatch_registry.flatten,
        "unsafe_buffer_pointer": array.unsafe_buffer_pointer,
        "is_deleted": array.is_deleted,
        "block_until_ready": array.block_until_ready,
        "numpy_view": array._single_device_array_to_np_array_did_copy,
        "is_foreign": is_foreign,
        "transfer_guard": _config.transfer_guard_host_to_device,
        "delete_array": array.delete,
        "check_if_deleted": array._check_if_deleted,
        "array_from_dlpack": _jax.dlpack_managed_tensor_to_buffer,
        "result_handler": result_handler,
        "trace_context": _config.trace_context,
        "put_array": _xla_client.batched_device_put,
        "zero_copy": _jax.HostBufferSemantics.ZERO_COPY,
        "trace_state": _core.trace_state_strong_ref,
        "top_trace": _core.eval_trace,
        "disable_jit": _config.trace_context_names().index("jax_disable_jit"),
        "enable_x64": _config.enable_x64,
        "debug_nans": _config.debug_nans,
        "debug_infs": _config.debug_infs,
        "check_result": _api._nan_check_posthook,  # what `jax.jit` calls with each result under these
    }
