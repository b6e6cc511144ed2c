"""The reference: rows of the raw parquet, `np.load` of each, a DataLoader. The bytes are held in memory."""

import io
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.contender import BATCH_SIZE, Contender, Epoch, processes
from benchmarks.source import training_files
from dark_halo_scope.stamps.contract import BANDS


class _Stamps(Dataset[Tensor]):
    def __init__(self, source: Path) -> None:
        tables = [pq.read_table(file, columns=["stamp_npz"]) for file in training_files(source)]
        self._column = pa.concat_tables(tables).column(0)

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: int) -> Tensor:
        with np.load(io.BytesIO(self._column[row].as_py())) as bands:
            return torch.from_numpy(np.stack([bands[f"image_{band}"] for band in BANDS]))


def _convert(source: Path, folder: Path) -> None:
    folder.symlink_to(source, target_is_directory=True)


def _open(folder: Path, workers: int) -> Epoch:
    loader = DataLoader(_Stamps(folder), BATCH_SIZE, shuffle=True, num_workers=processes(workers), drop_last=True)

    def batches(_epoch: int) -> Generator[Tensor, None, None]:
        yield from loader

    return batches


CONTENDERS = [Contender("np.load + DataLoader", "float32", _convert, _open)]
