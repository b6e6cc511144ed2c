"""Dark Halo Scope: find strong gravitational lenses in survey images.

This file stays free of torch, so that ``train.py --help`` and a mistyped option answer at once.
"""
