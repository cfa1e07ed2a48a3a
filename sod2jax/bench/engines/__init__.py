"""What a benchmark compares: sod2.jit, plain JAX and the peers, behind one protocol, each loaded when asked for."""

from sod2jax.bench.engines.engine import ENGINES, Engine, EngineError, Shared, check, load

__all__ = ["ENGINES", "Engine", "EngineError", "Shared", "check", "load"]
