"""The audit of a dataset: leaks, duplicates, balance, and what a trivial classifier can do without seeing an arc.

A number that a network reaches means little where one colour, the seeing or a copied stamp reaches it too.
"""
