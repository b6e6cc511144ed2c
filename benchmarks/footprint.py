"""Time and memory of one process: `growth.py` starts it and reads the JSON that it prints."""

import argparse
import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.contender import BATCH_SIZE
from dark_halo_scope.stamps.index import LeakChecks
from dark_halo_scope.stamps.index_cache import cached_index
from dark_halo_scope.stamps.loaders import TrainLoader
from dark_halo_scope.stamps.plan import Share
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.stream import StreamOptions


def main() -> None:
    """Do one job and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=("build", "stream"))
    parser.add_argument("--root", required=True)
    parser.add_argument("--index", required=True, help="folder where the index is kept")
    parser.add_argument("--batches", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(_build(asked) if asked.job == "build" else _stream(asked)))


def _build(asked: argparse.Namespace) -> dict[str, Any]:
    """Build the index and keep it."""
    started = time.perf_counter()
    with PeakAnonymous() as peak:
        cached_index(asked.root, asked.index, LeakChecks())
    return {"build_s": time.perf_counter() - started, "build_peak_anonymous_mib": peak.mib}


def _stream(asked: argparse.Namespace) -> dict[str, Any]:
    """Load the index and stream the first batches of an epoch."""
    started = time.perf_counter()
    index = cached_index(asked.root, asked.index, LeakChecks())
    loaded = time.perf_counter()
    before = _resident_mib("RssAnon")
    quarantine = Quarantine(index, Path(asked.index) / "quarantine")
    options = StreamOptions(num_threads=asked.threads)
    with PeakAnonymous() as peak:
        batches = iter(TrainLoader(index, "train", quarantine, Share(BATCH_SIZE), options, seed=0))
        next(batches)
        first = time.perf_counter()
        for _ in itertools.islice(batches, asked.batches - 1):
            pass
    return {
        "load_s": loaded - started,
        "first_batch_s": first - loaded,
        "before_stream_mib": before,
        "peak_anonymous_mib": peak.mib,
        "peak_resident_mib": _resident_mib("VmHWM"),
    }


class PeakAnonymous:
    """The most memory of its own that this process holds while the block runs, looked at every 10 ms."""

    def __enter__(self) -> "PeakAnonymous":
        self.mib = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.mib = max(self.mib, _resident_mib("RssAnon"))
            if self._done.wait(0.01):
                return


def _resident_mib(kind: str) -> float:
    """Resident memory of this process: ``RssAnon`` its own, ``VmHWM`` the peak with the pages of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024


if __name__ == "__main__":
    main()
