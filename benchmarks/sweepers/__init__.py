"""Sweepers side by side: what each can do, what a trial costs beside its job, how soon each finds the best settings."""
