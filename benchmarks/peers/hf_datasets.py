"""HF datasets: memory-mapped arrow, whole batches by a BatchSampler, in arrow format, the fastest of its formats."""

from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from benchmarks.contender import BATCH_SIZE, Contender, Epoch, processes
from benchmarks.source import stamps
from dark_halo_scope.stamps.contract import STAMP_SHAPE


def _rows(precision: str, source: Path) -> Iterator[dict[str, Any]]:
    for image in stamps(source):
        yield {"stamp": image.astype(precision).ravel()}


def _convert(precision: str, source: Path, folder: Path) -> None:
    pixels = datasets.Sequence(datasets.Value(precision), length=int(np.prod(STAMP_SHAPE)))
    scratch = folder.with_name(folder.name + ".cache")
    data = datasets.Dataset.from_generator(
        _rows,
        features=datasets.Features(stamp=pixels),
        gen_kwargs={"precision": precision, "source": source},
        cache_dir=str(scratch),
    )
    data.save_to_disk(str(folder))


def _from_arrow(table: Any) -> Tensor:
    pixels = table.column("stamp").combine_chunks().flatten().to_numpy()
    return torch.tensor(pixels).view(-1, *STAMP_SHAPE)


def _open(folder: Path, workers: int) -> Epoch:
    data = datasets.load_from_disk(str(folder)).with_format("arrow")
    sampler = BatchSampler(RandomSampler(data), BATCH_SIZE, drop_last=True)
    loader = DataLoader(data, batch_size=None, sampler=sampler, num_workers=processes(workers), collate_fn=_from_arrow)

    def batches(_epoch: int) -> Generator[Tensor, None, None]:
        yield from loader

    return batches


CONTENDERS = [
    Contender("HF datasets, arrow", precision, partial(_convert, precision), _open)
    for precision in ("float16", "float32")
]
