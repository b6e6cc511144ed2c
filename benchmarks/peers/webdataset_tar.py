"""webdataset: tar shards of ``.npy`` members, shards shuffled and a buffer of 4,096 stamps."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import webdataset
from torch import Tensor

from benchmarks.contender import BATCH_SIZE, Contender
from benchmarks.source import stamps

_SHARD_STAMPS = 256  # many shards even of a small dataset, so that every worker has some
_BUFFER_STAMPS = 4096


def _convert(source: Path, folder: Path) -> None:
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "%05d.tar"), maxcount=_SHARD_STAMPS, verbose=0) as writer:
        for number, image in enumerate(stamps(source)):
            writer.write({"__key__": f"{number:08d}", "stamp.npy": image.astype(np.float16)})


def _batches(folder: Path, workers: int, epoch: int) -> Iterator[Tensor]:
    shards = [str(shard) for shard in sorted(folder.glob("*.tar"))]
    dataset = (
        webdataset.WebDataset(shards, shardshuffle=len(shards), seed=epoch, empty_check=False)
        .shuffle(_BUFFER_STAMPS)
        .decode()
        .to_tuple("stamp.npy")
        .map_tuple(torch.from_numpy)
        .batched(BATCH_SIZE, partial=False)
    )
    for (images,) in webdataset.WebLoader(dataset, batch_size=None, num_workers=workers):
        yield torch.as_tensor(images).float()


CONTENDERS = [Contender("webdataset", "float16", _convert, _batches)]
