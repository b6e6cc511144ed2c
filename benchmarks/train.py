"""Training speed, and what the loader takes of it: ``python benchmarks/train.py [--rounds 5] [key=value ...]``.

The real task and trainer train on a dataset, raw and as a training store, and on one batch of the same that stays on
the device; the difference is the loader's. All take turns, A B C D D C B A, in one process, so that neither a busy
moment of the machine nor a slow drift favours one; six rounds or more give the difference an interval. Keys are those
of a run: model=small_cnn hardware=h100_bf16 data.root=/data/stamps ...
"""

import sys
from pathlib import Path


def main() -> None:
    """Run the benchmark from a checkout, wherever it is started."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.loader_tax import run_from_command_line

    run_from_command_line(__doc__ or "")


if __name__ == "__main__":
    main()
