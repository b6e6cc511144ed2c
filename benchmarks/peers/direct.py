"""Dark Halo Scope on the raw parquet: no preparation, threads."""

from collections.abc import Generator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.contender import BATCH_SIZE, Contender, Epoch
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.loaders import TrainLoader
from dark_halo_scope.stamps.plan import Share
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.stream import Batch, StreamOptions


def open_training(folder: Path, workers: int) -> Epoch:
    """The dataset or store in ``folder``, as a run reads it."""
    index = StampIndex.build(str(folder))
    quarantine = Quarantine(index, folder.parent / "quarantine")
    loader = TrainLoader(index, "train", quarantine, Share(BATCH_SIZE), StreamOptions(num_threads=workers), seed=0)

    def batches(epoch: int) -> Generator[Batch, None, None]:
        loader.set_epoch(epoch)
        yield from loader

    return batches


def nanomaggies(batch: Batch) -> Tensor:
    """What the device makes of a batch before it normalises it."""
    exponent = batch.get("exponent", torch.zeros(len(batch["image"]), dtype=torch.int8))
    return torch.ldexp(batch["image"].float(), exponent[:, None, None, None])


def _convert(source: Path, folder: Path) -> None:
    folder.symlink_to(source, target_is_directory=True)


CONTENDERS = [Contender("direct (ours)", "float32", _convert, open_training, nanomaggies)]
