"""litdata: its own chunks of tensors (default, and ``batch_decode=False``) or of raw bytes, and parquet of raw bytes.

Raw bytes joined to a batch at once spare litdata a tensor a stamp, which is its fastest way found.
"""

from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import litdata
import polars  # noqa: F401  (litdata's parquet loader fails late without it)
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from litdata.streaming.item_loader import ParquetLoader
from torch import Tensor

from benchmarks.contender import BATCH_SIZE, Contender, Epoch, processes
from benchmarks.source import stamps, training_files
from dark_halo_scope.stamps.contract import STAMP_SHAPE

_ROWS_PER_FILE = 2048


def _stamps_of_file(precision: str, as_bytes: bool, file: Path) -> Iterator[Any]:
    for image in stamps(file.parent, [file]):
        stored = image.astype(precision)
        yield stored.tobytes() if as_bytes else torch.from_numpy(stored)


def _convert_chunks(precision: str, as_bytes: bool, source: Path, folder: Path) -> None:
    litdata.optimize(
        partial(_stamps_of_file, precision, as_bytes),
        training_files(source),
        str(folder),
        chunk_bytes="64MB",
        num_workers=1,
        verbose=False,
    )


def _convert_parquet(precision: str, source: Path, folder: Path) -> None:
    folder.mkdir()
    rows = [image.astype(precision).tobytes() for image in stamps(source)]
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


def _open_chunks(options: dict[str, Any], collate: Callable[[Any], Tensor] | None, folder: Path, workers: int) -> Epoch:
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=True, **options)
    how = {"collate_fn": collate} if collate else {}
    return _epochs_of(dataset, workers, how)


def _open_parquet(collate: Callable[[Any], Tensor], folder: Path, workers: int) -> Epoch:
    loader = ParquetLoader(low_memory=False, pre_load_chunk=True)
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=True, item_loader=loader)
    context = "spawn" if processes(workers) else None  # polars cannot be forked
    return _epochs_of(dataset, workers, {"collate_fn": collate, "multiprocessing_context": context})


def _epochs_of(dataset: litdata.StreamingDataset, workers: int, how: dict[str, Any]) -> Epoch:
    loader = litdata.StreamingDataLoader(
        dataset, batch_size=BATCH_SIZE, num_workers=processes(workers), drop_last=True, **how
    )

    def batches(_epoch: int) -> Generator[Tensor, None, None]:
        yield from loader

    return batches


def _joined(precision: str, rows: list[bytes]) -> Tensor:
    dtype = getattr(torch, precision)
    return torch.frombuffer(bytearray(b"").join(rows), dtype=dtype).view(-1, *STAMP_SHAPE)


def _joined_columns(precision: str, rows: list[dict[str, bytes]]) -> Tensor:
    return _joined(precision, [row["stamp"] for row in rows])


CONTENDERS = [
    Contender("litdata", "float16", partial(_convert_chunks, "float16", False), partial(_open_chunks, {}, None)),
    Contender(
        "litdata, batch_decode=False",
        "float16",
        partial(_convert_chunks, "float16", False),
        partial(_open_chunks, {"batch_decode": False}, None),
    ),
]
for _precision in ("float16", "float32"):
    CONTENDERS += [
        Contender(
            "litdata, raw bytes",
            _precision,
            partial(_convert_chunks, _precision, True),
            partial(_open_chunks, {}, partial(_joined, _precision)),
        ),
        Contender(
            "litdata, parquet binary",
            _precision,
            partial(_convert_parquet, _precision),
            partial(_open_parquet, partial(_joined_columns, _precision)),
        ),
    ]
