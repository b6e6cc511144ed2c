"""Score file -> numbers, plots, report.

Knows no network and no trainer: every number can be recomputed from the score file.
"""
