"""Measuring: the tools that the examples and the benchmarks share."""
