"""Searches beside those of hydra-optuna-sweeper: ``make bench-search [ARGS="--rounds 5 --seeds 1 2 3 4 5"]``.

The public plugin needs another Hydra than this project, so it lives in an environment of its own; the job, its configs,
the storage (SQLite), TPE and its settings, and the seeds are the same. What is measured:

- coverage: the same is asked of both (a trial that is pruned, fails, is NaN or killed; the same command again; two
  processes; ...), and what came of it is read from the study;
- overhead: seconds from one job to the next where the job takes none; also of Hydra alone going through a list;
- the race: a network in numpy whose search has four parameters, until the value that all contenders reach is reached.
  Seconds are the machine's; epochs are the same on any. One seed gives other points to each sweeper: here each trial's
  sampler has a seed of its own, so that workers do not draw the same, there one sampler draws all.
"""

import sys
from pathlib import Path


def main() -> None:
    """Run the benchmark from a checkout, wherever it is started."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.sweepers.contest import run_from_command_line

    run_from_command_line(__doc__ or "")


if __name__ == "__main__":
    main()
