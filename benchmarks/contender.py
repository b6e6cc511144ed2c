"""What every contender of the loader benchmark is, and the list of them."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

BATCH_SIZE = 256

# Files of `benchmarks.peers` in the order of the table; the first contender is what the others are compared with.
PEERS = ("np_load", "direct", "store", "webdataset_tar", "litdata_chunks", "mosaic_shards", "hf_datasets", "gather")


@dataclass(frozen=True)
class Contender:
    """One way to feed a training.

    Attributes:
        name: Name in the table.
        precision: ``float32`` where the pixels arrive bit for bit, else the type they are stored in, ``float16``.
        convert: Writes the source dataset (a folder of parquet files) into a folder in the contender's own format.
        batches: Yields the shuffled batches of an epoch, float32 (256, 3, 64, 64), from that folder, with that many
            workers or threads; a last, shorter batch may be left out.
    """

    name: str
    precision: str
    convert: Callable[[Path, Path], None]
    batches: Callable[[Path, int, int], Iterator[Tensor]]


def contenders_of(peer: str) -> list[Contender]:
    """The contenders of a file of `benchmarks.peers`.

    Raises:
        ImportError: When its library is not installed.
    """
    contenders: list[Contender] = importlib.import_module(f"benchmarks.peers.{peer}").CONTENDERS
    return contenders
