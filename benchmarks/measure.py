"""One contender in a process of its own: `loader.py` starts it and reads the JSON it leaves.

``prepare`` converts and compares the pixels of an epoch with the source; ``time`` repeats epochs for some seconds.
"""

import argparse
import json
import resource
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from benchmarks.contender import BATCH_SIZE, Contender, contenders_of
from benchmarks.source import stamps
from dark_halo_scope.stamps.contract import STAMP_SHAPE

_KEY_PIXELS = 16  # pure sky noise: enough to know a stamp by, float16 or not
_RELATIVE_ERROR = {"float32": 0.0, "float16": 2.0**-11}  # half a step of the stored type
_ABSOLUTE_ERROR = {"float32": 0.0, "float16": 2.0**-25}  # half the smallest float16


def main() -> None:
    """Run one job and write its result to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=("prepare", "time"))
    parser.add_argument("--peer", required=True)
    parser.add_argument("--name", help="time: the contender")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--workers", type=int, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)  # parallelism is what --workers asks for, for everybody
    if asked.job == "prepare":
        result = _prepare_all(asked.peer, asked.source, asked.workers)
    else:
        number, contender = next((k, c) for k, c in enumerate(contenders_of(asked.peer)) if c.name == asked.name)
        result = _time(contender, _folder(asked.source, asked.peer, number), asked.workers[0], asked.seconds)
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
            entry["stamps_checked"] = min(_check(contender, source, folder, n) for n in workers)
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
        done.touch()
    return folder


def _check(contender: Contender, source: Path, folder: Path, workers: int) -> int:
    """Hold an epoch against the source: right pixels, float32, no stamp twice, no more left out than the rest.

    Returns:
        The number of stamps compared.
    """
    expected = np.stack(list(stamps(source)))
    tree = KDTree(_keys(expected))
    seen: list[int] = []
    for batch in contender.batches(folder, workers, 0):
        if batch.dtype != torch.float32 or tuple(batch.shape[1:]) != STAMP_SHAPE:
            raise ValueError(
                f"{contender.name} delivers {batch.dtype} {tuple(batch.shape)}, not float32 (b, 3, 64, 64)"
            )
        images = batch.numpy()
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


def _time(contender: Contender, folder: Path, workers: int, seconds: float) -> dict[str, Any]:
    """Epochs until ``seconds`` have passed; the clock of an epoch starts when its first batch has arrived."""
    delivered = timed = epoch = 0
    elapsed = first_batch_s = 0.0
    cpu_before = _cpu_seconds()
    begin = time.perf_counter()
    while epoch == 0 or time.perf_counter() - begin < seconds:
        started = time.perf_counter()
        for number, batch in enumerate(contender.batches(folder, workers, epoch)):
            delivered += len(batch)
            if number == 0:
                first = time.perf_counter()
            else:
                timed += len(batch)
        elapsed += time.perf_counter() - first
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
