"""The ceiling: batches gathered from a plain array in a memory-mapped file, with nothing around it."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from benchmarks.contender import BATCH_SIZE, Contender, Epoch
from benchmarks.source import stamps
from dark_halo_scope.stamps.contract import STAMP_SHAPE


def _convert(precision: str, source: Path, folder: Path) -> None:
    images = [image.astype(precision) for image in stamps(source)]
    folder.mkdir()
    np.save(folder / "stamps.npy", np.stack(images))


def _open(folder: Path, workers: int) -> Epoch:
    images = open_memmap(folder / "stamps.npy", mode="r")

    def gather(rows: np.ndarray, out: np.ndarray) -> None:
        images.take(rows, axis=0, out=out, mode="clip")  # numpy's shortest way: it checks nothing and copies once

    def batches(epoch: int) -> Generator[Tensor, None, None]:
        order = np.random.default_rng(epoch).permutation(len(images))
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(order) - len(order) % BATCH_SIZE, BATCH_SIZE):
                batch = np.empty((BATCH_SIZE, *STAMP_SHAPE), images.dtype)
                parts = np.array_split(order[start : start + BATCH_SIZE], workers)
                list(pool.map(gather, parts, np.array_split(batch, workers)))
                yield torch.from_numpy(batch)

    return batches


CONTENDERS = [
    Contender("memmap gather (ceiling)", precision, partial(_convert, precision), _open)
    for precision in ("float16", "float32")
]
