"""Programs on which `jax.jit` gives other values than JAX op by op, for no reason of rounding: {name: (function, arguments)}.

JAX op by op is what they mean, so that is what we give. Each is the smallest that was found.
"""

from __future__ import annotations

PROGRAMS: dict[str, tuple] = {}
