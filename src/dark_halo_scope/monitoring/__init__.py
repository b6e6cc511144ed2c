"""Monitoring: a run's files, while it trains or afterwards, to what is wrong with it and what to do about it.

Reads files only and imports no torch. The way: status.json, history.json -> `RunState` -> rules -> findings -> screen.
"""
