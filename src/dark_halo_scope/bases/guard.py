"""Ends what a killed driver leaves of its Ray: ``python -m dark_halo_scope.bases.guard SESSION``, started beside it.

Ray's processes end with the driver, but two of them only a minute later (Ray 2.60), and what a task has started itself
may never. All of them write into files of the session's folder, their logs, by which they are known.
"""

import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    """Wait for the end of standard input, which the driver's end is, then leave none of them."""
    sys.stdin.buffer.read()
    while _kill_writers(sys.argv[1]):
        time.sleep(0.1)


def _kill_writers(folder: str) -> int:
    """Kill every process, but the one that started this one, that has a file below ``folder`` open to write."""
    n_killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != os.getppid() and _writes(process, folder):
                os.kill(int(process.name), signal.SIGKILL)
                n_killed += 1
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # gone meanwhile; of another user
            continue
    return n_killed


def _writes(process: Path, folder: str) -> bool:
    for link in (process / "fd").iterdir():
        if os.readlink(link).startswith(f"{folder}/"):
            told = dict(line.split(":\t") for line in (process / "fdinfo" / link.name).read_text().splitlines()[:2])
            if int(told["flags"], 8) & (os.O_WRONLY | os.O_RDWR):  # else, somebody reads a log
                return True
    return False


if __name__ == "__main__":
    main()
