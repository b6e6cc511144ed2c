"""A synthetic survey: lenses, galaxies, contaminants, seeing and noise, written in the stamp contract.

Everything that makes light is batch-first torch, so that the same code can inject arcs on an accelerator. The lens
models and profiles are short closed forms and live here rather than in a dependency; lenstronomy is the oracle in the
tests.
"""
