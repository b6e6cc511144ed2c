"""One contender in a process of its own: `loader.py` starts it and reads the JSON it leaves.

``prepare`` converts and compares the pixels of an epoch with the source. ``time`` takes one sample of each number of
workers, for some seconds each: one of an epoch whose files the page cache does not hold (``cold``), with the most
workers, then those of files that it holds.
"""

import argparse
import json
import os
import resource
import shutil
import time
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from benchmarks.contender import BATCH_SIZE, Contender, contenders_of
from benchmarks.source import stamps
from dark_halo_scope.stamps.contract import STAMP_SHAPE

_READ_BYTES = 16 << 20
_PATIENCE = 3  # of the time, at most so much is spent, where epochs are short and begin slowly
_KEY_PIXELS = 16  # pure sky noise: enough to know a stamp by, float16 or not
_RELATIVE_ERROR = {"float32": 0.0, "float16": 2.0**-11}  # half a step of the stored type
_ABSOLUTE_ERROR = {"float32": 0.0, "float16": 2.0**-25}  # half the smallest float16


def main() -> None:
    """Run one job and write its result to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=("prepare", "time"))
    parser.add_argument("--peer", required=True)
    parser.add_argument("--name", help="time: the contender")
    parser.add_argument("--precision", help="time: its precision")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--workers", type=int, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)  # parallelism is what --workers asks for, for everybody
    if asked.job == "prepare":
        result = _prepare_all(asked.peer, asked.source, asked.workers)
    else:
        number, contender = next(
            (k, c)
            for k, c in enumerate(contenders_of(asked.peer))
            if (c.name, c.precision) == (asked.name, asked.precision)
        )
        folder = _folder(asked.source, asked.peer, number)
        result = _time_all(contender, folder, asked.workers, asked.seconds)
    asked.out.write_text(json.dumps(result))


def _folder(source: Path, peer: str, number: int) -> Path:
    return source.with_name(f"{source.name}-{peer}-{number}")


def _prepare_all(peer: str, source: Path, workers: list[int]) -> dict[str, Any]:
    """Convert and check the contenders of a peer; what goes wrong with one is told in the table."""
    try:
        contenders = contenders_of(peer)
    except ImportError as error:
        return {"contenders": [{"name": peer, "unavailable": str(error)}]}
    entries: list[dict[str, Any]] = []
    for number, contender in enumerate(contenders):
        entry: dict[str, Any] = {"name": contender.name, "precision": contender.precision}
        try:
            folder = _converted(contender, source, _folder(source, peer, number))
            entry["stamps_checked"] = _check(contender, source, folder, max(workers))
        except Exception as error:
            traceback.print_exc()
            entry["failed"] = f"{type(error).__name__}: {error}"
        entries.append(entry)
    return {"contenders": entries}


def _converted(contender: Contender, source: Path, folder: Path) -> Path:
    """The folder, made once; a conversion that was cut short is made again."""
    done = folder.with_name(f"{folder.name}.done")
    if not done.exists():
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        folder.unlink(missing_ok=True)
        contender.convert(source, folder)
        os.sync()  # only what is on the disk can be taken out of the page cache
        done.touch()
    return folder


def _check(contender: Contender, source: Path, folder: Path, workers: int) -> int:
    """Hold an epoch against the source: right pixels and shape, no stamp twice, no more left out than the rest.

    Returns:
        The number of stamps compared.
    """
    expected = np.stack(list(stamps(source)))
    tree = KDTree(_keys(expected))
    seen: list[int] = []
    for batch in contender.open(folder, workers)(0):
        images = contender.nanomaggies(batch).numpy()
        if images.dtype != np.float32 or images.shape != (BATCH_SIZE, *STAMP_SHAPE):
            raise ValueError(f"{contender.name} delivers {images.dtype} {images.shape}, not float32 (256, 3, 64, 64)")
        _, rows = tree.query(_keys(images))
        truth = expected[rows]
        bound = _RELATIVE_ERROR[contender.precision] * np.abs(truth) + _ABSOLUTE_ERROR[contender.precision]
        if not (np.abs(images - truth) <= bound).all():
            raise ValueError(f"{contender.name} delivers other pixels than the source beyond {contender.precision}")
        seen.extend(rows.tolist())
    if len(set(seen)) != len(seen):
        raise ValueError(f"{contender.name} delivers {len(seen) - len(set(seen))} stamps twice in an epoch")
    if seen == sorted(seen):
        raise ValueError(f"{contender.name} does not shuffle")
    if not seen or len(seen) < len(expected) - BATCH_SIZE * workers:  # each worker may keep back a rest
        raise ValueError(f"{contender.name} delivers {len(seen)} of {len(expected)} stamps")
    return len(seen)


def _keys(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return images[:, 0, 0, :_KEY_PIXELS]


def _time_all(contender: Contender, folder: Path, workers: list[int], seconds: float) -> dict[str, Any]:
    """Samples by name: ``cold``, and one a number of workers."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if folder.is_symlink():  # which rglob does not follow
        files = [path for path in folder.resolve().rglob("*") if path.is_file()]
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    samples = {"cold": _time(contender, folder, max(workers), seconds, epochs=1)}
    for path in files:
        with path.open("rb") as file:
            while file.read(_READ_BYTES):
                pass
    return samples | {str(n): _time(contender, folder, n, seconds) for n in workers}


def _time(
    contender: Contender, folder: Path, workers: int, seconds: float, epochs: int | None = None
) -> dict[str, Any]:
    """Whole epochs until ``seconds`` were timed, or so many; the clock starts when the first batch has come.

    Whole, because some read ahead before the first batches and live on it for a while, and others catch up later.
    """
    delivered = timed = epoch = 0
    elapsed = first_batch_s = 0.0
    cpu_before = _cpu_seconds()
    begin = time.perf_counter()
    batches_of = contender.open(folder, workers)
    while epoch == 0 or (epoch != epochs and elapsed < seconds and time.perf_counter() - begin < _PATIENCE * seconds):
        started = time.perf_counter() if epoch else begin
        with closing(batches_of(epoch)) as batches:
            next(batches)
            first = last = time.perf_counter()
            delivered += BATCH_SIZE
            for _ in batches:
                last = time.perf_counter()
                timed += BATCH_SIZE
                delivered += BATCH_SIZE
        elapsed += last - first
        first_batch_s = first_batch_s or first - started
        epoch += 1
    return {
        "stamps_per_s": timed / elapsed,
        "first_batch_s": first_batch_s,
        "cpu_us_per_stamp": (_cpu_seconds() - cpu_before) / delivered * 1e6,
        "peak_rss_mib": _peak_rss_mib(workers),
        "epochs": epoch,
    }


def _cpu_seconds() -> float:
    """User and system time of this process and of its workers that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_rss_mib(workers: int) -> float:
    """This process and ``workers`` times its largest worker; shared and memory-mapped pages count in each."""
    own, largest = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (own + workers * largest) / 1024


if __name__ == "__main__":
    main()
