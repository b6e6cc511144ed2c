"""Stamps a second of each loader: ``python benchmarks/loader.py [--stamps 20480] [--workers 1 2] [--rounds 3]``.

Shuffled batches of 256 stamps (256, 3, 64, 64) in torch, in the type they are stored in and ready to be sent to the
device, from the same stamps in each library's own format (converting them is not counted) and in its fastest way found.
One worker is the process itself. Every contender is measured in a process of its own, once with its files not in the
page cache (cold) and then with them; rounds take turns, A B C A B C, so that a busy moment of the machine meets all.
The pixels of each contender are compared with the source first.
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
