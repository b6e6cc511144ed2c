"""Hugging Face datasets: memory-mapped arrow, whole batches by a BatchSampler, in three output formats."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from benchmarks.contender import BATCH_SIZE, Contender
from benchmarks.source import stamps
from dark_halo_scope.stamps.contract import STAMP_SHAPE


def _rows(source: Path) -> Iterator[dict[str, Any]]:
    for image in stamps(source):
        yield {"stamp": image.astype(np.float16).ravel()}


def _convert(source: Path, folder: Path) -> None:
    pixels = datasets.Sequence(datasets.Value("float16"), length=int(np.prod(STAMP_SHAPE)))
    scratch = folder.with_name(folder.name + ".cache")
    data = datasets.Dataset.from_generator(
        _rows, features=datasets.Features(stamp=pixels), gen_kwargs={"source": source}, cache_dir=str(scratch)
    )
    data.save_to_disk(str(folder))


def _from_arrow(table: Any) -> Tensor:
    pixels = table.column("stamp").combine_chunks().flatten().to_numpy()
    return torch.tensor(pixels).float().view(-1, *STAMP_SHAPE)


def _from_numpy(batch: dict[str, Any]) -> Tensor:
    return torch.from_numpy(batch["stamp"]).float().view(-1, *STAMP_SHAPE)


def _from_torch(batch: dict[str, Any]) -> Tensor:
    return batch["stamp"].float().view(-1, *STAMP_SHAPE)


def _batches(kind: str, collate: Callable[[Any], Tensor], folder: Path, workers: int, epoch: int) -> Iterator[Tensor]:
    data = datasets.load_from_disk(str(folder)).with_format(kind)
    order = RandomSampler(data, generator=torch.Generator().manual_seed(epoch))
    sampler = BatchSampler(order, BATCH_SIZE, drop_last=True)
    yield from DataLoader(data, batch_size=None, sampler=sampler, num_workers=workers, collate_fn=collate)


CONTENDERS = [
    Contender("HF datasets, torch", "float16", _convert, partial(_batches, "torch", _from_torch)),
    Contender("HF datasets, numpy", "float16", _convert, partial(_batches, "numpy", _from_numpy)),
    Contender("HF datasets, arrow", "float16", _convert, partial(_batches, "arrow", _from_arrow)),
]
