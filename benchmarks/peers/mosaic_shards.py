"""mosaicml-streaming: MDS shards with a column of arrays, shuffled by its recommended algorithm, py1e."""

from collections.abc import Generator
from functools import partial
from pathlib import Path

from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.contender import BATCH_SIZE, Contender, processes
from benchmarks.source import stamps


def _convert(precision: str, source: Path, folder: Path) -> None:
    with MDSWriter(out=str(folder), columns={"stamp": f"ndarray:{precision}:3,64,64"}) as writer:
        for image in stamps(source):
            writer.write({"stamp": image.astype(precision)})


def _batches(folder: Path, workers: int, epoch: int) -> Generator[Tensor, None, None]:
    clean_stale_shared_memory()
    dataset = StreamingDataset(
        local=str(folder), shuffle=True, shuffle_algo="py1e", shuffle_seed=epoch, batch_size=BATCH_SIZE
    )
    for batch in DataLoader(dataset, BATCH_SIZE, num_workers=processes(workers), drop_last=True):
        yield batch["stamp"]


CONTENDERS = [
    Contender("mosaicml-streaming", precision, partial(_convert, precision), _batches)
    for precision in ("float16", "float32")
]
