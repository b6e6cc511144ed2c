"""mosaicml-streaming: MDS shards with a column of arrays, shuffled by its recommended algorithm, py1e."""

from collections.abc import Generator
from functools import partial
from pathlib import Path

from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.contender import BATCH_SIZE, Contender, Epoch, processes
from benchmarks.source import stamps


def _convert(precision: str, source: Path, folder: Path) -> None:
    with MDSWriter(out=str(folder), columns={"stamp": f"ndarray:{precision}:3,64,64"}) as writer:
        for image in stamps(source):
            writer.write({"stamp": image.astype(precision)})


def _open(folder: Path, workers: int) -> Epoch:
    clean_stale_shared_memory()
    dataset = StreamingDataset(local=str(folder), shuffle=True, shuffle_algo="py1e", batch_size=BATCH_SIZE)
    loader = DataLoader(dataset, BATCH_SIZE, num_workers=processes(workers), drop_last=True)

    def batches(_epoch: int) -> Generator[Tensor, None, None]:
        for batch in loader:
            yield batch["stamp"]

    return batches


CONTENDERS = [
    Contender("mosaicml-streaming", precision, partial(_convert, precision), _open)
    for precision in ("float16", "float32")
]
