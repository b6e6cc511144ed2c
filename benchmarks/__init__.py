"""Measurements of what the documentation claims; each prints a table and writes JSON below ``benchmarks/results/``."""
