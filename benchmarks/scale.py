"""Start-up time and memory of a run against the number of rows: ``python benchmarks/scale.py [--rows 10000 1000000]``.

A dataset of N training stamps is one real file of 10,000 stamps, in row groups of 640, under N / 10,000 names: footers,
metadata and pixels are read as if each were a file of its own, only the disk is spared. Every measurement is a process
of its own: one builds the index and keeps it, one loads what was kept and streams the first batches of an epoch.
Anonymous memory is what the process itself holds; the resident set also counts pages of the mapped files, which the
system takes back when it needs them.
"""

import sys
from pathlib import Path


def main() -> None:
    """Run the benchmark from a checkout, wherever it is started."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.growth import run_from_command_line

    run_from_command_line(__doc__ or "")


if __name__ == "__main__":
    main()
