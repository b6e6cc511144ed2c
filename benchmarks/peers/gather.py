"""The ceiling: batches gathered from a plain array in a memory-mapped file, with nothing around it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from benchmarks.contender import BATCH_SIZE, Contender
from benchmarks.source import stamps
from dark_halo_scope.stamps.contract import STAMP_SHAPE


def _convert(dtype: type[np.floating], source: Path, folder: Path) -> None:
    images = [image.astype(dtype) for image in stamps(source)]
    folder.mkdir()
    np.save(folder / "stamps.npy", np.stack(images))


def _batches(folder: Path, workers: int, epoch: int) -> Iterator[Tensor]:
    images = open_memmap(folder / "stamps.npy", mode="r")
    order = np.random.default_rng(epoch).permutation(len(images))
    starts = range(0, len(order) - len(order) % BATCH_SIZE, BATCH_SIZE)

    def gather(rows: np.ndarray, out: np.ndarray) -> None:
        torch.from_numpy(out).copy_(torch.from_numpy(images[rows]))  # torch casts ten times faster than numpy

    with ThreadPoolExecutor(workers) as pool:
        for start in starts:
            batch = torch.empty((BATCH_SIZE, *STAMP_SHAPE))
            parts = np.array_split(order[start : start + BATCH_SIZE], workers)
            list(pool.map(gather, parts, np.array_split(batch.numpy(), workers)))
            yield batch


CONTENDERS = [
    Contender("memmap gather float16 (ceiling)", "float16", partial(_convert, np.float16), _batches),
    Contender("memmap gather float32 (ceiling)", "float32", partial(_convert, np.float32), _batches),
]
