"""Stamps a second of each loader: ``python benchmarks/loader.py [--stamps 20480] [--workers 1 2] [--rounds 5]``.

Shuffled batches of 256 float32 (256, 3, 64, 64) in torch, ready to train on, from the same stamps in each library's own
format (converting them is not counted). Every measurement is a process of its own; rounds take turns, A B C A B C, so
that a busy moment of the machine meets all. The pixels of each contender are compared with the source first.
"""

import sys
from pathlib import Path


def main() -> None:
    """Run the benchmark from a checkout, wherever it is started."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.contest import run_from_command_line

    run_from_command_line(__doc__ or "")


if __name__ == "__main__":
    main()
