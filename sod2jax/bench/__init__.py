"""Measuring: workloads and their sizes, engines side by side, reports."""

from sod2jax.bench.record import record
from sod2jax.bench.workload import Workload, lognormal, read_trace, sample

__all__ = ["Workload", "lognormal", "read_trace", "record", "sample"]
