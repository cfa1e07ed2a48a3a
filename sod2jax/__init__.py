"""sod2jax: JAX functions compiled once for all shapes.

    import sod2jax as sod2

    @sod2.jit(shapes=(None, "b, s"))
    def forward(params, tokens): ...
"""

from importlib.metadata import PackageNotFoundError, version

from sod2jax import errors

try:
    __version__ = version("sod2jax")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__", "errors"]
