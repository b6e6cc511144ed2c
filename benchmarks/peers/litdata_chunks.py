"""litdata: its own chunks (default, and ``batch_decode=False``), and parquet with a column of raw bytes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import litdata
import numpy as np
import polars  # noqa: F401  (litdata's parquet loader fails late without it)
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from litdata.streaming.item_loader import ParquetLoader
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.contender import BATCH_SIZE, Contender
from benchmarks.source import stamps, training_files
from dark_halo_scope.stamps.contract import STAMP_SHAPE

_ROWS_PER_FILE = 2048


def _stamps_of_file(file: Path) -> Iterator[NDArray[np.float16]]:
    for image in stamps(file.parent, [file]):
        yield image.astype(np.float16)


def _convert_chunks(source: Path, folder: Path) -> None:
    litdata.optimize(
        _stamps_of_file, training_files(source), str(folder), chunk_bytes="64MB", num_workers=1, verbose=False
    )


def _convert_parquet(source: Path, folder: Path) -> None:
    folder.mkdir()
    rows = [image.astype(np.float16).tobytes() for image in stamps(source)]
    for start in range(0, len(rows), _ROWS_PER_FILE):
        table = pa.table({"stamp": pa.array(rows[start : start + _ROWS_PER_FILE], pa.binary())})
        pq.write_table(
            table,
            folder / f"{start:08d}.parquet",
            row_group_size=BATCH_SIZE,
            compression="none",
            use_dictionary=False,
        )
    litdata.index_parquet_dataset(str(folder))


def _batches(options: dict[str, Any], folder: Path, workers: int, epoch: int) -> Iterator[Tensor]:
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=True, seed=epoch, **options)
    for batch in litdata.StreamingDataLoader(dataset, batch_size=BATCH_SIZE, num_workers=workers, drop_last=True):
        yield torch.as_tensor(batch).float()


def _from_bytes(rows: list[dict[str, bytes]]) -> Tensor:
    pixels = np.frombuffer(b"".join(row["stamp"] for row in rows), np.float16)
    return torch.from_numpy(pixels.reshape(-1, *STAMP_SHAPE).copy()).float()


def _parquet_batches(folder: Path, workers: int, epoch: int) -> Iterator[Tensor]:
    dataset = litdata.StreamingDataset(
        str(folder), shuffle=True, drop_last=True, seed=epoch, item_loader=ParquetLoader()
    )
    yield from litdata.StreamingDataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        num_workers=workers,
        drop_last=True,
        collate_fn=_from_bytes,
        multiprocessing_context="spawn",  # polars cannot be forked
    )


CONTENDERS = [
    Contender("litdata", "float16", _convert_chunks, partial(_batches, {})),
    Contender("litdata, batch_decode=False", "float16", _convert_chunks, partial(_batches, {"batch_decode": False})),
    Contender("litdata, parquet binary", "float16", _convert_parquet, _parquet_batches),
]
