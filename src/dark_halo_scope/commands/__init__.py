"""The commands of `halo`, one file each: `add` declares its arguments, `run` does the work.

A file imports torch, and all else that is slow to load, only when it is run: `halo --help` answers at once.
"""
