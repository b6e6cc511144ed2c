"""Base models: each trained once, kept under the hash of all that determines its weights, and customised many times.

Knows nothing of lenses and nothing of engines: what is made, is in being made, or is needed stands in the store's
folder. Imports no torch until weights are made or loaded.
"""
