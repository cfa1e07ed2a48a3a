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
    from sod2jax import bench
    from sod2jax.api import CacheInfo, JitFunction, VersionInfo, jit
    from sod2jax.verification.report import VerifyReport
    from sod2jax.verification.verify import verify

try:
    __version__ = version("sod2jax")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_LATE = {  # name -> the module that it comes from
    **dict.fromkeys(("CacheInfo", "JitFunction", "VersionInfo", "jit"), "sod2jax.api"),
    "VerifyReport": "sod2jax.verification.report",
    "verify": "sod2jax.verification.verify",
}

__all__ = ["CacheInfo", "JitFunction", "VerifyReport", "VersionInfo", "__version__", "bench", "errors", "jit", "verify"]


def __getattr__(name: str):
    if name == "bench":
        return import_module("sod2jax.bench")
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LATE, "bench"})
