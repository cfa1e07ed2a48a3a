"""Fourier transforms, by SciPy's pocketfft. JAX gives all lengths; of a real result the last one is known from nothing else."""

from __future__ import annotations

import jax
import numpy as np
from jax.extend.core.primitives import fft_p

from sod2jax import state_compat
from sod2jax.ir.program import Host
from sod2jax.ops._base import Dyn, Mapping, OpDef, defop

FUNCTIONS = {"FFT": "fftn", "IFFT": "ifftn", "RFFT": "rfftn", "IRFFT": "irfftn"}


def fft(*, fft_type, fft_lengths) -> Host:
    axes = tuple(range(-len(fft_lengths), 0))

    def call(x):
        from scipy import fft as library

        if x.size == 0 or 0 in fft_lengths:
            with state_compat.compiling(x64=True):  # dtypes stay as they are
                out = jax.eval_shape(lambda x: fft_p.bind(x, fft_type=fft_type, fft_lengths=fft_lengths), x)
            return [np.zeros(out.shape, out.dtype)]
        return [getattr(library, FUNCTIONS[fft_type.name])(x, s=fft_lengths, axes=axes)]

    return Host("fft", call)


defop(OpDef(fft_p, Dyn.ISDOS, Mapping.MANY_TO_MANY, host=fft))
