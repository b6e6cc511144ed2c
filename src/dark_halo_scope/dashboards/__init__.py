"""The W&B workspace as code: what `halo dashboard` shows of runs, panel by panel. Reads no run and imports no torch."""
