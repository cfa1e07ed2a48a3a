"""Who asks a question about a size, and the places in JAX whose question needs no guard.

* Every answer about a size is proved, or leaves a guard, or goes to one of three kinds of callers to whom "no" is right
  whatever the truth is: a memo, our own dictionaries, and the call sites of `SITES`.
* A memo is a table of earlier results (`functools.lru_cache`, `jax.jit`, JAX's interned avals). It hashes and compares its keys
  from C, so the nearest Python frame stands at a call of the memo: `in_memo` reads the callee's name from the bytecode of that
  frame and looks the callee up. Where it cannot be read the caller is none, and gets a guard.
* `SITES` names functions of JAX and Flax, with the reason; `tests/ir/test_call_sites.py` has a program for each that comes there
  with sizes for which "yes" would be true, and is right at them all the same.
* Comparing methods, comprehensions, the standard library, NumPy and sod2jax ask for their callers.
"""

from __future__ import annotations

import dis
import functools
import inspect
import os
import sysconfig
import types
from dataclasses import dataclass

import jax
import numpy as np

from sod2jax import compat


@dataclass(frozen=True)
class Site:
    """A call site that may be told "no" without a guard.

    `empty`: when it asks whether a size is 0. `one`: whether it is 1. `equal`: whether two sizes are equal. `hashes`: it puts
    sizes into a set, whose members then compare by guarded questions. `refusal`: it asks for an integer, and catches the error.
    """

    reason: str
    empty: bool = False
    one: bool = False
    equal: bool = False
    hashes: bool = False
    refusal: bool = False

    @property
    def raises(self) -> bool:
        """Whether a "no" may lead to an error: where a size of 1 gives way to another, sizes that differ otherwise are one."""
        return self.one and not self.equal


_SAVES_EQNS = Site("a yes only leaves out eqns that change nothing", empty=True, one=True, equal=True)
_NOTHING = "a yes only leaves out eqns whose results have no elements"
_ONE_GIVES_WAY = "a size of 1 gives way to the others; after a no the sizes must be equal, which is asked next"
SITES = {
    "jax/_src/custom_batching.py:custom_vmap_batching": Site("sizes that differ are an error", hashes=True),
    "jax/_src/core.py:divide_shape_sizes": Site("a yes saves a division, whose quotient is 1 then", one=True, equal=True),
    "jax/_src/core.py:_canonicalize_dimension": Site("a size that is no integer stays as it is", refusal=True),
    "jax/_src/core.py:canonicalize_slice": Site("as above", refusal=True),
    "jax/_src/core.py:is_constant_dim": Site("JAX takes the way that is right for any size", refusal=True),
    "jax/_src/ffi.py:ffi_batching_rule": Site("sizes that differ are an error", hashes=True),
    "jax/_src/interpreters/batching.py:expand_dims_batcher": Site("sizes that differ are an error", hashes=True),
    "jax/_src/interpreters/batching.py:broadcast_batcher": _SAVES_EQNS,
    "jax/_src/lax/control_flow/loops.py:_infer_scan_length": Site("lengths that differ are an error", hashes=True),
    "jax/_src/lax/control_flow/loops.py:fori_loop": Site("a loop without a constant length is a while loop", refusal=True),
    "jax/_src/lax/lax.py:_broadcast_in_dim_fwd_rule": _SAVES_EQNS,
    "jax/_src/lax/lax.py:_broadcast_in_dim_shape_rule": Site(_ONE_GIVES_WAY, one=True),
    "jax/_src/lax/lax.py:_broadcast_shapes_uncached": _SAVES_EQNS,
    "jax/_src/lax/lax.py:_stack_shape_rule": Site("sizes that differ are an error", hashes=True),
    "jax/_src/lax/lax.py:_try_broadcast_shapes": Site(_ONE_GIVES_WAY, one=True),
    "jax/_src/lax/lax.py:broadcast_in_dim": _SAVES_EQNS,
    "jax/_src/lax/lax.py:broadcast_to": Site(_ONE_GIVES_WAY, one=True),
    "jax/_src/lax/lax.py:reshape": _SAVES_EQNS,
    "jax/_src/lax/slicing.py:_get_sharding_for_varying_out_shape": Site(
        "the size of an axis counts only if it lies on several devices", empty=True, one=True, equal=True
    ),
    "jax/_src/lax/slicing.py:_gather_shape_rule": Site("a yes spares a check", empty=True),
    "jax/_src/numpy/einsum.py:_einsum": Site(_ONE_GIVES_WAY, one=True),
    "jax/_src/numpy/indexing.py:NDIndexer.to_dynamic_slice": Site("JAX writes a gather instead", refusal=True),
    "jax/_src/numpy/indexing.py:NDIndexer.to_static_slice": Site("as above", refusal=True),
    "jax/_src/numpy/indexing.py:_gather": Site(_NOTHING, empty=True),
    "jax/_src/numpy/indexing.py:_index_to_gather": Site("as above; an empty axis is an error", one=True, equal=True),
    "jax/_src/numpy/indexing.py:_take": Site(
        "an empty axis fails at the next question, whether a slice of 1 fits; without indices nothing is taken", empty=True
    ),
    "jax/_src/numpy/lax_numpy.py:diag_indices_from": Site("sizes that differ are an error", hashes=True),
    "jax/_src/numpy/sorting.py:lexsort": Site("shapes that differ are an error", hashes=True),
    "jax/_src/numpy/indexing.py:take_along_axis": Site(_ONE_GIVES_WAY, one=True),
    "jax/_src/numpy/tensor_contractions.py:matmul": Site(_ONE_GIVES_WAY, one=True),
    "jax/_src/numpy/util.py:_broadcast_arrays": _SAVES_EQNS,
    "jax/_src/numpy/util.py:_where": Site(_NOTHING, empty=True),
    "jax/_src/numpy/vectorize.py:vectorize": Site(_ONE_GIVES_WAY, one=True),
    "jax/_src/ops/scatter.py:_scatter_impl": Site(_NOTHING, empty=True),
    "jax/_src/util.py:HashableWrapper.__init__": Site("the key of a memo", hashes=True),
    "flax/core/lift.py:scan": Site("lengths that differ are an error", hashes=True),
}


FITS = {"jax/_src/numpy/hijax.py:SearchSorted.__init__"}
"""Functions of JAX that make an int of a size only to see whether an int32 holds it: that it does becomes a guard."""

# Functions of JAX that compare for their callers.
_COMPARERS = {"definitely_equal", "definitely_equal_shape", "definitely_equal_one_of_dim", "is_empty_shape"}
# Methods that containers, tuples and dataclasses call when they compare, hash or print their members.
_METHODS = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__repr__", "__str__", "__format__"}


def asking(frame) -> types.FrameType | None:
    """The frame that wants to know: the nearest one that does not ask for its caller."""
    while frame is not None and _asks_for_caller(frame.f_code):
        frame = frame.f_back
    return frame


@functools.lru_cache(maxsize=4096)
def _asks_for_caller(code: types.CodeType) -> bool:
    who = owner(code.co_filename)
    return _is_method(code) or who in ("", "sod2") or (who == "jax" and _outermost(code) in _COMPARERS)


@functools.lru_cache(maxsize=4096)
def _is_method(code: types.CodeType) -> bool:
    return code.co_name in _METHODS or _outermost(code).rpartition(".")[2] in _METHODS


def _outermost(code: types.CodeType) -> str:
    """The qualified name of the function around comprehensions and inner functions."""
    return code.co_qualname.partition(".<locals>")[0]


def site_of(frame) -> Site | None:
    """The entry of `SITES` for the function that asks; None if it is not there."""
    frame = asking(frame)
    return None if frame is None else SITES.get(place_of(frame.f_code))


def only_fits(frame) -> bool:
    """Whether the function that asks is one of `FITS`."""
    frame = asking(frame)
    return frame is not None and place_of(frame.f_code) in FITS


def place_of(code) -> str:
    """`jax/_src/core.py:divide_shape_sizes`: the file from its package on, and the outermost function around the code."""
    filename = code.co_filename
    root = next((r for r in _PACKAGES if filename.startswith(r)), "")
    return f"{filename[len(root):].replace(os.sep, '/')}:{_outermost(code)}"


def by_user(frame) -> bool:
    """Whether the question is a user's (or of a library that JAX and NumPy do not belong to)."""
    frame = asking(frame)
    return frame is None or owner(frame.f_code.co_filename) == "user"


def by_us(frame) -> bool:
    """Whether sod2jax itself asks, for its tables."""
    while frame is not None and (_is_method(frame.f_code) or owner(frame.f_code.co_filename) == ""):
        frame = frame.f_back
    return frame is not None and owner(frame.f_code.co_filename) == "sod2"


def user_line(frame) -> str:
    """`file:line (function)` of the nearest frame that is the user's."""
    while frame is not None and owner(frame.f_code.co_filename) != "user":
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})" if frame is not None else "an unknown line"


# -- who catches errors


def may_be_caught(frame) -> bool:
    """Whether an error that is raised now may be caught by the function that is traced, or by one that it called.

    Then what JAX was told on the ground that it raises an error otherwise is not enough: the program goes on.
    """
    caught = False
    while frame is not None:
        who = owner(frame.f_code.co_filename)
        if who == "sod2" and frame.f_code.co_filename.endswith(_OUTSIDE):
            return caught
        caught = caught or (who == "user" and any(a <= frame.f_lasti < b for a, b in catching(frame.f_code)))
        frame = frame.f_back
    return False  # no trace of ours


_OUTSIDE = tuple(os.path.join("sod2jax", name) for name in ("trace.py", "pipeline.py"))  # whose frames stand around a function
_SWALLOWING = {"suppress", "raises", "assertRaises", "assertRaisesRegex"}  # context managers that catch


@functools.lru_cache(maxsize=4096)
def catching(code: types.CodeType) -> tuple[tuple[int, int], ...]:
    """The ranges of instructions whose errors the code catches, by `except` or by a context manager that is known to."""
    instructions = list(dis.get_instructions(code))
    position = {i.offset: k for k, i in enumerate(instructions)}
    swallows = not _SWALLOWING.isdisjoint(code.co_names)

    def catches(target: int) -> bool:
        names = [i.opname for i in instructions[position[target] : position[target] + 12] if i.opname != "CACHE"]
        if names[:2] == ["PUSH_EXC_INFO", "POP_TOP"] or (names[:2] == ["PUSH_EXC_INFO", "WITH_EXCEPT_START"] and swallows):
            return True
        if any(name in ("CHECK_EXC_MATCH", "CHECK_EG_MATCH") for name in names):
            return True
        return any(start <= target < stop and catches(outer) for start, stop, outer in table if outer > target)  # raised again

    table = [(entry.start, entry.end, entry.target) for entry in dis.Bytecode(code).exception_entries]
    return tuple((start, stop) for start, stop, target in table if catches(target))


# -- whose file


def owner(filename: str) -> str:
    """Whose file it is: "jax", "user", "sod2", or "" for the standard library and NumPy, which ask for their callers."""
    found = _owners.get(filename)
    if found is None:
        if len(_owners) > 10_000:  # names that come and go, such as those of a notebook's cells
            _owners.clear()
        found = _owners[filename] = _owner(filename)
    return found


_JAX = os.path.dirname(jax.__file__) + os.sep
_SOD2 = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_MODELS = _SOD2 + "bench" + os.sep  # functions to be compiled, like a user's
_NUMPY = os.path.dirname(np.__file__) + os.sep
_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
_PACKAGES = tuple(
    {os.path.dirname(_JAX[:-1]) + os.sep, *(sysconfig.get_paths()[k] + os.sep for k in ("purelib", "platlib"))}
)
_owners: dict[str, str] = {}


def _owner(filename: str) -> str:
    if filename.startswith(_JAX):
        return "jax"
    if filename.startswith(_SOD2):
        return "user" if filename.startswith(_MODELS) else "sod2"
    if filename.startswith(_NUMPY) or (filename.startswith(_STDLIB) and not filename.startswith(_PACKAGES)):
        return ""
    return "" if filename.startswith("<frozen") else "user"


# -- memos


def in_memo(frame) -> bool:
    """Whether a memo hashes or compares its keys: whether `frame` stands at a call of one."""
    while frame is not None and _is_method(frame.f_code):
        frame = frame.f_back
    if frame is None:
        return False
    code, at = frame.f_code, frame.f_lasti
    if owner(code.co_filename) != "jax":
        return _calls_memo(frame)
    found = _memos_of_jax.get((code, at))  # what JAX's code calls there does not change
    if found is None:
        found = _memos_of_jax[code, at] = _calls_memo(frame)
    return found


_memos_of_jax: dict[tuple[types.CodeType, int], bool] = {}
_NAMES = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_DEREF")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")


def _calls_memo(frame) -> bool:
    """Whether the callee, looked up by its dotted name, is a memo. Attributes are read without running any code."""
    first, *rest = _callee(frame.f_code, frame.f_lasti) or ("",)
    found = next((names[first] for names in (frame.f_locals, frame.f_globals, frame.f_builtins) if first in names), None)
    for name in rest:
        found = inspect.getattr_static(found, name, None)
        found = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
    return isinstance(found, compat.MEMOS)


@functools.lru_cache(maxsize=4096)
def _callee(code: types.CodeType, at: int) -> tuple[str, ...] | None:
    """The dotted name that the call at this offset calls; None if the instruction is no call, or calls something without one."""
    instructions = [i for i in dis.get_instructions(code) if i.offset <= at]
    if not instructions or not instructions[-1].opname.startswith(("CALL", "PRECALL")):
        return None
    call = instructions[-1].positions
    if call is None or call.lineno is None:
        return None  # compiled without columns
    # What starts where the call starts, and ends before it, is the callee and the parts of its dotted name.
    parts = {}
    for i in instructions:
        p = i.positions
        if (p.lineno, p.col_offset) != (call.lineno, call.col_offset) or p.end_col_offset is None:
            continue
        if (p.end_lineno, p.end_col_offset) < (call.end_lineno, call.end_col_offset):
            parts[p.end_lineno, p.end_col_offset] = i
    names = []
    for _, i in sorted(parts.items()):
        if i.opname not in (_ATTRIBUTES if names else _NAMES):
            return None
        names.append(i.argval)
    return tuple(names) or None
