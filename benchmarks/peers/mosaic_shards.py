"""mosaicml-streaming: MDS shards with a column of arrays, shuffled by its recommended algorithm, py1e."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.contender import BATCH_SIZE, Contender
from benchmarks.source import stamps


def _convert(source: Path, folder: Path) -> None:
    with MDSWriter(out=str(folder), columns={"stamp": "ndarray:float16:3,64,64"}) as writer:
        for image in stamps(source):
            writer.write({"stamp": image.astype(np.float16)})


def _batches(folder: Path, workers: int, epoch: int) -> Iterator[Tensor]:
    clean_stale_shared_memory()
    dataset = StreamingDataset(
        local=str(folder), shuffle=True, shuffle_algo="py1e", shuffle_seed=epoch, batch_size=BATCH_SIZE
    )
    for batch in DataLoader(dataset, BATCH_SIZE, num_workers=workers, drop_last=True):
        yield batch["stamp"].float()


CONTENDERS = [Contender("mosaicml-streaming", "float16", _convert, _batches)]
