"""How a function's calls are read: which arguments are static or donated, and the leaves, paths and avals of the others.

* The rules and the errors are `jax.jit`'s own: argnums and argnames are inferred from each other by the signature; static
  arguments must hash; every other leaf must be an array, a NumPy array or a Python scalar.
* Leaves are in JAX's order: positional arguments, then keywords by name, each flattened as a pytree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from sod2jax import compat
from sod2jax.errors import not_yet
from sod2jax.specs import Leaf


@dataclass(frozen=True)
class Call:
    """One call, flattened. `args` and `kwargs` are the dynamic ones, with None in the place of static positional arguments."""

    args: tuple
    kwargs: Mapping[str, Any]
    statics: tuple[tuple[int | str, Any], ...]
    leaves: tuple[Leaf, ...]
    in_tree: Any  # of (dynamic args, dynamic kwargs), statics removed

    @property
    def shapes(self) -> tuple[tuple, ...]:
        return tuple(leaf.shape for leaf in self.leaves)


class Arguments:
    """What `sod2.jit` was told of a function's arguments, completed and checked as `jax.jit` does."""

    def __init__(self, fun: Callable, *, static_argnums=None, static_argnames=None, donate_argnums=None, donate_argnames=None):
        self.fun = fun
        self.signature = compat.fun_signature(fun)
        self.donate_argnums, self.donate_argnames, self.static_argnums, self.static_argnames = compat.resolve_argnums(
            fun, self.signature, donate_argnums, donate_argnames, static_argnums, static_argnames
        )

    def of(self, fun: Callable) -> Arguments:
        """The same choices for a copy of the function."""
        names = ("static_argnums", "static_argnames", "donate_argnums", "donate_argnames")
        return Arguments(fun, **{name: getattr(self, name) for name in names})

    def static_positions(self, n: int) -> frozenset[int]:
        """The static ones among `n` positional arguments; numbers beyond them are ignored, as in JAX."""
        return frozenset(i if i >= 0 else i + n for i in self.static_argnums if -n <= i < n)

    def split(self, args: tuple, kwargs: Mapping[str, Any]) -> tuple[tuple, dict[str, Any], tuple]:
        """(args with None for static ones, dynamic kwargs, statics); ValueError in JAX's words if a static one does not hash."""
        positions = self.static_positions(len(args))
        statics = [(i, args[i]) for i in sorted(positions)]
        statics += [(k, kwargs[k]) for k in sorted(kwargs) if k in self.static_argnames]
        for where, value in statics:
            try:
                hash(value)
            except TypeError as err:
                raise ValueError(
                    f"Non-hashable static arguments are used in a jit function. An error occurred while trying to hash an object "
                    f"of type {type(value)}, {value} (argument {where!r}). The error was:\n{type(err).__name__}: {err}"
                ) from None
        dynamic = tuple(None if i in positions else a for i, a in enumerate(args))
        return dynamic, {k: v for k, v in kwargs.items() if k not in self.static_argnames}, tuple(statics)

    def paths(self, args: tuple, kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        """The path of every leaf as users write it: "tokens", "params['layer']['kernel']"."""
        return compat.debug_info(self.fun, args, kwargs, self.static_argnums, self.static_argnames, self.signature).arg_names

    def read(self, args: tuple, kwargs: Mapping[str, Any]) -> Call:
        """Flattens a call whose leaves may be arrays, scalars or ShapeDtypeStructs."""
        dynamic, keywords, statics = self.split(args, kwargs)
        positions = self.static_positions(len(args))
        values, in_tree = compat.tracing_registry.flatten((tuple(a for i, a in enumerate(args) if i not in positions), keywords))
        paths = self.paths(args, kwargs)
        leaves = [_leaf(self.fun, path, x) for path, x in zip(paths, values, strict=True)]
        donated = self._donated(dynamic, keywords, len(leaves))
        leaves = tuple(Leaf(x.path, x.dtype, x.shape, x.weak_type, donated=d) for x, d in zip(leaves, donated, strict=True))
        return Call(dynamic, keywords, statics, leaves, in_tree)

    def _donated(self, dynamic: tuple, keywords: Mapping[str, Any], n: int) -> tuple[bool, ...]:
        if not (self.donate_argnums or self.donate_argnames):
            return (False,) * n
        tree = jax.tree.structure((dynamic, keywords))  # None for static ones: positions stay, leaves go
        return compat.donation_vector(self.donate_argnums, self.donate_argnames, tree)

    def with_leaves(self, args: tuple, kwargs: Mapping[str, Any], call: Call, values) -> tuple[tuple, dict[str, Any]]:
        """The call with each dynamic leaf replaced, static arguments in their places."""
        new_args, new_kwargs = jax.tree.unflatten(call.in_tree, values)
        dynamic = iter(new_args)
        positions = self.static_positions(len(args))
        full = tuple(a if i in positions else next(dynamic) for i, a in enumerate(args))
        return full, {k: new_kwargs.get(k, v) if k not in self.static_argnames else v for k, v in kwargs.items()}


def _leaf(fun: Callable, path: str, x: Any) -> Leaf:
    """The aval of one argument leaf; JAX's TypeError for what is no array."""
    try:
        aval = compat.abstractify(x)
    except OverflowError:
        raise OverflowError(
            "An overflow was encountered while parsing an argument to a jitted computation, whose argument path is "
            f"{path}. Got {type(x)} with value {x}"
        ) from None
    except TypeError:
        raise TypeError(
            f"Error interpreting argument to {fun} as an abstract array. The problematic value is of type {type(x)} and was "
            f"passed to the function at path {path}.\nThis typically means that a jit-wrapped function was called with a "
            "non-array argument, and this argument was not marked as static using the static_argnums or static_argnames "
            "parameters of jax.jit."
        ) from None
    if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended) and compat.element_shape(aval.dtype) is None:
        raise not_yet(f"argument {path!r} of dtype {aval.dtype}")
    return Leaf(path, aval.dtype, tuple(aval.shape), aval.weak_type)
