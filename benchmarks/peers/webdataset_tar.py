"""webdataset: tar shards of raw bytes, shards shuffled and a buffer of 4,096 stamps."""

from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.contender import BATCH_SIZE, Contender, Epoch, processes
from benchmarks.source import stamps
from dark_halo_scope.stamps.contract import STAMP_SHAPE

_SHARD_STAMPS = 256  # many shards even of a small dataset, so that every worker has some
_BUFFER_STAMPS = 4096


def _convert(precision: str, source: Path, folder: Path) -> None:
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "%05d.tar"), maxcount=_SHARD_STAMPS, verbose=0) as writer:
        for number, image in enumerate(stamps(source)):
            writer.write({"__key__": f"{number:08d}", "stamp": image.astype(precision).tobytes()})


def _stamp(precision: str, raw: bytes) -> NDArray[np.floating]:
    return np.frombuffer(raw, precision).reshape(STAMP_SHAPE)


def _open(precision: str, folder: Path, workers: int) -> Epoch:
    shards = [str(shard) for shard in sorted(folder.glob("*.tar"))]

    def batches(epoch: int) -> Generator[Tensor, None, None]:
        dataset = (  # a description, made anew because the order of its shards is that of its seed in every epoch
            webdataset.WebDataset(shards, shardshuffle=len(shards), seed=epoch, empty_check=False)
            .shuffle(_BUFFER_STAMPS)
            .to_tuple("stamp")
            .map_tuple(partial(_stamp, precision))
            .batched(BATCH_SIZE, partial=False)
        )
        for (images,) in webdataset.WebLoader(dataset, batch_size=None, num_workers=processes(workers)):
            yield torch.as_tensor(images)

    return batches


CONTENDERS = [
    Contender("webdataset", precision, partial(_convert, precision), partial(_open, precision))
    for precision in ("float16", "float32")
]
