"""sod2jax: JAX functions compiled once for all shapes.

    import sod2jax as sod2

    @sod2.jit(shapes=(None, "b, s"))
    def forward(params, tokens): ...

The public names are loaded when they are first used: the compiler's own modules can be imported without LLVM and the runtime.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from sod2jax import errors

if TYPE_CHECKING:
    from sod2jax.api import CacheInfo, JitFunction, VersionInfo, jit

try:
    __version__ = version("sod2jax")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_API = ("CacheInfo", "JitFunction", "VersionInfo", "jit")

__all__ = ["CacheInfo", "JitFunction", "VersionInfo", "__version__", "errors", "jit"]


def __getattr__(name: str):
    if name in _API:
        return getattr(import_module("sod2jax.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_API})
