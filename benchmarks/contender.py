"""What every contender of the loader benchmark is, and the list of them."""

import importlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

BATCH_SIZE = 256

Epoch = Callable[[int], Generator[Any, None, None]]

# Files of `benchmarks.peers` in the order of the table.
REFERENCE, DIRECT, STORE, CEILING = "np_load", "direct", "store", "gather"
PUBLIC = ("webdataset_tar", "litdata_chunks", "mosaic_shards", "hf_datasets")
PEERS = (REFERENCE, DIRECT, STORE, *PUBLIC, CEILING)


def as_float32(batch: Any) -> Tensor:
    """A batch of pixels that are nanomaggies in whatever type."""
    pixels: Tensor = batch.float()
    return pixels


@dataclass(frozen=True)
class Contender:
    """One way to feed a training.

    Attributes:
        name: Name in the table.
        precision: Type in which pixels are stored and delivered, ``float16`` or ``float32``.
        convert: Writes the source dataset (a folder of parquet files) into a folder in the contender's own format.
        open: Opens that folder for so many workers or threads, once, as a training does. What it gives yields the
            batches of an epoch by its number, 0, 1, ...: shuffled anew, tensors (256, 3, 64, 64) or what holds one,
            contiguous and ready to be sent to the device; the rest that does not fill a batch is left out.
        nanomaggies: What was delivered as float32 nanomaggies (256, 3, 64, 64), to be compared with the source.
    """

    name: str
    precision: str
    convert: Callable[[Path, Path], None]
    open: Callable[[Path, int], Epoch]
    nanomaggies: Callable[[Any], Tensor] = as_float32


def processes(workers: int) -> int:
    """``num_workers`` of a DataLoader: one worker is the process itself, which spares it the way between processes."""
    return 0 if workers == 1 else workers


def contenders_of(peer: str) -> list[Contender]:
    """The contenders of a file of `benchmarks.peers`.

    Raises:
        ImportError: When its library is not installed.
    """
    contenders: list[Contender] = importlib.import_module(f"benchmarks.peers.{peer}").CONTENDERS
    return contenders
