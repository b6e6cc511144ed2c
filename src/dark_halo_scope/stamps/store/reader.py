"""Batches out of a training store: rows by number, copied from the mapped files into the batch."""

import mmap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import PIXEL_COLUMN, STAMP_SHAPE
from dark_halo_scope.stamps.decoder import Fault
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.row_groups import RowGroups
from dark_halo_scope.stamps.store.layout import pixel_offsets
from dark_halo_scope.stamps.store.precision import from_float16, stored_bytes

Rows = NDArray[np.int64]


class StoreReader:
    """Reads rows of a training store; safe to call from threads.

    Local files are mapped into memory: the system keeps of them what fits and reads a row group ahead when its first
    row is asked for. Remote files, and files in which the pixels do not lie as one array (some other program wrote the
    parquet anew), are read as parquet by whole row groups, of which ``open_row_groups`` are kept.
    """

    def __init__(self, index: StampIndex, *, open_row_groups: int) -> None:
        assert index.store is not None
        self._index = index
        self._dtype = np.dtype(index.store.pixels["dtype"])
        self._width = stored_bytes(self._dtype.name)
        self._lock = threading.Lock()
        self._files: dict[int, _File] = {}
        self._groups = RowGroups(index, open_row_groups, PIXEL_COLUMN)

    def decode(self, rows: Rows, out: NDArray[np.float32]) -> list[Fault]:
        """Write the pixels of ``rows`` (b,) to ``out`` (b, 3, 64, 64), in nanomaggies; a store has no bad rows."""
        if self._dtype == np.float32:
            self._copy(rows, out.reshape(len(rows), -1).view(np.uint8))
            return []
        halves, exponent = self.gather(rows)
        from_float16(halves, exponent, out)
        return []

    def gather(self, rows: Rows) -> tuple[NDArray[Any], NDArray[np.int8]]:
        """Pixels (b, 3, 64, 64) as they are stored, and the exponents (b,) of their power of two."""
        stored = np.empty((len(rows), *STAMP_SHAPE), self._dtype)
        self._copy(rows, stored.reshape(len(rows), -1).view(np.uint8))
        number, i = self._place(rows)
        exponent = np.zeros(len(rows), np.int8)
        for k in np.unique(number).tolist():
            here = number == k
            exponent[here] = self._file(k).exponent[i[here]]
        return stored, exponent

    def _place(self, rows: Rows) -> tuple[Rows, Rows]:
        """File of each row and its number in it."""
        number = np.searchsorted(self._index.file_starts, rows, "right") - 1
        return number, rows - self._index.file_starts[number]

    def _copy(self, rows: Rows, out: NDArray[np.uint8]) -> None:
        """Copy the bytes of the rows to ``out`` (b, bytes of a stamp)."""
        groups = self._index.group_of(rows)
        in_group = rows - self._index.group_starts[groups]
        numbers, _ = self._place(rows)
        of_file = groups - self._index.file_groups[numbers]
        target, width = out.data.cast("B"), self._width
        end = 0
        for number, group, k, i in zip(
            numbers.tolist(), groups.tolist(), of_file.tolist(), in_group.tolist(), strict=True
        ):
            file = self._files.get(number) or self._file(number)
            start, end = end, end + width
            if file.view is None:
                target[start:end] = self._groups.stamp_bytes(group, i)
            else:
                at = file.start_of(k) + i * width
                target[start:end] = file.view[at : at + width]

    def _file(self, number: int) -> "_File":
        with self._lock:
            if number not in self._files:
                self._files[number] = _File(self._index, number, self._width)
            return self._files[number]


class _File:
    """One file of a store: its pixels, mapped where that is possible, and the exponents of its rows."""

    def __init__(self, index: StampIndex, number: int, width: int) -> None:
        parquet = index.files.parquet(number)
        footer: pq.FileMetaData = parquet.metadata
        self.exponent = np.zeros(footer.num_rows, np.int8)
        if "stamp_exponent" in parquet.schema_arrow.names:
            self.exponent = parquet.read(columns=["stamp_exponent"], use_threads=False)["stamp_exponent"].to_numpy()
        offsets = pixel_offsets(footer, width) if index.files.is_local else None
        self.view: memoryview | None = None
        if offsets is None:
            return
        with Path(index.files.paths[number]).open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.view = memoryview(self._map)
        self._starts: list[int] = offsets.tolist()
        self._lengths = [footer.row_group(g).num_rows * width for g in range(footer.num_row_groups)]
        self._read_ahead: set[int] = set()

    def start_of(self, group: int) -> int:
        """Where the pixels of a row group begin; the system is told to read the group ahead, about once an epoch."""
        start = self._starts[group]
        if group not in self._read_ahead:
            if len(self._read_ahead) == len(self._starts):
                self._read_ahead.clear()
            self._read_ahead.add(group)
            page = start - start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, start + self._lengths[group] - page)
        return start
